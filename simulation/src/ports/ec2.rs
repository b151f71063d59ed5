//! EC2 in each region.

use std::sync::Arc;

use async_trait::async_trait;
use shared::host::{HostError, HostErrorKind, HostHandler, HostHandlers, Reassociation};
use shared::ids::{AddressId, ClientToken, ImageId, InstanceId, LaunchId, RegionName};
use shared::model::{ExternalAddress, LaunchRequest, Machine};
use shared::settings::{AddressTag, Selector};

use super::intercept::{CallContext, Intercepted};
use crate::effects::Effect;
use crate::yield_points::Port;

/// The handler of one region. It keeps the region's name, because EC2's answers do not contain it.
struct InRegion {
    region: RegionName,
    inner: Arc<dyn HostHandler>,
    context: CallContext,
}

impl HostHandlers for Intercepted<dyn HostHandlers> {
    fn in_region(&self, region: &RegionName) -> Arc<dyn HostHandler> {
        Arc::new(InRegion {
            region: region.clone(),
            inner: self.inner.in_region(region),
            context: self.context.clone(),
        })
    }
}

fn no_answer(operation: &'static str) -> HostError {
    HostError {
        kind: HostErrorKind::Unclear,
        operation,
        code: "NoAnswer".to_owned(),
        message: "simulated".to_owned(),
    }
}

impl InRegion {
    async fn call<A: Send + 'static>(
        &self,
        name: &'static str,
        effect: impl Future<Output = Result<A, HostError>> + Send + 'static,
    ) -> Result<A, HostError> {
        self.context
            .call(Port::Ec2, name, effect, || Err(no_answer(name)))
            .await
    }
}

#[async_trait]
impl HostHandler for InRegion {
    async fn list(&self) -> Result<Vec<Machine>, HostError> {
        let inner = self.inner.clone();
        self.call("list", async move { inner.list().await }).await
    }

    async fn launched_under(&self, launch: &LaunchId) -> Result<Vec<Machine>, HostError> {
        let (inner, launch) = (self.inner.clone(), launch.clone());
        self.call("launched_under", async move {
            inner.launched_under(&launch).await
        })
        .await
    }

    async fn gone(&self, ids: &[InstanceId]) -> Result<Vec<InstanceId>, HostError> {
        let (inner, ids) = (self.inner.clone(), ids.to_vec());
        self.call("gone", async move { inner.gone(&ids).await })
            .await
    }

    async fn has_image(&self, image: &ImageId) -> Result<bool, HostError> {
        let (inner, image) = (self.inner.clone(), image.clone());
        self.call("has_image", async move { inner.has_image(&image).await })
            .await
    }

    async fn subnets(&self, selector: &Selector) -> Result<Vec<String>, HostError> {
        let (inner, selector) = (self.inner.clone(), selector.clone());
        self.call("subnets", async move { inner.subnets(&selector).await })
            .await
    }

    async fn security_groups(&self, selectors: &[Selector]) -> Result<Vec<String>, HostError> {
        let (inner, selectors) = (self.inner.clone(), selectors.to_vec());
        self.call("security_groups", async move {
            inner.security_groups(&selectors).await
        })
        .await
    }

    async fn launch(
        &self,
        token: &ClientToken,
        request: &LaunchRequest,
    ) -> Result<Vec<Machine>, HostError> {
        let (inner, token, request) = (self.inner.clone(), token.clone(), request.clone());
        let (effects, process) = (self.context.effects.clone(), self.context.process);
        let region = self.region.clone();
        self.call("launch", async move {
            let answer = inner.launch(&token, &request).await;
            effects.add(
                process,
                Effect::LaunchRequested {
                    region,
                    token,
                    launch_id: request.tags.iter().find_map(|(key, value)| {
                        (key == shared::host::tags::LAUNCH).then(|| value.as_str().into())
                    }),
                    failed: answer.as_ref().err().map(|error| error.kind),
                },
            );
            answer
        })
        .await
    }

    async fn terminate(&self, ids: &[InstanceId]) -> Vec<(InstanceId, Result<(), HostError>)> {
        let (inner, requested) = (self.inner.clone(), ids.to_vec());
        let (effects, process) = (self.context.effects.clone(), self.context.process);
        let region = self.region.clone();
        let effect = async move {
            let ids = requested.clone();
            effects.add(process, Effect::TerminateRequested { region, ids });
            inner.terminate(&requested).await
        };
        let failed = || {
            ids.iter()
                .map(|id| (id.clone(), Err(no_answer("terminate"))))
                .collect()
        };
        self.context
            .call(Port::Ec2, "terminate", effect, failed)
            .await
    }

    async fn addresses(&self, tag: &AddressTag) -> Result<Vec<ExternalAddress>, HostError> {
        let (inner, tag) = (self.inner.clone(), tag.clone());
        self.call("addresses", async move { inner.addresses(&tag).await })
            .await
    }

    async fn associate(
        &self,
        address: &AddressId,
        to: &InstanceId,
        allowed: Reassociation,
    ) -> Result<(), HostError> {
        let inner = self.inner.clone();
        let (address, to) = (address.clone(), to.clone());
        self.call("associate", async move {
            inner.associate(&address, &to, allowed).await
        })
        .await
    }
}
