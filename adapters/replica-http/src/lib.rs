//! Replicas' status API over HTTP. A replica is not trusted: its answer is limited in time and
//! size, redirects are not followed, and the content is checked.

use std::net::IpAddr;

use async_trait::async_trait;
use http_client::{BodyError, HttpError, bounded_body};
use reqwest::{Certificate, Client};
use serde_json::Value;
use shared::model::ReplicaAnswer;
use shared::replicas::ReplicaStatusApi;
use shared::settings::StatusApi;

/// The limit of an answer's body; a status has a few dozen bytes.
const LARGEST_BODY: usize = 64 * 1024;

/// Asks replicas over HTTP or HTTPS.
#[derive(Clone, Debug)]
pub struct HttpReplicas {
    client: Client,
}

impl HttpReplicas {
    /// `authority` is the PEM certificate of an authority that is trusted in addition to the
    /// system's, because public authorities do not certify private addresses.
    ///
    /// # Errors
    /// When the certificate is invalid, or the TLS library cannot be used.
    pub fn new(authority: Option<&str>) -> Result<Self, HttpError> {
        let mut builder = http_client::builder()
            // Replicas are in the function's own network.
            .no_proxy()
            // Between two passes the function is paused, and idle connections die.
            .pool_max_idle_per_host(0);
        if let Some(pem) = authority {
            builder = builder.add_root_certificate(Certificate::from_pem(pem.as_bytes())?);
        }
        Ok(Self {
            client: builder.build()?,
        })
    }

    async fn read_status(&self, api: &StatusApi, address: IpAddr) -> Result<Value, String> {
        let response = self
            .client
            .get(url(api, address))
            .send()
            .await
            .map_err(|error| describe(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("it answered with status {}", status.as_u16()));
        }
        let body = match bounded_body(response, LARGEST_BODY).await {
            Ok(body) => body,
            Err(BodyError::Http(error)) => return Err(describe(&error)),
            Err(error) => return Err(error.to_string()),
        };
        serde_json::from_slice(&body).map_err(|_| "the answer is not JSON".to_owned())
    }
}

#[async_trait]
impl ReplicaStatusApi for HttpReplicas {
    async fn ask(&self, api: &StatusApi, address: IpAddr) -> ReplicaAnswer {
        let result = tokio::time::timeout(api.time_limit, self.read_status(api, address)).await;
        let answer = match result {
            Ok(status) => status.and_then(|status| parse(api, &status)),
            Err(_) => Err(format!(
                "no answer within {} s",
                api.time_limit.as_secs_f32()
            )),
        };
        answer.unwrap_or_else(|why| ReplicaAnswer::Unknown { why })
    }
}

fn url(api: &StatusApi, address: IpAddr) -> String {
    let StatusApi {
        protocol,
        port,
        path,
        ..
    } = api;
    match address {
        IpAddr::V4(address) => format!("{protocol}://{address}:{port}{path}"),
        IpAddr::V6(address) => format!("{protocol}://[{address}]:{port}{path}"),
    }
}

fn parse(api: &StatusApi, status: &Value) -> Result<ReplicaAnswer, String> {
    let Value::Object(status) = status else {
        return Err("the answer is not a JSON object".to_owned());
    };
    let field = |key: &str| {
        let value = status.get(key);
        value.ok_or_else(|| format!("the answer has no field `{key}`"))
    };
    let StatusApi {
        capacity_key,
        termination_key,
        ..
    } = api;
    let terminated = field(termination_key)?
        .as_bool()
        .ok_or_else(|| format!("the field `{termination_key}` is neither true nor false"))?;
    let capacity = field(capacity_key)?
        .as_u64()
        .and_then(|capacity| u32::try_from(capacity).ok())
        .ok_or_else(|| format!("the field `{capacity_key}` is not a whole number of 0 or more"))?;
    Ok(if terminated {
        ReplicaAnswer::Terminated
    } else {
        ReplicaAnswer::Healthy { capacity }
    })
}

/// The error in a few words, without the address, because reports name the replica.
fn describe(error: &reqwest::Error) -> String {
    let kind = if error.is_connect() {
        "it cannot be connected to"
    } else if error.is_body() || error.is_decode() {
        "the answer broke off"
    } else {
        "the answer is not HTTP, or broke off"
    };
    match innermost(error) {
        Some(cause) => format!("{kind}: {cause}"),
        None => kind.to_owned(),
    }
}

fn innermost(error: &dyn std::error::Error) -> Option<String> {
    let mut source = error.source()?;
    while let Some(next) = source.source() {
        source = next;
    }
    Some(source.to_string())
}
