//! What executing a plan needs, and the helpers of every step.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::launch_request::LaunchSettings;
use crate::clock::Clock;
use crate::db::{DbError, InstanceDatabase, WriteResult};
use crate::host::HostHandler;
use crate::ids::{InstanceId, UniqueIds};
use crate::lock::Lease;
use crate::model::LaunchTally;
use crate::report::StepResult;
use crate::scaling::{Action, Plan, ScalingAlgorithm, Snapshot, Step};
use crate::store::StateStore;

/// Executes one plan under one lease.
pub struct Executor<'a> {
    pub algorithm: &'a dyn ScalingAlgorithm,
    /// None in a stack of replicas only.
    pub instances: Option<&'a dyn InstanceDatabase>,
    pub host: &'a dyn HostHandler,
    pub store: &'a dyn StateStore,
    pub clock: &'a dyn Clock,
    pub ids: &'a dyn UniqueIds,
    pub launches: &'a LaunchSettings,
    pub lease: &'a Lease,
    /// The tally of launches, kept up to date while this plan launches.
    pub tally: Mutex<LaunchTally>,
    /// EC2's error codes of the launches that failed so far.
    pub launch_failures: Mutex<Vec<String>>,
    /// No step begins after this time.
    pub deadline: Timestamp,
    pub snapshot: &'a Snapshot,
    /// The database's time, from the observation.
    pub now: Timestamp,
}

impl fmt::Debug for Executor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// The outcome of a plan.
#[derive(Debug, Default)]
pub struct Execution {
    pub results: Vec<StepResult>,
    /// An image changed its state.
    pub image_moved: bool,
    /// EC2's error code of each launch that failed.
    pub launch_failures: Vec<String>,
    /// Another pass has acquired the lock meanwhile.
    pub lock_lost: bool,
}

/// Why the rest of a plan is left to the next pass.
#[derive(Debug)]
pub(super) enum Stop {
    /// Another pass holds the lock now: nothing more may be written.
    LockLost(String),
    OutOfTime,
}

impl Executor<'_> {
    /// The port of instance rows. In a stack of replicas only there is none, and the step fails.
    pub(super) fn instance_rows(
        &self,
        verb: &str,
        results: &mut Vec<StepResult>,
    ) -> Option<&dyn InstanceDatabase> {
        if self.instances.is_none() {
            let reason =
                "this stack has no database, because HASURA_URL is not set: it runs replicas only";
            results.push(StepResult::failed(verb, reason));
        }
        self.instances
    }

    /// Changes the tally of launches, and returns it.
    pub(super) fn tally(&self, change: impl FnOnce(&mut LaunchTally)) -> LaunchTally {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut tally);
        tally.clone()
    }

    pub(super) fn check_time(&self) -> Result<(), Stop> {
        if self.clock.now() < self.deadline {
            Ok(())
        } else {
            Err(Stop::OutOfTime)
        }
    }
}

impl Plan {
    pub(super) fn ids<'p>(
        &'p self,
        pick: impl Fn(&'p Action) -> Option<&'p InstanceId>,
    ) -> Vec<InstanceId> {
        self.steps
            .iter()
            .filter_map(|step: &Step| pick(&step.action))
            .cloned()
            .collect()
    }
}

/// Adds a result for each id of a write, and returns its rows. A lost lock stops the pass.
pub(super) fn report_write(
    verb: &str,
    answer: Result<Vec<WriteResult>, DbError>,
    results: &mut Vec<StepResult>,
) -> Result<Vec<WriteResult>, Stop> {
    match answer {
        Ok(rows) => {
            for row in &rows {
                let step = format!("{verb} {}", row.id);
                // A row that did not meet the write's condition is not a failure. A user may have
                // been faster than the pass.
                results.push(StepResult::ok(step, row.outcome));
            }
            Ok(rows)
        }
        Err(error @ DbError::Fenced { .. }) => Err(Stop::LockLost(error.to_string())),
        Err(error) => {
            results.push(StepResult::failed(verb, error));
            Ok(Vec::new())
        }
    }
}
