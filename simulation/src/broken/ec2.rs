//! An EC2 that is called or read wrongly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use shared::host::{HostError, HostHandler, HostHandlers, Reassociation};
use shared::ids::{AddressId, ClientToken, ImageId, InstanceId, LaunchId, RegionName};
use shared::model::{ExternalAddress, LaunchRequest, Machine, MachineState};
use shared::settings::{AddressTag, Selector};
use testing::FakeDatabase;

use crate::world::World;

/// A defect of the calls to EC2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ec2Defect {
    /// Each attempt has another token, as if nothing were kept between attempts.
    NewTokenEachAttempt,
    /// All launches have the same token.
    OneTokenForAll,
    /// Every machine is listed as terminated.
    ListsAllAsTerminated,
    /// Only machines with a row are listed.
    HidesStrays,
}

pub(super) fn break_ec2(world: &mut World, defect: Ec2Defect) {
    world.backends.hosts = Arc::new(BrokenEc2 {
        inner: world.backends.hosts.clone(),
        database: world.database.clone(),
        defect,
        attempts: Arc::default(),
    });
}

struct BrokenEc2 {
    inner: Arc<dyn HostHandlers>,
    database: Arc<FakeDatabase>,
    defect: Ec2Defect,
    attempts: Arc<AtomicU64>,
}

impl HostHandlers for BrokenEc2 {
    fn in_region(&self, region: &RegionName) -> Arc<dyn HostHandler> {
        Arc::new(InRegion {
            inner: self.inner.in_region(region),
            database: self.database.clone(),
            defect: self.defect,
            attempts: self.attempts.clone(),
        })
    }
}

struct InRegion {
    inner: Arc<dyn HostHandler>,
    database: Arc<FakeDatabase>,
    defect: Ec2Defect,
    attempts: Arc<AtomicU64>,
}

#[async_trait]
impl HostHandler for InRegion {
    async fn list(&self) -> Result<Vec<Machine>, HostError> {
        let mut listed = self.inner.list().await?;
        if self.defect == Ec2Defect::ListsAllAsTerminated {
            for machine in &mut listed {
                machine.state = MachineState::Terminated;
            }
        }
        if self.defect == Ec2Defect::HidesStrays {
            let rows = self.database.rows();
            listed.retain(|machine| rows.tables.instances.contains_key(&machine.id));
        }
        Ok(listed)
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
        let token = match self.defect {
            Ec2Defect::NewTokenEachAttempt => {
                let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
                ClientToken::new(format!("attempt-{attempt}"))
            }
            Ec2Defect::OneTokenForAll => ClientToken::from("the token"),
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
