//! An assigner with a defect.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use shared::assign::{
    AssignOutcome, AssignRequest, Assigner, Assignment, SessionEnd, SessionId, UserId,
};
use shared::clock::Clock;
use shared::db::DbError;
use shared::model::{ImageState, InstanceStatus};
use testing::{FakeAssigner, FakeClock, FakeDatabase, SlotRow, SlotStatus, Tables};

use super::line::LineDefect;
use crate::world::World;

/// A defect of the assigner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AssignerDefect {
    /// A slot is taken by its id, without a check of who holds it.
    IgnoresHolder,
    /// The limit of slots per user is not checked.
    IgnoresLimit,
    /// The slot that the session already holds is not looked up.
    IgnoresRepetition,
    /// The session's slot is returned whatever became of its instance.
    KeepsSilentInstance,
    /// The state of the instance is not checked.
    IgnoresInstanceState,
    /// Slots of warming images are given to users.
    AssignsWarming,
    /// The build that the client requests is not checked.
    IgnoresBuild,
    /// The fullest instance is first, however its sessions end.
    IgnoresShortSessions,
    Line(LineDefect),
}

pub(super) fn break_assigner(world: &mut World, defect: AssignerDefect) {
    let inner = world.backends.assigner.clone();
    world.backends.assigner = Arc::new(BrokenAssigner {
        inner,
        database: world.database.clone(),
        clock: world.clock.clone(),
        defect,
    });
}

pub(super) fn break_line(world: &mut World, defect: LineDefect) {
    break_assigner(world, AssignerDefect::Line(defect));
}

struct BrokenAssigner {
    inner: Arc<dyn Assigner>,
    database: Arc<FakeDatabase>,
    clock: Arc<FakeClock>,
    defect: AssignerDefect,
}

impl BrokenAssigner {
    /// The slot that the session has.
    fn held(&self, request: &AssignRequest) -> Option<AssignOutcome> {
        let rows = self.database.rows();
        let (user, session) = (request.user.as_str(), request.session.as_str());
        let mut slots = rows.tables.slots.iter();
        let (id, slot) = slots.find(|(_, s)| s.status.is_held() && s.is_of(user, session))?;
        Some(AssignOutcome::Assigned(Assignment {
            slot_id: id.clone(),
            ip: String::new(),
            region: request.regions[0].clone(),
            instance_id: slot.instance_id.clone(),
            repeated: true,
            nearest: None,
            waited: SignedDuration::ZERO,
        }))
    }

    /// Removes the marks of free slots whose sessions were short, and returns them.
    fn take_marks(&self) -> Vec<(String, Timestamp)> {
        let now = self.clock.now();
        let slots = &mut self.database.rows().tables.slots;
        let free = slots.iter_mut().filter(|(_, slot)| slot.is_free(now));
        free.filter_map(|(id, slot)| Some((id.clone(), slot.free_from.take()?)))
            .collect()
    }

    async fn with_wrong_line(
        &self,
        request: &AssignRequest,
        defect: LineDefect,
    ) -> Result<AssignOutcome, DbError> {
        let was = self.database.rows().tables.clone();
        defect.before(&mut self.database.rows().tables, request);
        let mut outcome = self.inner.assign(request).await?;
        if defect == LineDefect::IgnoresLine && matches!(outcome, AssignOutcome::Refused { .. }) {
            // The place in the answer is not what is broken here.
            self.database.rows().tables = was;
            return self.inner.assign(request).await;
        }
        let tables = &mut self.database.rows().tables;
        defect.after(&was, tables, request, &mut outcome, self.clock.now());
        Ok(outcome)
    }

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
            nearest: None,
            waited: SignedDuration::ZERO,
        }))
    }
}

/// Whether a slot is free, on an `ACTIVE` instance, and of an image in a fitting state.
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
impl Assigner for BrokenAssigner {
    async fn assign(&self, request: &AssignRequest) -> Result<AssignOutcome, DbError> {
        let outcome = match self.defect {
            AssignerDefect::IgnoresHolder => {
                self.take(request, |_, slot| slot.status != SlotStatus::Dying)
            }
            AssignerDefect::IgnoresRepetition => self.take(request, |tables, slot| {
                let host = tables.instances.get(&slot.instance_id);
                slot.status == SlotStatus::Waiting
                    && host.is_some_and(|row| row.status == InstanceStatus::Active)
            }),
            AssignerDefect::KeepsSilentInstance => self.held(request),
            AssignerDefect::IgnoresInstanceState => self.take(request, |tables, slot| {
                let host = tables.instances.get(&slot.instance_id);
                slot.status == SlotStatus::Waiting
                    && host.is_some_and(|row| row.status != InstanceStatus::Active)
            }),
            AssignerDefect::AssignsWarming => self.take(request, |tables, slot| {
                is_open(tables, slot, |state| state == ImageState::Warming)
            }),
            AssignerDefect::IgnoresBuild => self.take(request, |tables, slot| {
                is_open(tables, slot, ImageState::is_served)
            }),
            AssignerDefect::IgnoresLimit => {
                let unlimited = FakeAssigner {
                    database: self.database.clone(),
                    user_limit: 1000,
                    environment: String::new(),
                };
                return unlimited.assign(request).await;
            }
            AssignerDefect::IgnoresShortSessions => {
                let marks = self.take_marks();
                let outcome = self.inner.assign(request).await;
                let slots = &mut self.database.rows().tables.slots;
                for (id, free_from) in marks {
                    if let Some(slot) = slots.get_mut(&id) {
                        slot.free_from = Some(free_from);
                    }
                }
                return outcome;
            }
            AssignerDefect::Line(defect) => return self.with_wrong_line(request, defect).await,
        };
        match outcome {
            Some(outcome) => Ok(outcome),
            None => self.inner.assign(request).await,
        }
    }

    async fn end_session(&self, user: &UserId, session: &SessionId) -> Result<SessionEnd, DbError> {
        self.inner.end_session(user, session).await
    }
}
