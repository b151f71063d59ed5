//! The port [`HostHandler`]. Each group of EC2's calls has a file of its own.

use async_trait::async_trait;
use aws_sdk_ec2::types::ImageState;
use shared::host::{HostError, HostHandler, Reassociation, tags};
use shared::ids::{AddressId, ClientToken, ImageId, InstanceId, LaunchId};
use shared::model::{ExternalAddress, LaunchRequest, Machine};
use shared::settings::{AddressTag, Selector};

use crate::client::Ec2;
use crate::convert::failure;

#[async_trait]
impl HostHandler for Ec2 {
    async fn list(&self) -> Result<Vec<Machine>, HostError> {
        self.list_tagged("list machines", &[]).await
    }

    async fn launched_under(&self, launch: &LaunchId) -> Result<Vec<Machine>, HostError> {
        self.list_tagged("look up a launch", &[(tags::LAUNCH, launch.as_str())])
            .await
    }

    async fn gone(&self, ids: &[InstanceId]) -> Result<Vec<InstanceId>, HostError> {
        self.find_gone(ids).await
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
        self.find_subnets(selector).await
    }

    async fn security_groups(&self, selectors: &[Selector]) -> Result<Vec<String>, HostError> {
        self.find_security_groups(selectors).await
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
