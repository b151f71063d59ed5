//! Terminating instances: `TERMINATING` is committed first, and EC2 is asked only for what was
//! committed.

use std::collections::BTreeSet;

use super::executor::{Executor, Stop, written};
use crate::db::{WriteOutcome, WriteResult};
use crate::ids::InstanceId;
use crate::model::{NewInstance, TerminateIf};
use crate::report::StepResult;
use crate::scaling::{Action, Plan};

impl Executor<'_> {
    pub(super) async fn end_instances(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        let mut committed = Vec::new();
        for condition in [
            TerminateIf::Gone,
            TerminateIf::Missing,
            TerminateIf::Lost,
            TerminateIf::Empty,
        ] {
            committed.extend(self.commit(plan, condition, results).await?);
        }
        committed.extend(self.adopt(plan, results).await?);

        let asked: BTreeSet<_> = plan
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
        committed.retain(|id| asked.contains(id));
        if committed.is_empty() {
            return Ok(());
        }
        self.ask_to_terminate(&committed, |id| format!("terminate {id} at EC2"), results)
            .await
    }

    /// Asks EC2 to terminate what is recorded; each id is reported as a step.
    pub(super) async fn ask_to_terminate(
        &self,
        ids: &[InstanceId],
        step: impl Fn(&InstanceId) -> String,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        self.in_time()?;
        for (id, answer) in self.host.terminate(ids).await {
            results.push(match answer {
                Ok(()) => StepResult::ok(step(&id), "asked"),
                Err(error) => StepResult::failed(step(&id), error),
            });
        }
        Ok(())
    }

    /// The ids for which `TERMINATING` holds now.
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
        self.in_time()?;
        let Some(database) = self.instance_rows("commit the end of instances", results) else {
            return Ok(Vec::new());
        };
        let answer = database
            .terminate(&self.lease.fence(), &ids, condition)
            .await;
        let rows = written("commit the end of", answer, results)?;
        Ok(held(rows))
    }

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
        self.in_time()?;
        let Some(database) = self.instance_rows("commit the end of orphans", results) else {
            return Ok(Vec::new());
        };
        let answer = database.adopt_orphans(&self.lease.fence(), &orphans).await;
        let rows = written("commit the end of orphan", answer, results)?;
        // A row that existed before may be anything: only what was adopted now is an orphan.
        Ok(rows
            .into_iter()
            .filter(|row| row.outcome == WriteOutcome::Done)
            .map(|row| InstanceId::new(row.id))
            .collect())
    }
}

fn held(rows: Vec<WriteResult>) -> Vec<InstanceId> {
    rows.into_iter()
        .filter(|row| row.outcome.holds())
        .map(|row| InstanceId::new(row.id))
        .collect()
}
