//! Terminating instances: `TERMINATING` is written first, and EC2 is asked only for instances whose
//! write succeeded.

use std::collections::BTreeSet;

use super::executor::{Executor, Stop, report_write};
use crate::db::{WriteOutcome, WriteResult};
use crate::ids::InstanceId;
use crate::model::{NewInstance, TerminateIf};
use crate::report::StepResult;
use crate::scaling::{Action, Plan};

impl Executor<'_> {
    pub(super) async fn terminate_instances(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        let mut committed = Vec::new();
        for condition in [
            TerminateIf::Gone,
            TerminateIf::Missing,
            TerminateIf::Lost,
            TerminateIf::Deadline,
            TerminateIf::Empty,
        ] {
            committed.extend(self.commit(plan, condition, results).await?);
        }
        committed.extend(self.adopt(plan, results).await?);

        let requested: BTreeSet<_> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Terminate {
                    instance,
                    ask_ec2: true,
                    ..
                } => Some(instance),
                Action::TerminateOrphan { orphan } => Some(&orphan.id),
                _ => None,
            })
            .collect();
        committed.retain(|id| requested.contains(id));
        if committed.is_empty() {
            return Ok(());
        }
        self.request_termination(&committed, |id| format!("terminate {id} at EC2"), results)
            .await
    }

    /// Asks EC2 to terminate instances whose end is recorded, with a result for each id.
    pub(super) async fn request_termination(
        &self,
        ids: &[InstanceId],
        step: impl Fn(&InstanceId) -> String,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        self.check_time()?;
        for (id, answer) in self.host.terminate(ids).await {
            results.push(match answer {
                Ok(()) => StepResult::ok(step(&id), "requested"),
                Err(error) => StepResult::failed(step(&id), error),
            });
        }
        Ok(())
    }

    /// Writes `TERMINATING` under a condition, and returns the ids that have it now.
    async fn commit(
        &self,
        plan: &Plan,
        condition: TerminateIf,
        results: &mut Vec<StepResult>,
    ) -> Result<Vec<InstanceId>, Stop> {
        let ids = plan.ids(|action| match action {
            Action::Terminate {
                instance,
                condition: c,
                ..
            } if *c == condition => Some(instance),
            _ => None,
        });
        if ids.is_empty() {
            return Ok(ids);
        }
        self.check_time()?;
        let Some(database) = self.instance_rows("set TERMINATING", results) else {
            return Ok(Vec::new());
        };
        let answer = database
            .terminate(&self.lease.fence(), &ids, condition)
            .await;
        let rows = report_write("set TERMINATING on", answer, results)?;
        Ok(terminating(rows))
    }

    /// Inserts the rows of orphans, and returns the ids that it inserted.
    async fn adopt(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<Vec<InstanceId>, Stop> {
        let orphans: Vec<NewInstance> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::TerminateOrphan { orphan } => Some(orphan.clone()),
                _ => None,
            })
            .collect();
        if orphans.is_empty() {
            return Ok(Vec::new());
        }
        self.check_time()?;
        let Some(database) = self.instance_rows("insert orphans", results) else {
            return Ok(Vec::new());
        };
        let answer = database.adopt_orphans(&self.lease.fence(), &orphans).await;
        let rows = report_write("insert orphan", answer, results)?;
        // Only rows that were inserted now are orphans: one that existed before may be in service.
        Ok(rows
            .into_iter()
            .filter(|row| row.outcome == WriteOutcome::Done)
            .map(|row| InstanceId::new(row.id))
            .collect())
    }
}

fn terminating(rows: Vec<WriteResult>) -> Vec<InstanceId> {
    rows.into_iter()
        .filter(|row| row.outcome.holds())
        .map(|row| InstanceId::new(row.id))
        .collect()
}
