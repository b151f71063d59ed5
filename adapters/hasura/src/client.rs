//! GraphQL over HTTP, with one repetition of what did not get through.

use std::fmt;
use std::time::{Duration, Instant};

use graphql_client::GraphQLQuery;
use http_client::bounded_body;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use shared::db::DbError;
use shared::trace;

use crate::answer::{self, Answer};
use crate::failure::{Failure, Reach};

/// The limit of an answer's body, far above what is expected: a page of a thousand instances has
/// half a megabyte.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// The tracing header of AWS X-Ray. Load balancers pass it on, and log it.
const TRACE_HEADER: &str = "x-amzn-trace-id";

/// Hasura's address, the function's token, and the time limit of a request.
#[derive(Clone, Debug)]
pub struct HasuraSettings {
    /// Without `/v1/graphql`.
    pub url: String,
    /// A token with the function's role.
    pub token: SecretString,
    /// The limit of one request, connecting included.
    pub timeout: Duration,
}

/// Sends GraphQL documents to Hasura. There is one client per process, so that connections are kept
/// between invocations.
///
/// Every document of this crate may be sent twice: it reads, or it is idempotent. A write of a pass
/// is, by its SQL function; assigning is, per user and session; so are a spot notice and the request
/// of an image.
#[derive(Clone)]
pub struct HasuraClient {
    http: reqwest::Client,
    endpoint: String,
    token: SecretString,
    authorization: HeaderValue,
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
    /// When the token is not a valid header value.
    pub fn new(http: reqwest::Client, settings: &HasuraSettings) -> Result<Self, DbError> {
        let bearer = format!("Bearer {}", settings.token.expose_secret());
        let mut authorization =
            HeaderValue::from_str(&bearer).map_err(|_| DbError::Unavailable {
                operation: "connect",
                reason: "HASURA_TOKEN may have visible ASCII characters only".to_owned(),
            })?;
        // Keeps the token out of the debug output of headers.
        authorization.set_sensitive(true);
        let endpoint = format!("{}/v1/graphql", settings.url.trim_end_matches('/'));
        Ok(Self {
            http,
            endpoint,
            token: settings.token.clone(),
            authorization,
            timeout: settings.timeout,
        })
    }

    /// Sends one typed document, and returns its data. A request that was lost, or that Hasura
    /// answers with a transient error, is sent once more within the same time limit.
    ///
    /// # Errors
    /// [`DbError::Unavailable`] without a usable answer, [`DbError::Refused`] if Hasura answers
    /// with an error that another attempt would not change.
    pub(crate) async fn send<Q: GraphQLQuery>(
        &self,
        operation: &'static str,
        variables: Q::Variables,
    ) -> Result<Q::ResponseData, DbError> {
        let request = body::<Q>(operation, variables)?;
        let started = Instant::now();
        let failure = match self.attempt(operation, &request, self.timeout).await {
            Ok(data) => return Ok(data),
            Err(failure) => failure,
        };
        let left = self.timeout.saturating_sub(started.elapsed());
        if failure.reach == Reach::Settled || left.is_zero() {
            return Err(failure.log(operation));
        }
        self.repeat(operation, &request, failure, left).await
    }

    /// Like [`send`](Self::send), for a caller who cannot come back later: a request without an
    /// answer in time is sent once more, too, with a time limit of its own.
    pub(crate) async fn send_urgently<Q: GraphQLQuery>(
        &self,
        operation: &'static str,
        variables: Q::Variables,
    ) -> Result<Q::ResponseData, DbError> {
        let request = body::<Q>(operation, variables)?;
        match self.attempt(operation, &request, self.timeout).await {
            Ok(data) => Ok(data),
            Err(failure) if failure.reach == Reach::Settled => Err(failure.log(operation)),
            Err(failure) => {
                self.repeat(operation, &request, failure, self.timeout)
                    .await
            }
        }
    }

    async fn repeat<Data: serde::de::DeserializeOwned>(
        &self,
        operation: &'static str,
        request: &[u8],
        failure: Failure,
        timeout: Duration,
    ) -> Result<Data, DbError> {
        let error = failure.log(operation);
        tracing::warn!(operation, error = %error, "request to Hasura repeated");
        let repeated = self.attempt(operation, request, timeout).await;
        repeated.map_err(|failure| failure.log(operation))
    }

    /// Sends the request once.
    async fn attempt<Data: serde::de::DeserializeOwned>(
        &self,
        operation: &'static str,
        request: &[u8],
        timeout: Duration,
    ) -> Result<Data, Failure> {
        let lost = |reason| Failure::lost(operation, reason);
        let mut post = self
            .http
            .post(&self.endpoint)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json");
        if let Some(trace) = trace::current() {
            post = post.header(TRACE_HEADER, trace.header());
        }
        let response = post
            .timeout(timeout)
            .body(request.to_vec())
            .send()
            .await
            .map_err(|error| lost(describe(&error)))?;
        let status = response.status();
        let body = bounded_body(response, LARGEST_ANSWER)
            .await
            .map_err(|error| lost(describe(&error)))?;
        answer::read(&Answer {
            operation,
            endpoint: &self.endpoint,
            token: self.token.expose_secret(),
            status,
            body: &body,
        })
    }
}

/// A document and its variables, as Hasura expects them.
fn body<Q: GraphQLQuery>(
    operation: &'static str,
    variables: Q::Variables,
) -> Result<Vec<u8>, DbError> {
    serde_json::to_vec(&Q::build_query(variables)).map_err(|error| DbError::Unavailable {
        operation,
        reason: format!("the request cannot be written as JSON: {error}"),
    })
}

/// The error with its sources: reqwest's message alone is "error sending request".
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
