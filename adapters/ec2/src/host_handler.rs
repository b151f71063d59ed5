//! The port [`HostHandler`]: machines, images, subnets and security groups are looked up here.

use async_trait::async_trait;
use aws_sdk_ec2::types::{Filter, ImageState};
use shared::host::{HostError, HostErrorKind, HostHandler, Reassociation, tags};
use shared::ids::{AddressId, ClientToken, ImageId, InstanceId};
use shared::model::{ExternalAddress, LaunchRequest, Machine};
use shared::settings::{AddressTag, Selector};

use crate::client::Ec2;
use crate::convert::{failure, machine};

/// The most instances in one page of `DescribeInstances`; EC2 allows no more.
const PAGE: i32 = 1000;

#[async_trait]
impl HostHandler for Ec2 {
    async fn list(&self) -> Result<Vec<Machine>, HostError> {
        self.describe("list machines", vec![]).await
    }

    async fn launched_under(&self, token: &ClientToken) -> Result<Vec<Machine>, HostError> {
        self.describe(
            "look up a launch",
            vec![filter("client-token", token.as_str())],
        )
        .await
    }

    async fn unknown(&self, ids: &[InstanceId]) -> Result<Vec<InstanceId>, HostError> {
        let mut unknown = Vec::new();
        // One unknown id fails the whole request. Failed groups are halved until each unknown id is
        // alone.
        let mut groups: Vec<&[InstanceId]> = ids.chunks(100).collect();
        while let Some(group) = groups.pop() {
            let answer = self
                .client
                .describe_instances()
                .set_instance_ids(Some(group.iter().map(ToString::to_string).collect()))
                .send()
                .await;
            let Err(error) = answer else { continue };
            let error = failure("look up machines", &error);
            match (error.kind, group) {
                (HostErrorKind::Gone, [id]) => unknown.push(id.clone()),
                (HostErrorKind::Gone, _) => {
                    let (left, right) = group.split_at(group.len() / 2);
                    groups.extend([left, right]);
                }
                _ => return Err(error),
            }
        }
        unknown.sort();
        Ok(unknown)
    }

    async fn has_image(&self, image: &ImageId) -> Result<bool, HostError> {
        let answer = self
            .client
            .describe_images()
            .image_ids(image.as_str())
            .send()
            .await;
        match answer {
            Ok(found) => Ok(found
                .images()
                .iter()
                .any(|found| found.state() == Some(&ImageState::Available))),
            Err(error) => match failure("look up an image", &error) {
                // Never existed, deregistered, or malformed.
                error if error.code.starts_with("InvalidAMIID") => Ok(false),
                error => Err(error),
            },
        }
    }

    async fn subnets(&self, selector: &Selector) -> Result<Vec<String>, HostError> {
        let Selector::Tag { key, value } = selector else {
            return Ok(vec![selector.to_string()]);
        };
        let mut pages = self
            .client
            .describe_subnets()
            .filters(filter(&format!("tag:{key}"), value))
            .into_paginator()
            .items()
            .send();
        let mut ids = Vec::new();
        while let Some(subnet) = pages.next().await {
            let subnet = subnet.map_err(|error| failure("look up subnets", &error))?;
            ids.extend(subnet.subnet_id);
        }
        found("look up subnets", "subnet", selector, ids)
    }

    async fn security_groups(&self, selectors: &[Selector]) -> Result<Vec<String>, HostError> {
        let mut groups = Vec::new();
        for selector in selectors {
            let Selector::Tag { key, value } = selector else {
                groups.push(selector.to_string());
                continue;
            };
            let mut pages = self
                .client
                .describe_security_groups()
                .filters(filter(&format!("tag:{key}"), value))
                .into_paginator()
                .items()
                .send();
            let mut ids = Vec::new();
            while let Some(group) = pages.next().await {
                let group = group.map_err(|error| failure("look up security groups", &error))?;
                ids.extend(group.group_id);
            }
            groups.extend(found(
                "look up security groups",
                "security group",
                selector,
                ids,
            )?);
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    async fn launch(
        &self,
        token: &ClientToken,
        request: &LaunchRequest,
    ) -> Result<Vec<Machine>, HostError> {
        self.run_instances(token, request).await
    }

    async fn terminate(&self, ids: &[InstanceId]) -> Vec<(InstanceId, Result<(), HostError>)> {
        self.terminate_instances(ids).await
    }

    async fn addresses(&self, tag: &AddressTag) -> Result<Vec<ExternalAddress>, HostError> {
        self.describe_addresses(tag).await
    }

    async fn associate(
        &self,
        address: &AddressId,
        to: &InstanceId,
        allowed: Reassociation,
    ) -> Result<(), HostError> {
        self.associate_address(address, to, allowed).await
    }
}

impl Ec2 {
    /// The stack's machines that match the filters. All pages of the listing are read.
    async fn describe(
        &self,
        operation: &'static str,
        mut filters: Vec<Filter>,
    ) -> Result<Vec<Machine>, HostError> {
        filters.push(filter(&format!("tag:{}", tags::STACK), &self.stack_id));
        filters.push(filter(
            &format!("tag:{}", tags::REGION),
            self.region.as_str(),
        ));
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
                machines.push(machine(operation, instance)?);
            }
        }
        Ok(machines)
    }
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// The ids, sorted; an error if there are none.
fn found(
    operation: &'static str,
    what: &str,
    selector: &Selector,
    mut ids: Vec<String>,
) -> Result<Vec<String>, HostError> {
    ids.sort();
    if !ids.is_empty() {
        return Ok(ids);
    }
    Err(HostError {
        kind: HostErrorKind::Invalid,
        operation,
        code: "nothing found".to_owned(),
        message: format!("no {what} in this region has the {selector}"),
    })
}
