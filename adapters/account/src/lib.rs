//! What `doctor` reads of the AWS account: spot's service-linked role, and EC2's quotas.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_iam::config::http::HttpResponse;
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use shared::doctor::ports::{AccountProbe, ProbeError};
use shared::ids::RegionName;

/// Made once for an account, with its first spot request in the console or by hand.
const SPOT_ROLE: &str = "AWSServiceRoleForEC2Spot";

/// Reads roles and quotas.
pub struct Account {
    config: SdkConfig,
    call_limit: Duration,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}

impl Account {
    /// A call takes at most `call_limit`, retries included.
    pub fn new(config: SdkConfig, call_limit: Duration) -> Self {
        Self { config, call_limit }
    }

    fn timeouts(&self) -> aws_config::timeout::TimeoutConfig {
        aws_config::timeout::TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_timeout(self.call_limit)
            .build()
    }
}

#[async_trait]
impl AccountProbe for Account {
    async fn has_spot_role(&self) -> Result<bool, ProbeError> {
        let config = aws_sdk_iam::config::Builder::from(&self.config);
        let client = aws_sdk_iam::Client::from_conf(config.timeout_config(self.timeouts()).build());
        match client.get_role().role_name(SPOT_ROLE).send().await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("NoSuchEntity") => Ok(false),
            Err(error) => Err(probe_error(&error)),
        }
    }

    async fn quota(&self, region: &RegionName, code: &str) -> Result<f64, ProbeError> {
        use aws_sdk_servicequotas::config::{Builder, Region};
        let config = Builder::from(&self.config)
            .region(Region::new(region.to_string()))
            .timeout_config(self.timeouts());
        let client = aws_sdk_servicequotas::Client::from_conf(config.build());
        let request = client.get_service_quota().service_code("ec2");
        let answer = request.quota_code(code).send().await;
        let quota = answer.map_err(|error| probe_error(&error))?.quota;
        let value = quota.and_then(|quota| quota.value);
        value.ok_or_else(|| ProbeError::Unavailable(format!("quota {code} has no value")))
    }
}

fn probe_error<E>(error: &SdkError<E, HttpResponse>) -> ProbeError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let (Some(service), Some(answer)) = (error.as_service_error(), error.raw_response()) else {
        return ProbeError::Unavailable(aws_settings::describe(error));
    };
    let Some(code) = service.code() else {
        return ProbeError::Unavailable(format!(
            "the service answers {}",
            answer.status().as_u16()
        ));
    };
    let text = format!("{} ({code})", error.message().unwrap_or("no message"));
    match code {
        "AccessDenied" | "AccessDeniedException" => ProbeError::Denied(text),
        _ => ProbeError::Unavailable(text),
    }
}
