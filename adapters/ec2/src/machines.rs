//! `DescribeInstances`: the stack's machines by their tags, and machines by their ids.

use aws_sdk_ec2::types::InstanceStateName;
use shared::host::{HostError, HostErrorKind, tags};
use shared::ids::InstanceId;
use shared::model::Machine;

use crate::client::Ec2;
use crate::convert::{failure, machine};
use crate::filters::{by_tag, has_tag};

/// The most instances in one page of `DescribeInstances`; EC2 allows no more.
const PAGE: i32 = 1000;

impl Ec2 {
    /// The stack's machines that have these tags. All pages of the listing are read.
    pub(super) async fn list_tagged(
        &self,
        operation: &'static str,
        tags: &[(&str, &str)],
    ) -> Result<Vec<Machine>, HostError> {
        let own = [
            (tags::STACK, self.stack_id.as_str()),
            (tags::REGION, self.region.as_str()),
        ];
        let all: Vec<_> = tags.iter().chain(&own).copied().collect();
        let filters = all.iter().map(|(key, value)| by_tag(key, value)).collect();
        let mut pages = self
            .client
            .describe_instances()
            .set_filters(Some(filters))
            .max_results(PAGE)
            .into_paginator()
            .send();
        let mut machines = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failure(operation, &error))?;
            for instance in page.reservations().iter().flat_map(|r| r.instances()) {
                let has = |(key, value): &(&str, &str)| has_tag(instance.tags(), key, value);
                if all.iter().all(has) {
                    machines.push(machine(operation, instance)?);
                }
            }
        }
        Ok(machines)
    }

    /// Those of `ids` that EC2 does not know or lists as terminated, sorted.
    pub(super) async fn find_gone(&self, ids: &[InstanceId]) -> Result<Vec<InstanceId>, HostError> {
        let mut gone = Vec::new();
        // One unknown id fails the whole request. Failed groups are halved until each unknown id is
        // alone.
        let mut groups: Vec<&[InstanceId]> = ids.chunks(100).collect();
        while let Some(group) = groups.pop() {
            let error = match self.terminated_among(group).await {
                Ok(terminated) => {
                    gone.extend(terminated);
                    continue;
                }
                Err(error) => error,
            };
            match (error.kind, group) {
                (HostErrorKind::Gone, [id]) => gone.push(id.clone()),
                (HostErrorKind::Gone, _) => {
                    let (left, right) = group.split_at(group.len() / 2);
                    groups.extend([left, right]);
                }
                _ => return Err(error),
            }
        }
        gone.sort();
        Ok(gone)
    }

    /// Looks the ids up in one request.
    async fn terminated_among(&self, ids: &[InstanceId]) -> Result<Vec<InstanceId>, HostError> {
        let answer = self
            .client
            .describe_instances()
            .set_instance_ids(Some(ids.iter().map(ToString::to_string).collect()))
            .send()
            .await
            .map_err(|error| failure("look up machines", &error))?;
        let reservations = answer.reservations().iter();
        Ok(reservations
            .flat_map(|reservation| reservation.instances())
            .filter(|instance| {
                let state = instance.state().and_then(|state| state.name());
                state == Some(&InstanceStateName::Terminated)
            })
            .filter_map(|instance| instance.instance_id().map(InstanceId::from))
            .collect())
    }
}
