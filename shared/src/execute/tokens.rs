//! Signing the next tokens of host agents, and storing them where only their instances read them.

use super::executor::{Executor, Stop, report_write};
use crate::report::StepResult;
use crate::scaling::{Action, Plan};

impl Executor<'_> {
    pub(super) async fn renew_tokens(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        let mut signed = Vec::new();
        for step in &plan.steps {
            let Action::RenewToken { instance, launch } = &step.action else {
                continue;
            };
            // The decision renews tokens only where there is a key.
            let Some(tokens) = &self.launches.tokens else {
                continue;
            };
            match tokens.renew(launch, self.now) {
                Ok(token) => signed.push((instance.clone(), token)),
                Err(error) => results.push(StepResult::failed(&step.action, error)),
            }
        }
        if signed.is_empty() {
            return Ok(());
        }
        self.check_time()?;
        let Some(database) = self.instance_rows("renew tokens", results) else {
            return Ok(());
        };
        let answer = database.renew_tokens(&self.lease.fence(), &signed).await;
        report_write("renew the token of", answer, results)?;
        Ok(())
    }
}
