//! `DescribeSubnets` and `DescribeSecurityGroups`: the ids behind the settings' selectors.

use aws_sdk_ec2::types::{SecurityGroup, Subnet};
use shared::host::{HostError, HostErrorKind};
use shared::settings::Selector;

use crate::client::Ec2;
use crate::convert::failure;
use crate::filters::{by_tag, has_tag};

impl Ec2 {
    pub(super) async fn find_subnets(&self, selector: &Selector) -> Result<Vec<String>, HostError> {
        const OPERATION: &str = "look up subnets";
        let Selector::Tag { key, value } = selector else {
            return Ok(vec![selector.to_string()]);
        };
        let mut pages = self
            .client
            .describe_subnets()
            .filters(by_tag(key, value))
            .into_paginator()
            .items()
            .send();
        let mut ids = Vec::new();
        while let Some(subnet) = pages.next().await {
            let subnet: Subnet = subnet.map_err(|error| failure(OPERATION, &error))?;
            if has_tag(subnet.tags(), key, value) {
                ids.extend(subnet.subnet_id);
            }
        }
        found(OPERATION, "subnet", selector, ids)
    }

    pub(super) async fn find_security_groups(
        &self,
        selectors: &[Selector],
    ) -> Result<Vec<String>, HostError> {
        const OPERATION: &str = "look up security groups";
        let mut groups = Vec::new();
        for selector in selectors {
            let Selector::Tag { key, value } = selector else {
                groups.push(selector.to_string());
                continue;
            };
            let mut pages = self
                .client
                .describe_security_groups()
                .filters(by_tag(key, value))
                .into_paginator()
                .items()
                .send();
            let mut ids = Vec::new();
            while let Some(group) = pages.next().await {
                let group: SecurityGroup = group.map_err(|error| failure(OPERATION, &error))?;
                if has_tag(group.tags(), key, value) {
                    ids.extend(group.group_id);
                }
            }
            groups.extend(found(OPERATION, "security group", selector, ids)?);
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }
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
