//! Deploys `forward-events.yaml` in the other regions of the local AWS.
//!
//! Calls `CloudFormation` directly instead of `sam deploy`, which would send the same request and
//! take several seconds more for each region.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aws_config::{Region, SdkConfig};
use aws_sdk_cloudformation::Client as CloudFormation;
use aws_sdk_cloudformation::types::{Capability, Parameter, Stack, StackStatus};
use futures::future::try_join_all;

use crate::ministack::REGION;
use crate::project;

/// Far longer than the local AWS takes, even while it deploys the service.
const DEPLOY_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between two checks of a stack's status.
const POLL: Duration = Duration::from_millis(20);

/// Forwards the EC2 events of `regions` to the default bus of [`REGION`]. `service` is the name of
/// the stack that receives them.
///
/// # Errors
/// When one of the regions is [`REGION`] itself, or when a deployment fails.
pub async fn forward_events(sdk: &SdkConfig, service: &str, regions: &[String]) -> Result<()> {
    let path = project::root().join("forward-events.yaml");
    let template = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let deploy = async |region: &String| {
        deploy(sdk, service, region, &template)
            .await
            .with_context(|| format!("deploy {} in {region}", path.display()))
    };
    try_join_all(regions.iter().map(deploy)).await?;
    Ok(())
}

async fn deploy(sdk: &SdkConfig, service: &str, region: &str, template: &str) -> Result<()> {
    let region = region.to_owned();
    // The name has the region in it because the local AWS names roles after stacks: stacks of the
    // same name would share a role.
    let name = format!("{service}-forward-events-{region}");
    let sdk = sdk.to_builder().region(Region::new(region)).build();
    let cloudformation = CloudFormation::new(&sdk);
    let home = Parameter::builder()
        .parameter_key("HomeRegion")
        .parameter_value(REGION)
        .build();
    cloudformation
        .create_stack()
        .stack_name(&name)
        .template_body(template)
        .parameters(home)
        .capabilities(Capability::CapabilityIam)
        .send()
        .await
        .context("create the CloudFormation stack")?;
    let deadline = Instant::now() + DEPLOY_TIMEOUT;
    loop {
        let stack = describe(&cloudformation, &name).await?;
        match stack.stack_status() {
            Some(StackStatus::CreateComplete) => return Ok(()),
            Some(StackStatus::CreateInProgress) if Instant::now() < deadline => {
                tokio::time::sleep(POLL).await;
            }
            status => bail!(
                "the CloudFormation stack {name} has the status {status:?}: {}",
                stack.stack_status_reason().unwrap_or("no reason given")
            ),
        }
    }
}

async fn describe(cloudformation: &CloudFormation, name: &str) -> Result<Stack> {
    let answer = cloudformation.describe_stacks().stack_name(name).send();
    let stacks = answer
        .await
        .context("describe the CloudFormation stack")?
        .stacks;
    let stack = stacks.unwrap_or_default().pop();
    stack.with_context(|| format!("the CloudFormation stack {name} does not exist"))
}
