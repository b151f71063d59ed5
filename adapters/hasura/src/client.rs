//! GraphQL over HTTP. Hasura answers errors of a request with status 200.

use std::fmt;
use std::time::Duration;

use graphql_client::{GraphQLQuery, Response};
use http_client::bounded_body;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use shared::db::DbError;

/// The limit of an answer's body, far above what is expected: a page of a thousand instances has
/// half a megabyte.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Hasura's address and secret, and the time limit of a request.
#[derive(Clone, Debug)]
pub struct HasuraSettings {
    /// Without `/v1/graphql`.
    pub url: String,
    pub admin_secret: SecretString,
    /// The limit of one request, connecting included.
    pub timeout: Duration,
}

/// Sends GraphQL documents to Hasura. There is one client per process, so that connections are kept
/// between invocations.
#[derive(Clone)]
pub struct HasuraClient {
    http: reqwest::Client,
    endpoint: String,
    secret: HeaderValue,
    timeout: Duration,
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
    /// When the admin secret is not a valid header value.
    pub fn new(http: reqwest::Client, settings: &HasuraSettings) -> Result<Self, DbError> {
        let mut secret =
            HeaderValue::from_str(settings.admin_secret.expose_secret()).map_err(|_| {
                DbError::Unavailable {
                    operation: "connect",
                    reason: "HASURA_ADMIN_SECRET may have visible ASCII characters only".to_owned(),
                }
            })?;
        // Keeps the secret out of the debug output of headers.
        secret.set_sensitive(true);
        let endpoint = format!("{}/v1/graphql", settings.url.trim_end_matches('/'));
        Ok(Self {
            http,
            endpoint,
            secret,
            timeout: settings.timeout,
        })
    }

    /// Sends one typed document, and returns its data.
    ///
    /// # Errors
    /// [`DbError::Unavailable`] without a usable answer, [`DbError::Refused`] if Hasura answers
    /// with an error.
    pub(crate) async fn send<Q: GraphQLQuery>(
        &self,
        operation: &'static str,
        variables: Q::Variables,
    ) -> Result<Q::ResponseData, DbError> {
        let unavailable = |reason: String| DbError::Unavailable { operation, reason };
        let response = self
            .http
            .post(&self.endpoint)
            .header("x-hasura-admin-secret", self.secret.clone())
            .timeout(self.timeout)
            .json(&Q::build_query(variables))
            .send()
            .await
            .map_err(|error| unavailable(describe(&error)))?;
        let status = response.status();
        if !status.is_success() {
            return Err(unavailable(format!("{} answered {status}", self.endpoint)));
        }
        let body = bounded_body(response, LARGEST_ANSWER)
            .await
            .map_err(|error| unavailable(describe(&error)))?;
        let answer: Response<Q::ResponseData> = serde_json::from_slice(&body)
            .map_err(|error| unavailable(format!("the answer is invalid: {error}")))?;
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
            .ok_or_else(|| unavailable("the answer has neither data nor errors".into()))
    }
}

/// The error with its sources: reqwest's message alone is "error sending request".
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
