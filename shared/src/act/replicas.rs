//! Replicas have no rows: what is to become of them is written down under the lock, and then
//! EC2 is asked.

use std::collections::BTreeSet;

use super::{Actor, Stop};
use crate::lock::{LockError, ReplicaNotes};
use crate::report::StepResult;
use crate::scaling::{Action, Plan};

impl Actor<'_> {
    pub(super) async fn end_replicas(
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
        if deleting.is_empty() && unknown.is_none() {
            return Ok(());
        }
        self.in_time()?;
        let notes = ReplicaNotes {
            unknown_since: unknown.unwrap_or(&self.snapshot.unknown_since).clone(),
            deleting: deleting.iter().cloned().collect::<BTreeSet<_>>(),
        };
        match self.log.note_replicas(self.lease, &notes).await {
            Ok(()) => {}
            Err(error @ LockError::Lost { .. }) => return Err(Stop::LockLost(error.to_string())),
            Err(error) => {
                results.push(StepResult::failed("note the replicas", error));
                return Ok(());
            }
        }
        if deleting.is_empty() {
            return Ok(());
        }
        self.ask_to_terminate(&deleting, |id| format!("delete replica {id}"), results)
            .await
    }
}
