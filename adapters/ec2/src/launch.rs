//! `RunInstances`, from a recorded request.

use aws_sdk_ec2::types::{
    HttpTokensState, IamInstanceProfileSpecification, InstanceInterruptionBehavior,
    InstanceMarketOptionsRequest, InstanceMetadataEndpointState, InstanceMetadataOptionsRequest,
    MarketType, ResourceType, ShutdownBehavior, SpotInstanceType, SpotMarketOptions, Tag,
    TagSpecification,
};

use super::Ec2;
use super::convert::{failure, machine};
use shared::host::HostError;
use shared::ids::ClientToken;
use shared::model::{LaunchRequest, Machine};

impl Ec2 {
    pub(super) async fn run_instances(
        &self,
        token: &ClientToken,
        request: &LaunchRequest,
    ) -> Result<Vec<Machine>, HostError> {
        const OPERATION: &str = "launch instances";
        let tags = request
            .tags
            .iter()
            .map(|(key, value)| Tag::builder().key(key).value(value).build())
            .collect();
        let answer = self
            .client
            .run_instances()
            .client_token(token.as_str())
            // Fewer than asked for is better than none: a later pass asks for the rest.
            .min_count(1)
            .max_count(i32::try_from(request.count).unwrap_or(i32::MAX))
            .image_id(request.image_id.as_str())
            .set_instance_market_options(request.spot.then(spot))
            .instance_type(request.instance_type.as_str().into())
            .subnet_id(&request.subnet_id)
            .set_security_group_ids(Some(request.security_group_ids.clone()))
            .set_iam_instance_profile(request.instance_profile.as_deref().map(profile))
            .user_data(&request.user_data)
            .set_metadata_options(request.imds_hop_limit.map(imds_v2))
            .ebs_optimized(true)
            // The host agent ends its instance by shutting it down.
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
            .tag_specifications(
                TagSpecification::builder()
                    .resource_type(ResourceType::Instance)
                    .set_tags(Some(tags))
                    .build(),
            )
            .send()
            .await
            .map_err(|error| failure(OPERATION, &error))?;
        answer
            .instances()
            .iter()
            .map(|instance| machine(OPERATION, instance))
            .collect()
    }
}

/// Spot instances for one life: an interrupted one ends and never comes back by itself, since
/// the next pass replaces it. Without a price: up to that of on-demand.
fn spot() -> InstanceMarketOptionsRequest {
    let options = SpotMarketOptions::builder()
        .spot_instance_type(SpotInstanceType::OneTime)
        .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
        .build();
    InstanceMarketOptionsRequest::builder()
        .market_type(MarketType::Spot)
        .spot_options(options)
        .build()
}

/// Requests without a session's token, IMDSv1's, are what forged ones look like.
fn imds_v2(hop_limit: u8) -> InstanceMetadataOptionsRequest {
    InstanceMetadataOptionsRequest::builder()
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_tokens(HttpTokensState::Required)
        .http_put_response_hop_limit(i32::from(hop_limit))
        .build()
}

fn profile(name_or_arn: &str) -> IamInstanceProfileSpecification {
    let builder = IamInstanceProfileSpecification::builder();
    if name_or_arn.starts_with("arn:") {
        builder.arn(name_or_arn).build()
    } else {
        builder.name(name_or_arn).build()
    }
}
