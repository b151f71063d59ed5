//! What `doctor` reads of one region's EC2, and the rehearsal of a launch.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_ec2::types::Filter;
use shared::doctor::facts::{Group, Image, InstanceType, Subnet};
use shared::doctor::ports::{HostProbe, HostProbes};
use shared::host::HostError;
use shared::ids::{ImageId, RegionName};
use shared::model::LaunchRequest;

use crate::client::{Ec2, Ec2Regions};
use crate::convert::failure;

/// EC2's answer to a dry run that would have succeeded.
const WOULD_SUCCEED: &str = "DryRunOperation";

impl HostProbes for Ec2Regions {
    fn in_region(&self, region: &RegionName) -> Arc<dyn HostProbe> {
        self.connected(region)
    }
}

#[async_trait]
impl HostProbe for Ec2 {
    async fn image(&self, id: &ImageId) -> Result<Option<Image>, HostError> {
        let request = self.client.describe_images().image_ids(id.as_str());
        let found = match request.send().await {
            Ok(found) => found,
            Err(error) => match failure("look up an image", &error) {
                // Never existed, deregistered, not shared, or malformed.
                error if error.code.starts_with("InvalidAMIID") => return Ok(None),
                error => return Err(error),
            },
        };
        Ok(found.images().first().map(|image| Image {
            state: image
                .state()
                .map(|it| it.as_str().to_owned())
                .unwrap_or_default(),
            architecture: image
                .architecture()
                .map(|it| it.as_str().to_owned())
                .unwrap_or_default(),
        }))
    }

    async fn types(&self, names: &[String]) -> Result<Vec<InstanceType>, HostError> {
        // A filter instead of the types themselves: one unknown type would fail the request.
        let filter = Filter::builder().name("instance-type");
        let filter = filter.set_values(Some(names.to_vec())).build();
        let request = self.client.describe_instance_types().filters(filter);
        let mut pages = request.into_paginator().items().send();
        let mut types = Vec::new();
        while let Some(found) = pages.next().await {
            let found = found.map_err(|error| failure("look up instance types", &error))?;
            let architectures = found.processor_info().into_iter();
            let architectures = architectures.flat_map(|it| it.supported_architectures());
            let vcpus = found.v_cpu_info().and_then(|it| it.default_v_cpus());
            types.push(InstanceType {
                name: found
                    .instance_type()
                    .map(|it| it.as_str().to_owned())
                    .unwrap_or_default(),
                architectures: architectures.map(|it| it.as_str().to_owned()).collect(),
                vcpus: vcpus.and_then(|it| it.try_into().ok()).unwrap_or(0),
            });
        }
        // EC2 reads `*` and `?` in a filter as wildcards.
        types.retain(|found| names.contains(&found.name));
        Ok(types)
    }

    async fn subnets(&self, ids: &[String]) -> Result<Vec<Subnet>, HostError> {
        let request = self.client.describe_subnets();
        let answer = request.set_subnet_ids(Some(ids.to_vec())).send().await;
        let answer = answer.map_err(|error| failure("look up subnets", &error))?;
        let subnets = answer.subnets().iter().map(|subnet| Subnet {
            id: subnet.subnet_id().unwrap_or_default().to_owned(),
            vpc: subnet.vpc_id().unwrap_or_default().to_owned(),
            assigns_public_addresses: subnet.map_public_ip_on_launch().unwrap_or_default(),
            free_addresses: subnet
                .available_ip_address_count()
                .and_then(|count| count.try_into().ok())
                .unwrap_or(0),
        });
        Ok(subnets.collect())
    }

    async fn groups(&self, ids: &[String]) -> Result<Vec<Group>, HostError> {
        let request = self.client.describe_security_groups();
        let answer = request.set_group_ids(Some(ids.to_vec())).send().await;
        let answer = answer.map_err(|error| failure("look up security groups", &error))?;
        let groups = answer.security_groups().iter().map(|group| Group {
            id: group.group_id().unwrap_or_default().to_owned(),
            vpc: group.vpc_id().unwrap_or_default().to_owned(),
        });
        Ok(groups.collect())
    }

    async fn rehearse(&self, request: &LaunchRequest) -> Result<(), HostError> {
        let answer = self.launch_of(request).dry_run(true).send().await;
        match answer {
            // EC2 always answers a dry run with an error.
            Ok(_) => Ok(()),
            Err(error) => match failure("rehearse a launch", &error) {
                error if error.code == WOULD_SUCCEED => Ok(()),
                error => Err(error),
            },
        }
    }
}
