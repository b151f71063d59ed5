//! `TerminateInstances`. One invalid id fails a whole request, so failed batches are bisected.

use shared::host::{HostError, HostErrorKind, TERMINATE_BATCH};
use shared::ids::InstanceId;

use crate::client::Ec2;
use crate::convert::failure;

impl Ec2 {
    pub(super) async fn terminate_instances(
        &self,
        ids: &[InstanceId],
    ) -> Vec<(InstanceId, Result<(), HostError>)> {
        let mut answers = Vec::with_capacity(ids.len());
        let mut groups: Vec<&[InstanceId]> = ids.chunks(TERMINATE_BATCH).rev().collect();
        while let Some(group) = groups.pop() {
            match self.terminate_group(group).await {
                Ok(()) => answers.extend(group.iter().map(|id| (id.clone(), Ok(())))),
                // It is gone already, as requested.
                Err(error) if group.len() == 1 && error.kind == HostErrorKind::Gone => {
                    answers.push((group[0].clone(), Ok(())));
                }
                Err(error) if group.len() == 1 || !may_be_caused_by_one(&error) => {
                    answers.extend(group.iter().map(|id| (id.clone(), Err(error.clone()))));
                }
                Err(_) => {
                    let (left, right) = group.split_at(group.len() / 2);
                    groups.extend([right, left]);
                }
            }
        }
        answers
    }

    async fn terminate_group(&self, group: &[InstanceId]) -> Result<(), HostError> {
        self.client
            .terminate_instances()
            .set_instance_ids(Some(group.iter().map(ToString::to_string).collect()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| failure("terminate instances", &error))
    }
}

/// Whether one id may have failed the batch: an unknown id, an instance with termination
/// protection, or one that the role's policy does not cover.
fn may_be_caused_by_one(error: &HostError) -> bool {
    matches!(
        error.kind,
        HostErrorKind::Gone | HostErrorKind::Invalid | HostErrorKind::Denied
    )
}
