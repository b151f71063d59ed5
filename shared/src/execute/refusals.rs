//! Recording which pools rest, and which may be used again.

use super::executor::{Executor, Stop};
use crate::lock::LockError;
use crate::report::StepResult;
use crate::scaling::{Action, Plan};

impl Executor<'_> {
    pub(super) async fn record_refusals(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        let mut refusals = vec![];
        let mut forgotten = vec![];
        for step in &plan.steps {
            match &step.action {
                Action::RestPool { refusal } => refusals.push(refusal.clone()),
                Action::ForgetRest { refusal } => forgotten.push(refusal.clone()),
                _ => {}
            }
        }
        // A pool that rests anew is not forgotten by the same write.
        forgotten.retain(|old| refusals.iter().all(|new| new.key() != old.key()));
        if refusals.is_empty() && forgotten.is_empty() {
            return Ok(());
        }
        self.check_time()?;
        let recorded = self
            .store
            .record_refusals(self.lease, &refusals, &forgotten)
            .await;
        match recorded {
            Ok(()) => {}
            Err(error @ LockError::Lost { .. }) => return Err(Stop::LockLost(error.to_string())),
            Err(error) => results.push(StepResult::failed("record refusals", error)),
        }
        Ok(())
    }
}
