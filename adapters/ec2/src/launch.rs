//! `RunInstances`, with a recorded request.

use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    HttpTokensState, IamInstanceProfileSpecification, InstanceInterruptionBehavior,
    InstanceMarketOptionsRequest, InstanceMetadataEndpointState, InstanceMetadataOptionsRequest,
    MarketType, ResourceType, ShutdownBehavior, SpotInstanceType, SpotMarketOptions, Tag,
    TagSpecification,
};
use shared::host::HostError;
use shared::ids::ClientToken;
use shared::model::{LaunchRequest, Machine};

use crate::client::Ec2;
use crate::convert::{failure, machine};

impl Ec2 {
    pub(super) async fn run_instances(
        &self,
        token: &ClientToken,
        request: &LaunchRequest,
    ) -> Result<Vec<Machine>, HostError> {
        const OPERATION: &str = "launch instances";
        // A launch takes longer than other calls. It is not given up while there is time, because an
        // intent whose answer is unknown holds up the other launches of its region.
        let one_attempt = aws_sdk_ec2::config::Config::builder()
            .timeout_config(aws_settings::single_attempt(self.call_limit));
        let launch = self.launch_of(request).client_token(token.as_str());
        let launch = launch.customize().config_override(one_attempt);
        let answer = launch.send().await;
        let answer = answer.map_err(|error| failure(OPERATION, &error))?;
        answer
            .instances()
            .iter()
            .map(|instance| machine(OPERATION, instance))
            .collect()
    }

    /// The recorded request, without its token.
    pub(crate) fn launch_of(&self, request: &LaunchRequest) -> RunInstancesFluentBuilder {
        let tags = request
            .tags
            .iter()
            .map(|(key, value)| Tag::builder().key(key).value(value).build())
            .collect();
        self.client
            .run_instances()
            // Fewer instances are better than none: a later pass requests the rest.
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
            .set_ebs_optimized(request.ebs_optimized.then_some(true))
            // Host agents end their instance by shutting it down.
            .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
            .tag_specifications(
                TagSpecification::builder()
                    .resource_type(ResourceType::Instance)
                    .set_tags(Some(tags))
                    .build(),
            )
    }
}

/// One-time spot instances: an interrupted instance is terminated and not started again, because
/// the next pass replaces it. The maximum price is not set, so it is that of on demand.
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

/// Requires IMDSv2. Requests of IMDSv1 have no session token, so an attacker can forge them through
/// server-side request forgery.
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
