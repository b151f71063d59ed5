//! Replicas have no rows: what is to become of them and of their addresses is written down under
//! the lock, and then EC2 is asked.

use std::collections::BTreeSet;

use super::{Actor, Stop};
use crate::host::Reassociation;
use crate::lock::{LockError, ReplicaNotes};
use crate::report::StepResult;
use crate::scaling::{Action, Plan, address_moves_to_record};

impl Actor<'_> {
    /// Addresses first: that of a replica that ends is handed over before it does.
    pub(super) async fn hand_over_and_end_replicas(
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
        self.in_time()?;
        let notes = ReplicaNotes {
            unknown_since: unknown.unwrap_or(&self.snapshot.unknown_since).clone(),
            deleting: deleting.iter().cloned().collect::<BTreeSet<_>>(),
            address_moves: moves.unwrap_or_else(|| self.snapshot.address_moves.clone()),
        };
        match self.log.note_replicas(self.lease, &notes).await {
            Ok(()) => {}
            Err(error @ LockError::Lost { .. }) => return Err(Stop::LockLost(error.to_string())),
            Err(error) => {
                results.push(StepResult::failed("note the replicas", error));
                return Ok(());
            }
        }
        self.move_addresses(plan, results).await;
        if deleting.is_empty() {
            return Ok(());
        }
        self.ask_to_terminate(&deleting, |id| format!("delete replica {id}"), results)
            .await
    }

    /// One request each. What fails is decided again by the next pass: until then the address is
    /// where it was, and that of a replica that is deleted all the same is free when it is gone.
    async fn move_addresses(&self, plan: &Plan, results: &mut Vec<StepResult>) {
        // An EC2 that does not answer must not keep the replicas from being deleted.
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
                let why = "half of the time that was left is used up; the next pass goes on";
                results.push(StepResult::failed(&step.action, why));
                continue;
            }
            results.push(match self.host.associate(address, to, allowed).await {
                Ok(()) => StepResult::ok(&step.action, "done"),
                Err(error) => StepResult::failed(&step.action, error),
            });
        }
    }
}
