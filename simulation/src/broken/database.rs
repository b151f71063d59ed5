//! A database with a defect in what passes call.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use shared::agent_token::AgentToken;
use shared::db::{
    DbError, Fence, InstanceDatabase, KnownInstance, Observation, RegionDatabase, UpgradeRequested,
    WriteOutcome, WriteResult,
};
use shared::ids::{ClientSha, ImageId, InstanceId, RegionName};
use shared::model::{
    DrainCause, ImageState, InstanceAddresses, InstanceStatus, NewInstance, Outlook, SpotNotice,
    TerminateIf,
};
use testing::{Database, FakeDatabase, Tables};

use super::upgrades::UpgradeDefect;
use crate::world::World;

type Written = Result<Vec<WriteResult>, DbError>;

/// A defect of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DatabaseDefect {
    /// Each write is made under the version in force.
    IgnoresFence,
    /// Occupied instances are drained, too.
    DrainsOccupied,
    /// Draining instances are observed as if their agents did not know, and are reopened.
    ReopensTooLate,
    /// Heartbeats are reported as old, and do not prevent a termination.
    IgnoresHeartbeats,
    /// Agents are told that sessions end now, without a warning.
    EndsWithoutWarning,
    /// Drains are observed as past their deadline, and end their sessions.
    IgnoresDeadline,
    /// `TERMINATING` is reported as written and not written.
    WritesNoTerminating,
    /// A row is removed as soon as its instance is `TERMINATING`.
    RemovesRowsEarly,
    /// Rows are reported as written and not written.
    RecordsNoRows,
    /// A row that exists is overwritten.
    OverwritesRows,
    /// `max_instances` is reported as 2 more than it is.
    MisreadsMaximum,
    /// All users in a region's lines are reported as its demand.
    CountsAllInLine,
    /// A session whose slot is released has no row in the history.
    ForgetsUnclaimed,
    /// The last instance that was removed gets another row.
    RecordsInstancesTwice,
    /// A call panics.
    Panics,
    /// A defect of what the database does for upgrades.
    Upgrade(UpgradeDefect),
}

pub(super) fn break_database(world: &mut World, defect: DatabaseDefect) {
    let inner = world.backends.database.clone();
    let tables = world.database.clone();
    world.backends.database = Arc::new(BrokenDatabase {
        inner,
        tables,
        defect,
    });
}

struct BrokenDatabase {
    inner: Arc<dyn Database>,
    tables: Arc<FakeDatabase>,
    defect: DatabaseDefect,
}

impl BrokenDatabase {
    fn is(&self, defect: DatabaseDefect) -> bool {
        self.defect == defect
    }

    fn fence(&self, fence: &Fence) -> Fence {
        let mut fence = fence.clone();
        if self.is(DatabaseDefect::IgnoresFence) {
            let in_force = self.tables.rows().tables.fence_mut(&fence.region).version;
            fence.version = fence.version.max(in_force);
        }
        fence
    }

    /// Makes a wrong change to each id, if the fence permits a write.
    async fn write_wrongly(
        &self,
        fence: &Fence,
        ids: &[InstanceId],
        change: impl Fn(&mut Tables, &InstanceId) + Send,
    ) -> Written {
        // A write of nothing checks the fence, which is not what is broken here.
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
impl RegionDatabase for BrokenDatabase {
    async fn regions(&self) -> Result<Vec<RegionName>, DbError> {
        assert!(!self.is(DatabaseDefect::Panics), "broken on purpose");
        self.inner.regions().await
    }

    async fn begin_pass(&self, fence: &Fence) -> Result<Observation, DbError> {
        let mut seen = self.inner.begin_pass(fence).await?;
        if let DatabaseDefect::Upgrade(defect) = self.defect {
            defect.change_observation(&mut self.tables.rows().tables, &mut seen);
        }
        if self.is(DatabaseDefect::MisreadsMaximum) {
            seen.settings.max_instances += 2;
        }
        if self.is(DatabaseDefect::CountsAllInLine) {
            seen.waiting = seen.lines.iter().map(|line| line.users).sum();
        }
        if self.is(DatabaseDefect::IgnoresHeartbeats) {
            seen.watched_since = jiff::Timestamp::UNIX_EPOCH;
            for row in &mut seen.instances {
                row.beat_at = row.active_at.map(|_| jiff::Timestamp::UNIX_EPOCH);
            }
        }
        if self.is(DatabaseDefect::IgnoresDeadline) {
            seen.settings.endings.drain_deadline = Some(jiff::SignedDuration::from_secs(1));
            for row in &mut seen.instances {
                row.draining_since = row.draining_since.map(|_| jiff::Timestamp::UNIX_EPOCH);
                row.ends.overdue = row.slots.occupied;
            }
        }
        if self.is(DatabaseDefect::ReopensTooLate) {
            for row in &mut seen.instances {
                row.drain_cause = row.drain_cause.map(|_| DrainCause::Surplus);
                if let Some(since) = row.draining_since {
                    row.beat_at = Some(since - jiff::SignedDuration::from_secs(1));
                }
            }
        }
        Ok(seen)
    }

    async fn observe(&self, region: &RegionName) -> Result<Observation, DbError> {
        self.inner.observe(region).await
    }
}

#[async_trait]
impl InstanceDatabase for BrokenDatabase {
    async fn record_instances(&self, fence: &Fence, instances: &[NewInstance]) -> Written {
        let ids: Vec<_> = instances.iter().map(|new| new.id.clone()).collect();
        match self.defect {
            DatabaseDefect::RecordsNoRows => self.write_wrongly(fence, &ids, |_, _| {}).await,
            DatabaseDefect::OverwritesRows => {
                self.inner.record_instances(fence, instances).await?;
                self.write_wrongly(fence, &ids, |tables, id| {
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

    async fn drain(&self, fence: &Fence, ids: &[InstanceId], cause: DrainCause) -> Written {
        if self.is(DatabaseDefect::DrainsOccupied) {
            return self
                .write_wrongly(fence, ids, |tables, id| {
                    set(tables, id, InstanceStatus::Draining);
                })
                .await;
        }
        if let DatabaseDefect::Upgrade(defect) = self.defect {
            let more = defect.also_drained(&self.tables.rows().tables, &fence.region);
            let ids: Vec<_> = ids.iter().cloned().chain(more).collect();
            return self.inner.drain(fence, &ids, cause).await;
        }
        self.inner.drain(&self.fence(fence), ids, cause).await
    }

    async fn reopen(&self, fence: &Fence, ids: &[InstanceId]) -> Written {
        if self.is(DatabaseDefect::ReopensTooLate) {
            return self
                .write_wrongly(fence, ids, |tables, id| {
                    set(tables, id, InstanceStatus::Active);
                })
                .await;
        }
        self.inner.reopen(&self.fence(fence), ids).await
    }

    async fn terminate(&self, fence: &Fence, ids: &[InstanceId], when: TerminateIf) -> Written {
        match self.defect {
            DatabaseDefect::WritesNoTerminating => self.write_wrongly(fence, ids, |_, _| {}).await,
            DatabaseDefect::IgnoresHeartbeats | DatabaseDefect::IgnoresDeadline => {
                self.write_wrongly(fence, ids, |tables, id| {
                    set(tables, id, InstanceStatus::Terminating);
                })
                .await
            }
            DatabaseDefect::RemovesRowsEarly => {
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
        let answer = self.inner.remove(&self.fence(fence), ids).await?;
        if self.is(DatabaseDefect::RecordsInstancesTwice) {
            let history = &mut self.tables.rows().tables.instance_history;
            history.extend(history.last().cloned());
        }
        Ok(answer)
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

    async fn note_addresses(&self, fence: &Fence, addresses: &[InstanceAddresses]) -> Written {
        let fence = self.fence(fence);
        self.inner.note_addresses(&fence, addresses).await
    }

    async fn note_forecast(&self, fence: &Fence, outlook: &Outlook) -> Written {
        let fence = self.fence(fence);
        self.inner.note_forecast(&fence, outlook).await
    }

    async fn release_unclaimed(&self, fence: &Fence) -> Written {
        let answer = self.inner.release_unclaimed(&self.fence(fence)).await?;
        if self.is(DatabaseDefect::ForgetsUnclaimed) {
            let history = &mut self.tables.rows().tables.session_history;
            let done = |row: &&WriteResult| row.outcome == WriteOutcome::Done;
            history.truncate(history.len() - answer.iter().filter(done).count());
        }
        Ok(answer)
    }

    async fn mark_ends(&self, fence: &Fence) -> Written {
        let before = self.tables.rows().tables.slots.clone();
        let answer = self.inner.mark_ends(&self.fence(fence)).await;
        if self.is(DatabaseDefect::EndsWithoutWarning) {
            let mut rows = self.tables.rows();
            for (id, slot) in &mut rows.tables.slots {
                if before.get(id).is_some_and(|before| before.end != slot.end) {
                    slot.end = slot
                        .end
                        .map(|(cause, _)| (cause, jiff::Timestamp::UNIX_EPOCH));
                }
            }
        }
        answer
    }

    async fn renew_tokens(&self, fence: &Fence, tokens: &[(InstanceId, AgentToken)]) -> Written {
        self.inner.renew_tokens(&self.fence(fence), tokens).await
    }

    async fn move_image(
        &self,
        fence: &Fence,
        image: &ImageId,
        states: (ImageState, ImageState),
        reason: &str,
    ) -> Written {
        let mut fence = self.fence(fence);
        if let DatabaseDefect::Upgrade(defect) = self.defect {
            if defect == UpgradeDefect::NeverRetires && states.1 == ImageState::Retired {
                return self.write_wrongly(&fence, &[], |_, _| {}).await;
            }
            if defect == UpgradeDefect::IgnoresFence {
                let in_force = self.tables.rows().tables.fence_mut(&fence.region).version;
                fence.version = fence.version.max(in_force);
            }
            let before = self.tables.rows().tables.images.clone();
            let answer = self.inner.move_image(&fence, image, states, reason).await?;
            let tables = &mut self.tables.rows().tables;
            defect.change_moved_images(tables, &before, &fence.region, image);
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
        let before = self.tables.rows().tables.images.clone();
        let answer = self
            .inner
            .request_upgrade(region, image, client_sha)
            .await?;
        if self.is(DatabaseDefect::Upgrade(UpgradeDefect::KeepsPreviousWarming)) {
            UpgradeDefect::restore(&mut self.tables.rows().tables, &before, |state| {
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

    async fn note_running(
        &self,
        running: &[(InstanceId, Timestamp)],
    ) -> Result<Vec<WriteResult>, DbError> {
        self.inner.note_running(running).await
    }
}
