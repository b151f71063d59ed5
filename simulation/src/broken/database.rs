//! The pass's side of the database, done wrong.

use std::sync::Arc;

use async_trait::async_trait;
use shared::db::{
    DbError, Fence, InstanceDatabase, KnownInstance, Observation, RegionDatabase, UpgradeRequested,
    WriteOutcome, WriteResult,
};
use shared::ids::{ClientSha, ImageId, InstanceId, RegionName};
use shared::model::TerminateIf;
use shared::model::{ImageState, InstanceStatus, NewInstance, SpotNotice};
use testing::Database;
use testing::{FakeDatabase, Tables};

use super::upgrades::Upgrading;

type Written = Result<Vec<WriteResult>, DbError>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// Every write comes under the version in force.
    WithoutFence,
    DrainsOccupied,
    /// No heartbeat is shown, and none keeps an instance.
    HearsNoAgent,
    /// `TERMINATING` is answered and not written.
    CommitsNothing,
    /// The row of whatever is committed to its end goes at once.
    RemovesAtOnce,
    /// Rows are answered and not written.
    RecordsNoRows,
    /// A row that is there is written over.
    RecordsAnew,
    MisreadsMaximum,
    Panics,
    Upgrading(Upgrading),
}

pub(super) struct BadDatabase {
    inner: Arc<dyn Database>,
    tables: Arc<FakeDatabase>,
    how: Writing,
}

impl BadDatabase {
    pub(super) fn new(inner: Arc<dyn Database>, tables: Arc<FakeDatabase>, how: Writing) -> Self {
        Self { inner, tables, how }
    }

    fn is(&self, how: Writing) -> bool {
        self.how == how
    }

    fn fence(&self, fence: &Fence) -> Fence {
        let mut fence = fence.clone();
        if self.is(Writing::WithoutFence) {
            let in_force = self.tables.rows().tables.fence_mut(&fence.region).version;
            fence.version = fence.version.max(in_force);
        }
        fence
    }

    /// Does to each id what should not be done, if the fence lets it.
    async fn wrongly(
        &self,
        fence: &Fence,
        ids: &[InstanceId],
        change: impl Fn(&mut Tables, &InstanceId) + Send,
    ) -> Written {
        // The fence is not what is broken here.
        self.inner.note_missing(fence, &[], &[]).await?;
        let tables = &mut self.tables.rows().tables;
        Ok(ids
            .iter()
            .map(|id| {
                change(tables, id);
                done(id)
            })
            .collect())
    }
}

fn done(id: &InstanceId) -> WriteResult {
    WriteResult {
        id: id.to_string(),
        outcome: WriteOutcome::Done,
    }
}

fn set(tables: &mut Tables, id: &InstanceId, status: InstanceStatus) {
    if let Some(row) = tables.instances.get_mut(id) {
        row.status = status;
    }
}

#[async_trait]
impl RegionDatabase for BadDatabase {
    async fn regions(&self) -> Result<Vec<RegionName>, DbError> {
        assert!(!self.is(Writing::Panics), "broken on purpose");
        self.inner.regions().await
    }

    async fn begin_pass(&self, fence: &Fence) -> Result<Observation, DbError> {
        let mut seen = self.inner.begin_pass(fence).await?;
        if let Writing::Upgrading(how) = self.how {
            how.when_shown(&mut self.tables.rows().tables, &mut seen);
        }
        if self.is(Writing::MisreadsMaximum) {
            seen.settings.max_instances += 2;
        }
        if self.is(Writing::HearsNoAgent) {
            seen.watched_since = jiff::Timestamp::UNIX_EPOCH;
            for row in &mut seen.instances {
                row.beat_at = row.active_at.map(|_| jiff::Timestamp::UNIX_EPOCH);
            }
        }
        Ok(seen)
    }

    async fn observe(&self, region: &RegionName) -> Result<Observation, DbError> {
        self.inner.observe(region).await
    }
}

#[async_trait]
impl InstanceDatabase for BadDatabase {
    async fn record_instances(&self, fence: &Fence, instances: &[NewInstance]) -> Written {
        let ids: Vec<_> = instances.iter().map(|new| new.id.clone()).collect();
        match self.how {
            Writing::RecordsNoRows => self.wrongly(fence, &ids, |_, _| {}).await,
            Writing::RecordsAnew => {
                self.inner.record_instances(fence, instances).await?;
                self.wrongly(fence, &ids, |tables, id| {
                    set(tables, id, InstanceStatus::PreConnection);
                })
                .await
            }
            _ => {
                let fence = self.fence(fence);
                self.inner.record_instances(&fence, instances).await
            }
        }
    }

    async fn adopt_orphans(&self, fence: &Fence, orphans: &[NewInstance]) -> Written {
        self.inner.adopt_orphans(&self.fence(fence), orphans).await
    }

    async fn drain(&self, fence: &Fence, ids: &[InstanceId]) -> Written {
        if self.is(Writing::DrainsOccupied) {
            return self
                .wrongly(fence, ids, |tables, id| {
                    set(tables, id, InstanceStatus::Draining);
                })
                .await;
        }
        if let Writing::Upgrading(how) = self.how {
            let more = how.drained_as_well(&self.tables.rows().tables, &fence.region);
            let ids: Vec<_> = ids.iter().cloned().chain(more).collect();
            return self.inner.drain(fence, &ids).await;
        }
        self.inner.drain(&self.fence(fence), ids).await
    }

    async fn terminate(&self, fence: &Fence, ids: &[InstanceId], when: TerminateIf) -> Written {
        match self.how {
            Writing::CommitsNothing => self.wrongly(fence, ids, |_, _| {}).await,
            Writing::HearsNoAgent => {
                self.wrongly(fence, ids, |tables, id| {
                    set(tables, id, InstanceStatus::Terminating);
                })
                .await
            }
            Writing::RemovesAtOnce => {
                let answer = self.inner.terminate(fence, ids, when).await?;
                let ended: Vec<_> = answer
                    .iter()
                    .filter(|row| row.outcome.holds())
                    .map(|row| InstanceId::new(row.id.clone()))
                    .collect();
                self.inner.remove(fence, &ended).await?;
                Ok(answer)
            }
            _ => self.inner.terminate(&self.fence(fence), ids, when).await,
        }
    }

    async fn remove(&self, fence: &Fence, ids: &[InstanceId]) -> Written {
        self.inner.remove(&self.fence(fence), ids).await
    }

    async fn note_missing(
        &self,
        fence: &Fence,
        missing: &[InstanceId],
        present: &[InstanceId],
    ) -> Written {
        let fence = self.fence(fence);
        self.inner.note_missing(&fence, missing, present).await
    }

    async fn release_unclaimed(&self, fence: &Fence) -> Written {
        self.inner.release_unclaimed(&self.fence(fence)).await
    }

    async fn move_image(
        &self,
        fence: &Fence,
        image: &ImageId,
        states: (ImageState, ImageState),
        reason: &str,
    ) -> Written {
        let mut fence = self.fence(fence);
        if let Writing::Upgrading(how) = self.how {
            if how == Upgrading::NeverRetires && states.1 == ImageState::Retired {
                return self.wrongly(&fence, &[], |_, _| {}).await;
            }
            if how == Upgrading::WithoutFence {
                let in_force = self.tables.rows().tables.fence_mut(&fence.region).version;
                fence.version = fence.version.max(in_force);
            }
            let before = self.tables.rows().tables.images.clone();
            let answer = self.inner.move_image(&fence, image, states, reason).await?;
            let tables = &mut self.tables.rows().tables;
            how.when_moved(tables, &before, &fence.region, image);
            return Ok(answer);
        }
        self.inner.move_image(&fence, image, states, reason).await
    }

    async fn request_upgrade(
        &self,
        region: &RegionName,
        image: &ImageId,
        client_sha: &ClientSha,
    ) -> Result<UpgradeRequested, DbError> {
        let warming = self.tables.rows().tables.images.clone();
        let answer = self
            .inner
            .request_upgrade(region, image, client_sha)
            .await?;
        if self.is(Writing::Upgrading(Upgrading::WarmsTwo)) {
            Upgrading::put_back(&mut self.tables.rows().tables, &warming, |state| {
                state == ImageState::Warming
            });
        }
        Ok(answer)
    }

    async fn find_instance(&self, id: &InstanceId) -> Result<Option<KnownInstance>, DbError> {
        self.inner.find_instance(id).await
    }

    async fn record_spot_notice(
        &self,
        id: &InstanceId,
        notice: SpotNotice,
    ) -> Result<WriteOutcome, DbError> {
        self.inner.record_spot_notice(id, notice).await
    }
}
