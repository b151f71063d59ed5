//! Assigning, done wrong.

use std::sync::Arc;

use async_trait::async_trait;
use shared::assign::{AssignOutcome, AssignRequest, Assigner, Assignment};
use shared::clock::Clock;
use shared::db::DbError;
use shared::model::{ImageState, InstanceStatus};
use testing::{FakeAssigner, FakeClock, FakeDatabase, SlotRow, SlotStatus, Tables};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assigning {
    /// An update by the slot's id, without a look at who has it.
    ByIdOnly,
    WithoutLimit,
    /// Nobody looks for what the session holds.
    AsIfNew,
    /// Free is free, whatever becomes of the instance.
    AnyState,
    /// What warms for an upgrade serves already.
    AlsoWarming,
    /// One build is as good as another.
    AnyBuild,
}

pub(super) struct BadAssigner {
    pub(super) inner: Arc<dyn Assigner>,
    pub(super) database: Arc<FakeDatabase>,
    pub(super) clock: Arc<FakeClock>,
    pub(super) how: Assigning,
}

impl BadAssigner {
    fn take(
        &self,
        request: &AssignRequest,
        fits: impl Fn(&Tables, &SlotRow) -> bool,
    ) -> Option<AssignOutcome> {
        let mut rows = self.database.rows();
        let tables = &mut rows.tables;
        let (id, _) = tables.slots.iter().find(|(_, slot)| fits(tables, slot))?;
        let id = id.clone();
        let slot = tables.slots.get_mut(&id)?;
        slot.status = SlotStatus::Allocated;
        slot.user = Some((request.user.to_string(), request.session.to_string()));
        slot.allocated_at = Some(self.clock.now());
        let instance_id = slot.instance_id.clone();
        Some(AssignOutcome::Assigned(Assignment {
            slot_id: id,
            ip: String::new(),
            region: request.regions[0].clone(),
            instance_id,
            repeated: false,
        }))
    }
}

/// Free, on an instance in service of an image in a state.
fn is_open(tables: &Tables, slot: &SlotRow, fits: impl Fn(ImageState) -> bool) -> bool {
    let Some(row) = tables.instances.get(&slot.instance_id) else {
        return false;
    };
    let key = (row.region.clone(), row.image_id.clone());
    let image = tables.images.get(&key);
    slot.status == SlotStatus::Waiting
        && row.status == InstanceStatus::Active
        && image.is_some_and(|image| fits(image.state))
}

#[async_trait]
impl Assigner for BadAssigner {
    async fn assign(&self, request: &AssignRequest) -> Result<AssignOutcome, DbError> {
        let taken = match self.how {
            Assigning::ByIdOnly => self.take(request, |_, slot| slot.status != SlotStatus::Dying),
            Assigning::AsIfNew => self.take(request, |tables, slot| {
                let host = tables.instances.get(&slot.instance_id);
                slot.status == SlotStatus::Waiting
                    && host.is_some_and(|row| row.status == InstanceStatus::Active)
            }),
            Assigning::AnyState => self.take(request, |tables, slot| {
                let host = tables.instances.get(&slot.instance_id);
                slot.status == SlotStatus::Waiting
                    && host.is_some_and(|row| row.status != InstanceStatus::Active)
            }),
            Assigning::AlsoWarming => self.take(request, |tables, slot| {
                is_open(tables, slot, |state| state == ImageState::Warming)
            }),
            Assigning::AnyBuild => self.take(request, |tables, slot| {
                is_open(tables, slot, ImageState::is_served)
            }),
            Assigning::WithoutLimit => {
                let generous = FakeAssigner {
                    database: self.database.clone(),
                    user_limit: 1000,
                    environment: String::new(),
                };
                return generous.assign(request).await;
            }
        };
        match taken {
            Some(outcome) => Ok(outcome),
            None => self.inner.assign(request).await,
        }
    }
}
