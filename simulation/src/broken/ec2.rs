//! EC2, asked or read wrongly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use shared::host::{HostError, HostHandler, HostHandlers, Reassociation};
use shared::ids::{AddressId, ClientToken, ImageId, InstanceId, RegionName};
use shared::model::{ExternalAddress, LaunchRequest, Machine, MachineState};
use shared::settings::{AddressTag, Selector};
use testing::FakeDatabase;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Launching {
    /// As if nothing were kept from one attempt to the next.
    FreshTokens,
    /// The same token for every launch.
    FixedToken,
    /// A view in which every machine has ended.
    SaysAllAreGone,
    /// Only what has a row is listed.
    HidesStrays,
}

pub(super) struct BadEc2 {
    inner: Arc<dyn HostHandlers>,
    database: Arc<FakeDatabase>,
    how: Launching,
    attempts: Arc<AtomicU64>,
}

impl BadEc2 {
    pub(super) fn new(
        inner: Arc<dyn HostHandlers>,
        database: Arc<FakeDatabase>,
        how: Launching,
    ) -> Self {
        Self {
            inner,
            database,
            how,
            attempts: Arc::default(),
        }
    }
}

impl HostHandlers for BadEc2 {
    fn in_region(&self, region: &RegionName) -> Arc<dyn HostHandler> {
        Arc::new(InRegion {
            inner: self.inner.in_region(region),
            database: self.database.clone(),
            how: self.how,
            attempts: self.attempts.clone(),
        })
    }
}

struct InRegion {
    inner: Arc<dyn HostHandler>,
    database: Arc<FakeDatabase>,
    how: Launching,
    attempts: Arc<AtomicU64>,
}

#[async_trait]
impl HostHandler for InRegion {
    async fn list(&self) -> Result<Vec<Machine>, HostError> {
        let mut listed = self.inner.list().await?;
        if self.how == Launching::SaysAllAreGone {
            for machine in &mut listed {
                machine.state = MachineState::Terminated;
            }
        }
        if self.how == Launching::HidesStrays {
            let rows = self.database.rows();
            listed.retain(|machine| rows.tables.instances.contains_key(&machine.id));
        }
        Ok(listed)
    }

    async fn launched_under(&self, token: &ClientToken) -> Result<Vec<Machine>, HostError> {
        self.inner.launched_under(token).await
    }

    async fn unknown(&self, ids: &[InstanceId]) -> Result<Vec<InstanceId>, HostError> {
        self.inner.unknown(ids).await
    }

    async fn has_image(&self, image: &ImageId) -> Result<bool, HostError> {
        self.inner.has_image(image).await
    }

    async fn subnets(&self, selector: &Selector) -> Result<Vec<String>, HostError> {
        self.inner.subnets(selector).await
    }

    async fn security_groups(&self, selectors: &[Selector]) -> Result<Vec<String>, HostError> {
        self.inner.security_groups(selectors).await
    }

    async fn launch(
        &self,
        token: &ClientToken,
        request: &LaunchRequest,
    ) -> Result<Vec<Machine>, HostError> {
        let token = match self.how {
            Launching::FreshTokens => {
                let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
                ClientToken::new(format!("attempt-{attempt}"))
            }
            Launching::FixedToken => ClientToken::from("the token"),
            _ => token.clone(),
        };
        self.inner.launch(&token, request).await
    }

    async fn terminate(&self, ids: &[InstanceId]) -> Vec<(InstanceId, Result<(), HostError>)> {
        self.inner.terminate(ids).await
    }

    async fn addresses(&self, tag: &AddressTag) -> Result<Vec<ExternalAddress>, HostError> {
        self.inner.addresses(tag).await
    }

    async fn associate(
        &self,
        address: &AddressId,
        to: &InstanceId,
        allowed: Reassociation,
    ) -> Result<(), HostError> {
        self.inner.associate(address, to, allowed).await
    }
}
