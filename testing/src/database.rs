//! PostgreSQL and its functions, in memory, with the same outcomes under the same conditions. The
//! tests in `tests/tests/fakes` compare it with a real PostgreSQL.

mod assigning;
mod demand;
mod endings;
mod flow;
mod history;
mod host_agents;
mod line;
mod observing;
mod pass_writes;
mod session_ends;
mod spot_notices;
mod tables;
mod unserved;
mod upgrades;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use shared::agent_token::AgentToken;
use shared::assign::{AssignOutcome, AssignRequest, Assigner, SessionEnd, SessionId, UserId};
use shared::clock::Clock;
use shared::db::{
    DbError, Fence, InstanceDatabase, KnownInstance, Observation, RegionDatabase, UpgradeRequested,
    WriteOutcome, WriteResult,
};
use shared::ids::{ClientSha, ImageId, InstanceId, RegionName};
use shared::model::{
    DrainCause, ImageState, Instance, InstanceAddresses, NewInstance, Outlook, SpotNotice,
    TerminateIf,
};

pub use endings::EndCause;
pub use flow::SafetyFactor;
pub use history::{InstanceEnd, InstanceRecord};
pub use host_agents::{AgentAnswer, AgentClaims, AgentOutcome};
pub use tables::{
    FailedSession, FenceRow, Heartbeat, InstanceRow, LineForecast, RegionRow, SessionEndsRow,
    SlotRow, SlotStatus, Tables, TokenRow, UnservedUser, WaitingUser,
};

use crate::{ENVIRONMENT, image, settings};

/// An enum's name as the database spells it.
///
/// # Panics
/// For a value that is not stored as a text.
#[allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
pub fn stored_name(value: impl Serialize) -> String {
    let name = serde_json::to_value(value).unwrap();
    name.as_str().unwrap().to_owned()
}

/// Both database ports: implemented by the fake, by the real database, and by broken variants.
pub trait Database: RegionDatabase + InstanceDatabase {}

impl<T: RegionDatabase + InstanceDatabase> Database for T {}

/// The ports of passes on in-memory tables. The database's time is the clock's.
#[derive(Debug)]
pub struct FakeDatabase {
    state: Mutex<Rows>,
    clock: Arc<dyn Clock>,
}

/// The tables, with the calls that were made and the faults that a test sets.
#[derive(Debug, Default)]
pub struct Rows {
    pub tables: Tables,
    /// The names of the calls, in order.
    pub calls: Vec<&'static str>,
    /// The next call fails with this error, before it has an effect.
    pub next_error: Option<DbError>,
    /// The next write takes effect, but its answer is lost.
    pub lose_next_answer: bool,
}

impl FakeDatabase {
    /// Empty tables.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Mutex::default(),
            clock,
        }
    }

    /// The region of [`settings`] with `ami-1` as its image and with these instances, as if passes
    /// had always observed it.
    pub(super) fn with(instances: &[Instance], clock: Arc<dyn Clock>) -> Self {
        let database = Self::new(clock);
        let now = database.clock.now();
        let region = settings().name;
        {
            let tables = &mut database.rows().tables;
            tables.add_region(settings());
            tables.add_image(&region, image("ami-1", ImageState::Current));
            for instance in instances {
                tables.add_instance(&region, instance);
            }
            let fence = tables.fence_mut(&region);
            fence.last_pass_at = Some(now);
            fence.watched_since = Some(Timestamp::UNIX_EPOCH);
        }
        database
    }

    /// The rows, to read them, or to change them as an operator or a host agent would.
    pub fn rows(&self) -> MutexGuard<'_, Rows> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, name: &'static str) -> Result<MutexGuard<'_, Rows>, DbError> {
        let mut rows = self.rows();
        rows.calls.push(name);
        match rows.next_error.take() {
            Some(error) => Err(error),
            None => Ok(rows),
        }
    }

    /// Makes a write, and loses its answer if the test has set that.
    fn write<T>(
        &self,
        name: &'static str,
        write: impl FnOnce(&mut Tables, Timestamp) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        let mut rows = self.call(name)?;
        let answer = write(&mut rows.tables, self.clock.now())?;
        if std::mem::take(&mut rows.lose_next_answer) {
            return Err(DbError::Unavailable {
                operation: "write",
                reason: "answer lost".to_owned(),
            });
        }
        Ok(answer)
    }
}

#[async_trait]
impl RegionDatabase for FakeDatabase {
    async fn regions(&self) -> Result<Vec<RegionName>, DbError> {
        let rows = self.call("regions")?;
        Ok(rows.tables.regions.keys().cloned().collect())
    }

    async fn begin_pass(&self, fence: &Fence) -> Result<Observation, DbError> {
        let now = self.clock.now();
        let mut rows = self.call("begin_pass")?;
        rows.tables.begin_pass(fence, ENVIRONMENT, now)
    }

    async fn observe(&self, region: &RegionName) -> Result<Observation, DbError> {
        let now = self.clock.now();
        self.call("observe")?
            .tables
            .observe(region, ENVIRONMENT, now)
    }
}

#[async_trait]
impl InstanceDatabase for FakeDatabase {
    async fn record_instances(
        &self,
        fence: &Fence,
        instances: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError> {
        self.write("record_instances", |tables, _| {
            tables.record_instances(fence, instances)
        })
    }

    async fn adopt_orphans(
        &self,
        fence: &Fence,
        orphans: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError> {
        self.write("adopt_orphans", |tables, _| {
            tables.adopt_orphans(fence, orphans)
        })
    }

    async fn drain(
        &self,
        fence: &Fence,
        ids: &[InstanceId],
        cause: DrainCause,
    ) -> Result<Vec<WriteResult>, DbError> {
        self.write("drain", |tables, now| tables.drain(fence, ids, cause, now))
    }

    async fn reopen(&self, fence: &Fence, ids: &[InstanceId]) -> Result<Vec<WriteResult>, DbError> {
        self.write("reopen", |tables, now| tables.reopen(fence, ids, now))
    }

    async fn terminate(
        &self,
        fence: &Fence,
        ids: &[InstanceId],
        condition: TerminateIf,
    ) -> Result<Vec<WriteResult>, DbError> {
        self.write("terminate", |tables, now| {
            tables.terminate(fence, ids, condition, now)
        })
    }

    async fn remove(&self, fence: &Fence, ids: &[InstanceId]) -> Result<Vec<WriteResult>, DbError> {
        self.write("remove", |tables, now| tables.remove(fence, ids, now))
    }

    async fn note_missing(
        &self,
        fence: &Fence,
        missing: &[InstanceId],
        present: &[InstanceId],
    ) -> Result<Vec<WriteResult>, DbError> {
        self.write("note_missing", |tables, now| {
            tables.note_missing(fence, missing, present, now)
        })
    }

    async fn note_addresses(
        &self,
        fence: &Fence,
        addresses: &[InstanceAddresses],
    ) -> Result<Vec<WriteResult>, DbError> {
        self.write("note_addresses", |tables, _| {
            tables.note_addresses(fence, addresses)
        })
    }

    async fn note_forecast(
        &self,
        fence: &Fence,
        outlook: &Outlook,
    ) -> Result<Vec<WriteResult>, DbError> {
        self.write("note_forecast", |tables, _| {
            tables.note_forecast(fence, outlook)
        })
    }

    async fn release_unclaimed(&self, fence: &Fence) -> Result<Vec<WriteResult>, DbError> {
        self.write("release_unclaimed", |tables, now| {
            tables.release_unclaimed(fence, now)
        })
    }

    async fn mark_ends(&self, fence: &Fence) -> Result<Vec<WriteResult>, DbError> {
        self.write("mark_ends", |tables, now| tables.mark_ends(fence, now))
    }

    async fn renew_tokens(
        &self,
        fence: &Fence,
        tokens: &[(InstanceId, AgentToken)],
    ) -> Result<Vec<WriteResult>, DbError> {
        self.write("renew_tokens", |tables, now| {
            tables.renew_tokens(fence, tokens, now)
        })
    }

    async fn move_image(
        &self,
        fence: &Fence,
        image: &ImageId,
        states: (ImageState, ImageState),
        reason: &str,
    ) -> Result<Vec<WriteResult>, DbError> {
        self.write("move_image", |tables, now| {
            tables.move_image(fence, image, states, reason, now)
        })
    }

    async fn request_upgrade(
        &self,
        region: &RegionName,
        image: &ImageId,
        client_sha: &ClientSha,
    ) -> Result<UpgradeRequested, DbError> {
        self.write("ask_upgrade", |tables, now| {
            tables.request_upgrade(region, image, client_sha, now)
        })
    }

    async fn find_instance(&self, id: &InstanceId) -> Result<Option<KnownInstance>, DbError> {
        Ok(self.call("find_instance")?.tables.find_instance(id))
    }

    async fn record_spot_notice(
        &self,
        id: &InstanceId,
        notice: SpotNotice,
    ) -> Result<WriteOutcome, DbError> {
        self.write("give_notice", |tables, _| {
            Ok(tables.record_spot_notice(id, notice))
        })
    }

    async fn note_running(
        &self,
        running: &[(InstanceId, Timestamp)],
    ) -> Result<Vec<WriteResult>, DbError> {
        self.write("note_running", |tables, now| {
            Ok(tables.note_running(running, now))
        })
    }
}

/// The port of assigning, on the same tables.
#[derive(Clone, Debug)]
pub struct FakeAssigner {
    pub database: Arc<FakeDatabase>,
    pub user_limit: u32,
    pub environment: String,
}

#[async_trait]
impl Assigner for FakeAssigner {
    async fn assign(&self, request: &AssignRequest) -> Result<AssignOutcome, DbError> {
        self.database.write("assign", |tables, now| {
            Ok(tables.assign_slot(request, self.user_limit, &self.environment, now))
        })
    }

    async fn end_session(&self, user: &UserId, session: &SessionId) -> Result<SessionEnd, DbError> {
        self.database.write("end_own_session", |tables, now| {
            let (user, session) = (user.as_str(), session.as_str());
            Ok(tables.end_session(user, session, EndCause::User, now))
        })
    }
}
