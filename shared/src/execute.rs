//! Executing a plan. The executor makes no choices: it batches steps of one kind, commits before
//! it asks EC2, and reports the result of each step.

mod launch;
mod launch_request;
mod replicas;
mod terminate;

use std::fmt;

use jiff::Timestamp;

pub use launch_request::LaunchSettings;

use crate::clock::Clock;
use crate::db::{DbError, InstanceDatabase, WriteOutcome, WriteResult};
use crate::host::HostHandler;
use crate::ids::{InstanceId, UniqueIds};
use crate::lock::Lease;
use crate::report::StepResult;
use crate::scaling::{Action, Plan, ScalingAlgorithm, Snapshot, Step};
use crate::store::StateStore;

/// Executes one plan, under one lease.
pub struct Executor<'a> {
    pub algorithm: &'a dyn ScalingAlgorithm,
    /// None in a stack of replicas alone.
    pub instances: Option<&'a dyn InstanceDatabase>,
    pub host: &'a dyn HostHandler,
    pub store: &'a dyn StateStore,
    pub clock: &'a dyn Clock,
    pub ids: &'a dyn UniqueIds,
    pub launches: &'a LaunchSettings,
    pub lease: &'a Lease,
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

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Execution {
    pub results: Vec<StepResult>,
    /// An image changed its state.
    pub image_moved: bool,
}

/// Why the rest of a plan is left to the next pass.
#[derive(Debug)]
enum Stop {
    /// Another pass holds the lock now: nothing more may be written.
    LockLost(String),
    OutOfTime,
}

impl Executor<'_> {
    /// Executes the steps: those that make room before those that need it. A step that fails
    /// does not stop the others; a lost lock does.
    pub async fn execute(&self, plan: &Plan) -> Execution {
        let mut execution = Execution::default();
        if let Err(stop) = self.all_steps(plan, &mut execution).await {
            let reason = match stop {
                Stop::LockLost(error) => error,
                Stop::OutOfTime => "the pass has used up its time; the next one goes on".to_owned(),
            };
            let failed = StepResult::failed("the rest of the plan", reason);
            execution.results.push(failed);
        }
        execution
    }

    async fn all_steps(&self, plan: &Plan, execution: &mut Execution) -> Result<(), Stop> {
        let results = &mut execution.results;
        execution.image_moved = self.move_images(plan, results).await?;
        self.note_missing(plan, results).await?;
        self.end_instances(plan, results).await?;
        self.move_addresses_and_delete_replicas(plan, results)
            .await?;
        let has_room = self.remove_rows(plan, results).await?;
        self.release_unclaimed(plan, results).await?;
        self.drain(plan, results).await?;
        // Launches last: an EC2 that does not answer must not keep the rest from being done.
        for step in &plan.steps {
            let settled = match &step.action {
                Action::ResumeLaunch { launch } => {
                    self.in_time()?;
                    self.resume(step, launch, results).await?
                }
                // The plan launches into the room of the rows that it removes.
                Action::Launch { .. } if !has_room => {
                    let reason = "rows that had to go first are still there";
                    results.push(StepResult::failed(&step.action, reason));
                    true
                }
                Action::Launch {
                    image,
                    client_sha,
                    options,
                } => {
                    self.in_time()?;
                    self.launch(step, image, client_sha, options, results)
                        .await?;
                    true
                }
                _ => continue,
            };
            // While the outcome of one launch is unknown, no other is tried.
            if !settled {
                break;
            }
        }
        Ok(())
    }

    /// The rows of instances; a plan that needs them in a stack without them is reported.
    fn instance_rows(
        &self,
        verb: &str,
        results: &mut Vec<StepResult>,
    ) -> Option<&dyn InstanceDatabase> {
        if self.instances.is_none() {
            let reason =
                "this stack has no database (HASURA_URL is not set): it runs replicas only";
            results.push(StepResult::failed(verb, reason));
        }
        self.instances
    }

    fn in_time(&self) -> Result<(), Stop> {
        if self.clock.now() < self.deadline {
            Ok(())
        } else {
            Err(Stop::OutOfTime)
        }
    }

    /// True when an image changed its state.
    async fn move_images(&self, plan: &Plan, results: &mut Vec<StepResult>) -> Result<bool, Stop> {
        let mut moved = false;
        for step in &plan.steps {
            let Action::MoveImage { image, from, to } = &step.action else {
                continue;
            };
            self.in_time()?;
            let reason = step.reason.to_string();
            let Some(database) = self.instance_rows("move an image", results) else {
                continue;
            };
            let answer = database
                .move_image(&self.lease.fence(), image, (*from, *to), &reason)
                .await;
            let rows = written(&format!("move from {from} to {to}"), answer, results)?;
            moved |= rows.iter().any(|row| row.outcome == WriteOutcome::Done);
        }
        Ok(moved)
    }

    async fn note_missing(&self, plan: &Plan, results: &mut Vec<StepResult>) -> Result<(), Stop> {
        let missing = plan.ids(|action| match action {
            Action::NoteMissing { instance } => Some(instance),
            _ => None,
        });
        let present = plan.ids(|action| match action {
            Action::NotePresent { instance } => Some(instance),
            _ => None,
        });
        if missing.is_empty() && present.is_empty() {
            return Ok(());
        }
        self.in_time()?;
        let Some(database) = self.instance_rows("note missing", results) else {
            return Ok(());
        };
        let answer = database
            .note_missing(&self.lease.fence(), &missing, &present)
            .await;
        written("note missing", answer, results)?;
        Ok(())
    }

    /// True when every row of the plan is gone.
    async fn remove_rows(&self, plan: &Plan, results: &mut Vec<StepResult>) -> Result<bool, Stop> {
        let ids = plan.ids(|action| match action {
            Action::Remove { instance } => Some(instance),
            _ => None,
        });
        if ids.is_empty() {
            return Ok(true);
        }
        self.in_time()?;
        let Some(database) = self.instance_rows("remove rows", results) else {
            return Ok(false);
        };
        let answer = database.remove(&self.lease.fence(), &ids).await;
        let rows = written("remove the row of", answer, results)?;
        let is_gone =
            |row: &WriteResult| matches!(row.outcome, WriteOutcome::Done | WriteOutcome::Unknown);
        Ok(rows.len() == ids.len() && rows.iter().all(is_gone))
    }

    async fn release_unclaimed(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        if !plan
            .steps
            .iter()
            .any(|step| matches!(step.action, Action::ReleaseUnclaimed { .. }))
        {
            return Ok(());
        }
        self.in_time()?;
        let Some(database) = self.instance_rows("release slots", results) else {
            return Ok(());
        };
        let answer = database.release_unclaimed(&self.lease.fence()).await;
        written("release slot", answer, results)?;
        Ok(())
    }

    async fn drain(&self, plan: &Plan, results: &mut Vec<StepResult>) -> Result<(), Stop> {
        let ids = plan.ids(|action| match action {
            Action::Drain { instance } => Some(instance),
            _ => None,
        });
        if ids.is_empty() {
            return Ok(());
        }
        self.in_time()?;
        let Some(database) = self.instance_rows("drain", results) else {
            return Ok(());
        };
        let answer = database.drain(&self.lease.fence(), &ids).await;
        written("drain", answer, results)?;
        Ok(())
    }
}

impl Plan {
    fn ids<'p>(&'p self, pick: impl Fn(&'p Action) -> Option<&'p InstanceId>) -> Vec<InstanceId> {
        self.steps
            .iter()
            .filter_map(|step: &Step| pick(&step.action))
            .cloned()
            .collect()
    }
}

/// Reports a write, id by id, and returns its rows. A lost lock stops the pass.
fn written(
    verb: &str,
    answer: Result<Vec<WriteResult>, DbError>,
    results: &mut Vec<StepResult>,
) -> Result<Vec<WriteResult>, Stop> {
    match answer {
        Ok(rows) => {
            for row in &rows {
                let step = format!("{verb} {}", row.id);
                // A user who was faster than the pass is not a failure: the write's condition
                // exists for that.
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
