//! EC2 cannot be fenced, so a call to EC2 is made only if it ends before the lease does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::host::{HostError, HostErrorKind, HostHandler, Reassociation, TERMINATE_BATCH};
use crate::ids::{AddressId, ClientToken, ImageId, InstanceId, LaunchId};
use crate::lock::Lease;
use crate::model::{ExternalAddress, LaunchRequest, Machine};
use crate::settings::{AddressTag, Selector};

/// A [`HostHandler`] that rejects calls which could outlive the lease.
pub struct LeasedHost {
    inner: Arc<dyn HostHandler>,
    lease: Lease,
    /// The longest duration of one call.
    call_limit: Duration,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for LeasedHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeasedHost")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl LeasedHost {
    pub fn new(
        inner: Arc<dyn HostHandler>,
        lease: Lease,
        call_limit: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            inner,
            lease,
            call_limit,
            clock,
        }
    }

    fn check_lease(&self, operation: &'static str) -> Result<(), HostError> {
        if self.lease.outlasts(self.call_limit, self.clock.now()) {
            return Ok(());
        }
        Err(HostError {
            kind: HostErrorKind::LeaseTooShort,
            operation,
            code: "not sent".to_owned(),
            message: "the lease on the region could end before the call does".to_owned(),
        })
    }
}

#[async_trait]
impl HostHandler for LeasedHost {
    async fn list(&self) -> Result<Vec<Machine>, HostError> {
        self.check_lease("list machines")?;
        self.inner.list().await
    }

    async fn launched_under(&self, launch: &LaunchId) -> Result<Vec<Machine>, HostError> {
        self.check_lease("look up a launch")?;
        self.inner.launched_under(launch).await
    }

    async fn gone(&self, ids: &[InstanceId]) -> Result<Vec<InstanceId>, HostError> {
        self.check_lease("look up machines")?;
        self.inner.gone(ids).await
    }

    async fn has_image(&self, image: &ImageId) -> Result<bool, HostError> {
        self.check_lease("look up an image")?;
        self.inner.has_image(image).await
    }

    async fn subnets(&self, selector: &Selector) -> Result<Vec<String>, HostError> {
        self.check_lease("look up subnets")?;
        self.inner.subnets(selector).await
    }

    async fn security_groups(&self, selectors: &[Selector]) -> Result<Vec<String>, HostError> {
        self.check_lease("look up security groups")?;
        self.inner.security_groups(selectors).await
    }

    async fn launch(
        &self,
        token: &ClientToken,
        request: &LaunchRequest,
    ) -> Result<Vec<Machine>, HostError> {
        self.check_lease("launch instances")?;
        self.inner.launch(token, request).await
    }

    async fn terminate(&self, ids: &[InstanceId]) -> Vec<(InstanceId, Result<(), HostError>)> {
        const OPERATION: &str = "terminate instances";
        let mut answers = Vec::with_capacity(ids.len());
        for batch in ids.chunks(TERMINATE_BATCH) {
            let all_failed = |error: HostError| {
                batch
                    .iter()
                    .map(|id| (id.clone(), Err(error.clone())))
                    .collect()
            };
            let answered: Vec<_> = match self.check_lease(OPERATION) {
                Err(error) => all_failed(error),
                // The handler bisects a batch with an invalid id: all its requests share one limit.
                Ok(()) => tokio::time::timeout(self.call_limit, self.inner.terminate(batch))
                    .await
                    .unwrap_or_else(|_| {
                        all_failed(HostError {
                            kind: HostErrorKind::Unclear,
                            operation: OPERATION,
                            code: "no answer".to_owned(),
                            message: "it took too long; the next pass asks again".to_owned(),
                        })
                    }),
            };
            answers.extend(answered);
        }
        answers
    }

    async fn addresses(&self, tag: &AddressTag) -> Result<Vec<ExternalAddress>, HostError> {
        self.check_lease("list addresses")?;
        self.inner.addresses(tag).await
    }

    async fn associate(
        &self,
        address: &AddressId,
        to: &InstanceId,
        allowed: Reassociation,
    ) -> Result<(), HostError> {
        self.check_lease("associate an address")?;
        self.inner.associate(address, to, allowed).await
    }
}
