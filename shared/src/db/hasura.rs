//! GraphQL over HTTP, as Hasura speaks it: errors come with status 200.

use std::fmt;
use std::time::Duration;

use graphql_client::{GraphQLQuery, Response};
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::DbError;

/// Where Hasura is and how long it may take.
#[derive(Clone, Debug)]
pub struct HasuraSettings {
    /// Without `/v1/graphql`.
    pub url: String,
    pub admin_secret: SecretString,
    /// For one request, connecting included.
    pub timeout: Duration,
}

/// One client per process: it keeps its connections between invocations.
#[derive(Clone)]
pub struct HasuraClient {
    http: reqwest::Client,
    endpoint: String,
}

impl fmt::Debug for HasuraClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HasuraClient")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl HasuraClient {
    /// # Errors
    /// When the secret is no valid header value or the TLS library cannot start.
    pub fn new(settings: &HasuraSettings) -> Result<Self, DbError> {
        let unusable = |reason: String| DbError::Unavailable {
            operation: "connect",
            reason,
        };
        let mut secret = HeaderValue::from_str(settings.admin_secret.expose_secret())
            .map_err(|_| unusable("HASURA_ADMIN_SECRET is not a valid header value".into()))?;
        secret.set_sensitive(true);
        let http = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter([(
                reqwest::header::HeaderName::from_static("x-hasura-admin-secret"),
                secret,
            )]))
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout.min(Duration::from_secs(3)))
            // The secret must not follow a redirect to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let endpoint = format!("{}/v1/graphql", settings.url.trim_end_matches('/'));
        Ok(Self { http, endpoint })
    }

    /// Sends one typed document.
    pub(crate) async fn send<Q: GraphQLQuery>(
        &self,
        operation: &'static str,
        variables: Q::Variables,
    ) -> Result<Q::ResponseData, DbError> {
        let unavailable = |reason: String| DbError::Unavailable { operation, reason };
        let response = self
            .http
            .post(&self.endpoint)
            .json(&Q::build_query(variables))
            .send()
            .await
            .map_err(|error| unavailable(describe(&error)))?;
        let status = response.status();
        if !status.is_success() {
            return Err(unavailable(format!("{} answered {status}", self.endpoint)));
        }
        let answer: Response<Q::ResponseData> = response
            .json()
            .await
            .map_err(|error| unavailable(describe(&error)))?;
        if let Some(error) = answer.errors.into_iter().flatten().next() {
            let code = error
                .extensions
                .as_ref()
                .and_then(|extensions| extensions.get("code"))
                .and_then(|code| code.as_str())
                .unwrap_or("no code")
                .to_owned();
            return Err(DbError::Refused {
                operation,
                code,
                message: error.message,
            });
        }
        answer
            .data
            .ok_or_else(|| unavailable("the answer holds neither data nor errors".into()))
    }
}

/// The whole chain: reqwest's own message stops at "error sending request".
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
