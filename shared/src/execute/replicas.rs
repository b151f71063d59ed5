//! Deleting replicas and moving their addresses. Replicas have no rows, so each of these is
//! recorded in DynamoDB, under the lock, before EC2 is asked.

use std::collections::BTreeSet;

use super::executor::{Executor, Stop};
use crate::host::Reassociation;
use crate::lock::LockError;
use crate::report::StepResult;
use crate::scaling::{Action, Plan, address_moves_to_record};
use crate::store::ReplicaRecord;

impl Executor<'_> {
    /// Moves addresses first, so that a replica's address is on another one before it is deleted.
    pub(super) async fn move_addresses_and_delete_replicas(
        &self,
        plan: &Plan,
        results: &mut Vec<StepResult>,
    ) -> Result<(), Stop> {
        let deleting = plan.ids(|action| match action {
            Action::DeleteReplica { instance } => Some(instance),
            _ => None,
        });
        let unknown = plan.steps.iter().find_map(|step| match &step.action {
            Action::RememberUnknown { since } => Some(since),
            _ => None,
        });
        let moves = address_moves_to_record(self.snapshot, plan, self.now);
        if deleting.is_empty() && unknown.is_none() && moves.is_none() {
            return Ok(());
        }
        self.check_time()?;
        let record = ReplicaRecord {
            unknown_since: unknown.unwrap_or(&self.snapshot.unknown_since).clone(),
            deleting: deleting.iter().cloned().collect::<BTreeSet<_>>(),
            address_moves: moves.unwrap_or_else(|| self.snapshot.address_moves.clone()),
        };
        match self.store.record_replicas(self.lease, &record).await {
            Ok(()) => {}
            Err(error @ LockError::Lost { .. }) => return Err(Stop::LockLost(error.to_string())),
            Err(error) => {
                results.push(StepResult::failed("record the replicas", error));
                return Ok(());
            }
        }
        self.move_addresses(plan, results).await;
        if deleting.is_empty() {
            return Ok(());
        }
        self.request_termination(&deleting, |id| format!("delete replica {id}"), results)
            .await
    }

    /// Moves each address with one request. If one fails, the address stays where it is, or becomes
    /// free with its replica's deletion, and the next pass decides again.
    async fn move_addresses(&self, plan: &Plan, results: &mut Vec<StepResult>) {
        // At most half of the time is spent here, so that replicas are deleted even if EC2 does not
        // answer.
        let began = self.clock.now();
        let until = began + self.deadline.duration_since(began) / 2;
        for step in &plan.steps {
            let Action::MoveAddress {
                address, to, from, ..
            } = &step.action
            else {
                continue;
            };
            let allowed = match from {
                Some(_) => Reassociation::Allowed,
                None => Reassociation::Refused,
            };
            if self.clock.now() >= until {
                let reason = "half of the remaining time is used up; the next pass continues";
                results.push(StepResult::failed(&step.action, reason));
                continue;
            }
            results.push(match self.host.associate(address, to, allowed).await {
                Ok(()) => StepResult::ok(&step.action, "done"),
                Err(error) => StepResult::failed(&step.action, error),
            });
        }
    }
}
