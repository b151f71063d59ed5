//! A wrong view of EC2: for a while, a region's listing succeeds and is empty. Wrong credentials or
//! a wrong tag look like this.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use shared::host::{HostError, HostHandler, HostHandlers, Reassociation};
use shared::ids::{AddressId, ClientToken, ImageId, InstanceId, LaunchId, RegionName};
use shared::model::{ExternalAddress, LaunchRequest, Machine};
use shared::settings::{AddressTag, Selector};
use testing::FakeHosts;

/// EC2 with empty listings in some regions.
#[derive(Debug)]
pub struct EmptyListings {
    inner: Arc<FakeHosts>,
    regions: Arc<Mutex<BTreeSet<RegionName>>>,
}

impl EmptyListings {
    pub fn new(inner: Arc<FakeHosts>) -> Self {
        Self {
            inner,
            regions: Arc::default(),
        }
    }

    /// Starts or stops returning empty listings in a region.
    pub fn set(&self, region: &RegionName, is_empty: bool) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if is_empty {
            regions.insert(region.clone());
        } else {
            regions.remove(region);
        }
    }
}

impl HostHandlers for EmptyListings {
    fn in_region(&self, region: &RegionName) -> Arc<dyn HostHandler> {
        Arc::new(InRegion {
            region: region.clone(),
            inner: self.inner.in_region(region),
            regions_with_empty_listings: self.regions.clone(),
        })
    }
}

struct InRegion {
    region: RegionName,
    inner: Arc<dyn HostHandler>,
    regions_with_empty_listings: Arc<Mutex<BTreeSet<RegionName>>>,
}

#[async_trait]
impl HostHandler for InRegion {
    async fn list(&self) -> Result<Vec<Machine>, HostError> {
        let listed = self.inner.list().await?;
        let is_empty = self
            .regions_with_empty_listings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&self.region);
        Ok(if is_empty { Vec::new() } else { listed })
    }

    async fn launched_under(&self, launch: &LaunchId) -> Result<Vec<Machine>, HostError> {
        self.inner.launched_under(launch).await
    }

    async fn gone(&self, ids: &[InstanceId]) -> Result<Vec<InstanceId>, HostError> {
        self.inner.gone(ids).await
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
        self.inner.launch(token, request).await
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
