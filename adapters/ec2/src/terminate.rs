//! `TerminateInstances`, bisected: one id that EC2 does not know fails a whole request.

use super::Ec2;
use super::convert::failure;
use shared::host::{HostError, HostErrorKind, TERMINATE_BATCH};
use shared::ids::InstanceId;

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
                // It is gone: what was asked for is so.
                Err(error) if group.len() == 1 && error.kind == HostErrorKind::Gone => {
                    answers.push((group[0].clone(), Ok(())));
                }
                Err(error) if group.len() == 1 || !spoilt_by_one(&error) => {
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

/// Whether the others of the batch may fare better without one of them: an unknown id, one
/// with termination protection, one that the policy does not cover.
fn spoilt_by_one(error: &HostError) -> bool {
    matches!(
        error.kind,
        HostErrorKind::Gone | HostErrorKind::Invalid | HostErrorKind::Denied
    )
}
