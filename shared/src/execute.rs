//! Executing a plan. The executor makes no choices: it batches steps of one kind, commits before
//! it asks EC2, and reports the result of each step.

mod executor;
mod launch;
mod launch_batch;
mod launch_check;
mod launch_request;
mod refusals;
mod replicas;
mod rows;
mod terminate;
mod tokens;

pub use executor::{Execution, Executor};
pub use launch_request::LaunchSettings;

use std::sync::PoisonError;

use executor::Stop;

use crate::report::StepResult;
use crate::scaling::{Action, LaunchOption, Plan};

impl Executor<'_> {
    /// Executes the steps: those that make room before those that need it. A failed step does not
    /// stop the others; a lost lock does.
    pub async fn execute(&self, plan: &Plan) -> Execution {
        let mut execution = Execution::default();
        let mut ended = self.execute_steps(plan, &mut execution).await;
        if ended.is_ok() {
            ended = self.note_running(&mut execution.results).await;
        }
        // After a move the next round follows at once, and knows the images as they are then.
        if ended.is_ok() && !execution.image_moved {
            ended = self.note_forecast(plan, &mut execution.results).await;
        }
        if let Err(stop) = ended {
            execution.lock_lost = matches!(stop, Stop::LockLost(_));
            let reason = match stop {
                Stop::LockLost(error) => error,
                Stop::OutOfTime => {
                    "the pass has used up its time; the next pass continues".to_owned()
                }
            };
            let failed = StepResult::failed("the rest of the plan", reason);
            execution.results.push(failed);
        }
        let mut failures = self
            .launch_failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        execution.launch_failures = std::mem::take(&mut failures);
        execution
    }

    async fn execute_steps(&self, plan: &Plan, execution: &mut Execution) -> Result<(), Stop> {
        let results = &mut execution.results;
        // Before the instances end that it counts: a pass that dies in between must not forget them.
        self.record_refusals(plan, results).await?;
        execution.image_moved = self.move_images(plan, results).await?;
        self.note_missing(plan, results).await?;
        self.note_addresses(plan, results).await?;
        self.terminate_instances(plan, results).await?;
        self.move_addresses_and_delete_replicas(plan, results)
            .await?;
        let rows_left = self.remove_rows(plan, results).await?;
        self.release_unclaimed(plan, results).await?;
        self.mark_ends(plan, results).await?;
        self.reopen(plan, results).await?;
        self.drain(plan, results).await?;
        self.renew_tokens(plan, results).await?;
        let mut room = room_for_launches(plan, rows_left);
        // Launches come last, so that the other steps do not wait for an EC2 that does not answer.
        // While the outcome of one is unknown, no other one is tried.
        if !self.resume(plan, results).await? {
            return Ok(());
        }
        for step in &plan.steps {
            let Action::Launch {
                image,
                client_sha,
                options,
            } = &step.action
            else {
                continue;
            };
            if room == 0 {
                let reason = "rows that must be removed first still exist";
                results.push(StepResult::failed(&step.action, reason));
                continue;
            }
            let options = LaunchOption::within(options, room);
            room -= LaunchOption::most(&options);
            let image = (image, client_sha);
            if !self.launch(step, image, &options, plan, results).await? {
                break;
            }
        }
        Ok(())
    }
}

/// How many instances the plan may launch. Its launches count on the room of the rows that it
/// removes, but those that are left, because an agent holds them for example, take only their own.
fn room_for_launches(plan: &Plan, rows_left: usize) -> u32 {
    if rows_left == 0 {
        return u32::MAX;
    }
    let left = u32::try_from(rows_left).unwrap_or(u32::MAX);
    let live = plan.counts.live.saturating_add(left);
    plan.counts.max.saturating_sub(live)
}
