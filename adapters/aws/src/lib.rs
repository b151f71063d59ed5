//! What clients of all AWS services share: their time limits and connections, and the texts of
//! their errors.

mod errors;

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};

pub use errors::describe;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Idle connections are closed after this time. The default of 90 s is longer than the minute
/// between two passes, and a connection that was kept over a frozen environment is often dead:
/// Lambda and load balancers close it without the process's knowledge. Source: "Use keep-alive
/// directives to maintain persistent connections" in AWS's best practices for Lambda functions.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How many attempts fit into the limit of a call.
const ATTEMPTS: u32 = 3;

/// Loads the process's region and credentials. A call fails if it takes longer than `call`, the
/// SDK's retries included.
pub async fn load(call: Duration) -> SdkConfig {
    with_limits(aws_config::defaults(BehaviorVersion::latest()), call)
        .load()
        .await
}

/// Sets the time limits of calls and of idle connections.
pub fn with_limits(loader: ConfigLoader, call: Duration) -> ConfigLoader {
    loader
        .timeout_config(timeouts(call))
        .http_client(http_client())
}

/// The time limits of a call that may be repeated. An attempt gets a part of the whole, so that a
/// connection on which nothing is answered does not use up the time of the retries.
pub fn timeouts(call: Duration) -> TimeoutConfig {
    single_attempt(call)
        .into_builder()
        .operation_attempt_timeout(call / ATTEMPTS)
        .build()
}

/// The time limits of a call that must not be given up early, because nobody knows then whether it
/// took effect.
pub fn single_attempt(call: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(call)
        .disable_operation_attempt_timeout()
        .build()
}

/// The SDK's HTTP client with a shorter idle timeout. All clients of the process share it, because
/// reading the system's certificates is most of a cold start.
fn http_client() -> SharedHttpClient {
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .build();
    let connector = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .connector_settings(settings)
        .proxy_config(ProxyConfig::from_env())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build();
    let connector = SharedHttpConnector::new(connector);
    http_client_fn(move |_, _| connector.clone())
}
