//! EC2's clients, one for each region.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use shared::host::{HostHandler, HostHandlers};
use shared::ids::RegionName;

use crate::retries;

/// One region's EC2.
#[derive(Clone, Debug)]
pub struct Ec2 {
    pub(crate) client: Client,
    pub(crate) stack_id: String,
    pub(crate) region: RegionName,
    /// The limit of one call, with the client's retries.
    pub(crate) call_limit: Duration,
}

/// One client for each region, built when it is first needed and kept in the process.
pub struct Ec2Regions {
    config: SdkConfig,
    stack_id: String,
    call_limit: Duration,
    known: Mutex<HashMap<RegionName, Arc<Ec2>>>,
}

impl fmt::Debug for Ec2Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ec2Regions")
            .field("stack_id", &self.stack_id)
            .finish_non_exhaustive()
    }
}

impl Ec2Regions {
    /// `call_limit` is the limit of one call, with the client's retries.
    pub fn new(config: SdkConfig, stack_id: impl Into<String>, call_limit: Duration) -> Self {
        Self {
            config,
            stack_id: stack_id.into(),
            call_limit,
            known: Mutex::default(),
        }
    }

    fn connect(&self, region: &RegionName) -> Ec2 {
        let config = aws_sdk_ec2::config::Builder::from(&self.config)
            .region(aws_sdk_ec2::config::Region::new(region.to_string()))
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .retry_classifier(retries::NoRetryForCapacity)
            .timeout_config(aws_settings::timeouts(self.call_limit))
            .build();
        Ec2 {
            client: Client::from_conf(config),
            stack_id: self.stack_id.clone(),
            region: region.clone(),
            call_limit: self.call_limit,
        }
    }

    /// A client in the functions' own region.
    pub(crate) fn home(&self) -> Client {
        let region = self.config.region().map(ToString::to_string);
        self.connect(&region.unwrap_or_default().into()).client
    }
}

impl HostHandlers for Ec2Regions {
    fn in_region(&self, region: &RegionName) -> Arc<dyn HostHandler> {
        self.connected(region)
    }
}

impl Ec2Regions {
    pub(crate) fn connected(&self, region: &RegionName) -> Arc<Ec2> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .entry(region.clone())
            .or_insert_with(|| Arc::new(self.connect(region)))
            .clone()
    }
}
