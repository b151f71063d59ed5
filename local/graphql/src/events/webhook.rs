//! Sends an event to a webhook, and derives the outcome from the response.

use std::error::Error;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::events::log::{Event, Outcome, RequestResult};
use crate::events::triggers::Trigger;
use crate::metadata::RetryConf;

/// Starts like Hasura's user agent.
const USER_AGENT: &str = "hasura-graphql-engine/local";

/// Response bodies are read to the end, as Hasura does, but at most up to this size,
/// because only the status is used.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// Hasura accepts any number of seconds. Locally, a longer time can only be a mistake.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The HTTP client for all webhooks.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    client: Client,
}

/// One attempt to deliver an event.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) result: RequestResult,
    /// From the response's `Retry-After` header.
    retry_after: Option<Duration>,
}

impl Webhook {
    /// # Errors
    ///
    /// When the HTTP client cannot be built.
    pub(crate) fn new() -> Result<Self> {
        let client = Client::builder()
            .user_agent(USER_AGENT)
            // A redirect counts as a failure.
            .redirect(Policy::none())
            // All webhooks are on this machine.
            .no_proxy()
            .build()
            .context("build the HTTP client")?;
        Ok(Self { client })
    }

    /// Sends an event once, within the trigger's time limit.
    pub(crate) async fn send(&self, trigger: &Trigger, event: &Event) -> Attempt {
        let started = Instant::now();
        let response = self.post(trigger, event).await;
        let duration = started.elapsed();
        match response {
            Ok((status, retry_after)) => Attempt {
                result: RequestResult {
                    status: Some(status),
                    error: None,
                    duration,
                },
                retry_after,
            },
            Err(error) => Attempt {
                result: RequestResult {
                    status: None,
                    error: Some(format!("{error:#}")),
                    duration,
                },
                retry_after: None,
            },
        }
    }

    /// Returns the status and the time that `Retry-After` requests.
    async fn post(&self, trigger: &Trigger, event: &Event) -> Result<(u16, Option<Duration>)> {
        let response = self
            .client
            .post(trigger.webhook.clone())
            .headers(trigger.headers.clone())
            .header(CONTENT_TYPE, "application/json")
            .timeout(trigger.timeout())
            .body(payload(trigger.retries, event).to_string())
            .send()
            .await
            .map_err(|error| describe(&error, trigger))?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(retry_after_seconds);
        read_to_end(response)
            .await
            .map_err(|error| describe(&error, trigger))?;
        Ok((status, retry_after))
    }
}

impl Attempt {
    /// The outcome for an event that had `tries` attempts before this one.
    ///
    /// By Hasura's rule, `Retry-After` leads to another attempt regardless of the number
    /// of attempts so far. A webhook that always sends it is therefore called forever.
    pub(crate) fn outcome(&self, retries: RetryConf, tries: i32) -> Outcome {
        if self.result.status.is_some_and(|s| (200..300).contains(&s)) {
            return Outcome::Delivered;
        }
        let exhausted = i64::from(tries) >= i64::from(retries.num_retries);
        match self.retry_after {
            Some(delay) => Outcome::Retry(delay),
            None if exhausted => Outcome::Failed,
            None => Outcome::Retry(Duration::from_secs(retries.interval_sec.into())),
        }
    }
}

/// The request body, in the format that Hasura documents.
fn payload(retries: RetryConf, event: &Event) -> Value {
    json!({
        "id": event.id,
        "created_at": event.created_at,
        "trigger": {"name": event.trigger},
        "table": {"schema": event.schema, "name": event.table},
        "delivery_info": {"current_retry": event.tries, "max_retries": retries.num_retries},
        "event": event.payload,
    })
}

/// Hasura accepts whole seconds above 0, and ignores dates and all other values.
fn retry_after_seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds: u64 = value.to_str().ok()?.trim().parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

async fn read_to_end(mut response: Response) -> Result<(), reqwest::Error> {
    let mut read = 0;
    while let Some(chunk) = response.chunk().await? {
        read += chunk.len();
        if read > MAX_RESPONSE_BYTES {
            break;
        }
    }
    Ok(())
}

/// The error's message with its causes, but without the URL, which may contain a secret.
fn describe(error: &reqwest::Error, trigger: &Trigger) -> anyhow::Error {
    if error.is_timeout() {
        return anyhow::anyhow!("no answer within {:?}", trigger.timeout());
    }
    let mut message = "the request failed".to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    anyhow::Error::msg(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRIES: RetryConf = RetryConf {
        interval_sec: 10,
        num_retries: 2,
        timeout_sec: 60,
    };

    fn response(status: u16, retry_after: Option<&str>) -> Attempt {
        Attempt {
            result: RequestResult {
                status: Some(status),
                ..RequestResult::default()
            },
            retry_after: retry_after
                .and_then(|value| retry_after_seconds(&HeaderValue::from_str(value).unwrap())),
        }
    }

    fn seconds(seconds: u64) -> Outcome {
        Outcome::Retry(Duration::from_secs(seconds))
    }

    #[test]
    fn status_2xx_is_delivered_and_other_statuses_are_retried() {
        for status in [200, 202, 204, 299] {
            let outcome = response(status, Some("5")).outcome(RETRIES, 0);
            assert_eq!(outcome, Outcome::Delivered, "{status}");
        }
        for status in [302, 400, 404, 429, 500] {
            let outcome = response(status, None).outcome(RETRIES, 0);
            assert_eq!(outcome, seconds(10), "{status}");
        }
    }

    #[test]
    fn failed_attempts_are_retried_num_retries_times() {
        assert_eq!(response(500, None).outcome(RETRIES, 1), seconds(10));
        assert_eq!(response(500, None).outcome(RETRIES, 2), Outcome::Failed);
        let no_response = Attempt {
            result: RequestResult::default(),
            retry_after: None,
        };
        assert_eq!(no_response.outcome(RETRIES, 0), seconds(10));
        assert_eq!(no_response.outcome(RETRIES, 2), Outcome::Failed);
    }

    #[test]
    fn retry_after_in_seconds_forces_another_attempt() {
        assert_eq!(response(503, Some("3")).outcome(RETRIES, 0), seconds(3));
        assert_eq!(response(503, Some("3")).outcome(RETRIES, 99), seconds(3));
        for ignored in ["0", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "soon"] {
            let outcome = response(503, Some(ignored)).outcome(RETRIES, 2);
            assert_eq!(outcome, Outcome::Failed, "{ignored}");
        }
        let capped = response(503, Some("999999999999")).outcome(RETRIES, 0);
        assert_eq!(capped, Outcome::Retry(MAX_RETRY_AFTER));
    }
}
