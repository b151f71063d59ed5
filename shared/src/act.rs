//! Carrying a plan out. The actor makes no choices: it batches what is alike, commits before
//! it asks EC2, and tells what became of each step.

mod launch;
mod prepare;
mod replicas;
mod terminate;

use std::fmt;

use jiff::Timestamp;

pub use prepare::Launching;

use crate::clock::Clock;
use crate::db::{Database, DbError, WriteOutcome, WriteResult};
use crate::host::HostHandler;
use crate::ids::{InstanceId, UniqueIds};
use crate::lock::{LaunchLog, Lease};
use crate::report::StepResult;
use crate::scaling::{Action, Plan, Snapshot, Step};

/// Everything that one pass acts with, under one lease.
pub struct Actor<'a> {
    pub database: &'a dyn Database,
    pub host: &'a dyn HostHandler,
    pub log: &'a dyn LaunchLog,
    pub clock: &'a dyn Clock,
    pub ids: &'a dyn UniqueIds,
    pub launching: &'a Launching,
    pub lease: &'a Lease,
    /// No step is begun after this.
    pub deadline: Timestamp,
    pub snapshot: &'a Snapshot,
    /// The database's time, from the observation.
    pub now: Timestamp,
}

impl fmt::Debug for Actor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Carried {
    pub results: Vec<StepResult>,
    /// An image is in another state now.
    pub moved: bool,
}

/// Why the rest of a plan is left to the next pass.
#[derive(Debug)]
enum Stop {
    /// Another pass holds the lock now: nothing may be written any more.
    LockLost(String),
    OutOfTime,
}

impl Actor<'_> {
    /// Carries the steps out, those that make room before those that take it. What one step
    /// cannot do does not keep the others from being done, but a lost lock ends everything.
    pub async fn carry_out(&self, plan: &Plan) -> Carried {
        let mut carried = Carried::default();
        if let Err(stop) = self.all_steps(plan, &mut carried).await {
            let why = match stop {
                Stop::LockLost(why) => why,
                Stop::OutOfTime => "the pass has used up its time; the next one goes on".to_owned(),
            };
            let failed = StepResult::failed("the rest of the plan", why);
            carried.results.push(failed);
        }
        carried
    }

    async fn all_steps(&self, plan: &Plan, carried: &mut Carried) -> Result<(), Stop> {
        let results = &mut carried.results;
        carried.moved = self.move_images(plan, results).await?;
        self.note_missing(plan, results).await?;
        self.end_instances(plan, results).await?;
        self.hand_over_and_end_replicas(plan, results).await?;
        let room = self.remove_rows(plan, results).await?;
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
                Action::Launch { .. } if !room => {
                    let why = "rows that had to go first are still there";
                    results.push(StepResult::failed(&step.action, why));
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
            // As long as it is not known what became of one launch, no other is tried.
            if !settled {
                break;
            }
        }
        Ok(())
    }

    fn in_time(&self) -> Result<(), Stop> {
        if self.clock.now() < self.deadline {
            Ok(())
        } else {
            Err(Stop::OutOfTime)
        }
    }

    /// True when one of them is in another state now.
    async fn move_images(&self, plan: &Plan, results: &mut Vec<StepResult>) -> Result<bool, Stop> {
        let mut moved = false;
        for step in &plan.steps {
            let Action::MoveImage { image, from, to } = &step.action else {
                continue;
            };
            self.in_time()?;
            let reason = step.because.to_string();
            let answer = self
                .database
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
        let answer = self
            .database
            .note_missing(&self.lease.fence(), &missing, &present)
            .await;
        written("note missing", answer, results)?;
        Ok(())
    }

    /// True when all of them are gone.
    async fn remove_rows(&self, plan: &Plan, results: &mut Vec<StepResult>) -> Result<bool, Stop> {
        let ids = plan.ids(|action| match action {
            Action::Remove { instance } => Some(instance),
            _ => None,
        });
        if ids.is_empty() {
            return Ok(true);
        }
        self.in_time()?;
        let answer = self.database.remove(&self.lease.fence(), &ids).await;
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
        let answer = self.database.release_unclaimed(&self.lease.fence()).await;
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
        let answer = self.database.drain(&self.lease.fence(), &ids).await;
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

/// Reports a write, id by id, and gives its rows back. A lost lock stops the pass.
fn written(
    verb: &str,
    answer: Result<Vec<WriteResult>, DbError>,
    results: &mut Vec<StepResult>,
) -> Result<Vec<WriteResult>, Stop> {
    match answer {
        Ok(rows) => {
            for row in &rows {
                let step = format!("{verb} {}", row.id);
                // A user who was faster than the pass is no failure: that is what the
                // condition in the write is for.
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
