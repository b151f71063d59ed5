//! Executing a plan. The executor makes no choices: it batches steps of one kind, commits before
//! it asks EC2, and reports the result of each step.

mod executor;
mod launch;
mod launch_request;
mod replicas;
mod rows;
mod terminate;

pub use executor::{Execution, Executor};
pub use launch_request::LaunchSettings;

use executor::Stop;

use crate::report::StepResult;
use crate::scaling::{Action, Plan};

impl Executor<'_> {
    /// Executes the steps: those that make room before those that need it. A failed step does not
    /// stop the others; a lost lock does.
    pub async fn execute(&self, plan: &Plan) -> Execution {
        let mut execution = Execution::default();
        if let Err(stop) = self.execute_steps(plan, &mut execution).await {
            let reason = match stop {
                Stop::LockLost(error) => error,
                Stop::OutOfTime => {
                    "the pass has used up its time; the next pass continues".to_owned()
                }
            };
            let failed = StepResult::failed("the rest of the plan", reason);
            execution.results.push(failed);
        }
        execution
    }

    async fn execute_steps(&self, plan: &Plan, execution: &mut Execution) -> Result<(), Stop> {
        let results = &mut execution.results;
        execution.image_moved = self.move_images(plan, results).await?;
        self.note_missing(plan, results).await?;
        self.terminate_instances(plan, results).await?;
        self.move_addresses_and_delete_replicas(plan, results)
            .await?;
        let has_room = self.remove_rows(plan, results).await?;
        self.release_unclaimed(plan, results).await?;
        self.drain(plan, results).await?;
        // Launches come last, so that the other steps do not wait for an EC2 that does not answer.
        for step in &plan.steps {
            let settled = match &step.action {
                Action::ResumeLaunch { launch } => {
                    self.check_time()?;
                    self.resume(step, launch, results).await?
                }
                // The plan's launches need the room of the rows that it removes.
                Action::Launch { .. } if !has_room => {
                    let reason = "rows that must be removed first still exist";
                    results.push(StepResult::failed(&step.action, reason));
                    true
                }
                Action::Launch {
                    image,
                    client_sha,
                    options,
                } => {
                    self.check_time()?;
                    self.launch(step, image, client_sha, options, results)
                        .await?;
                    true
                }
                _ => continue,
            };
            // While the outcome of a launch is unknown, no other one is tried.
            if !settled {
                break;
            }
        }
        Ok(())
    }
}
