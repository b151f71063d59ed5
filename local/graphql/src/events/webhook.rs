//! One request to a webhook, and what its answer means.

use std::error::Error;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::events::log::{Event, Fate, Trip};
use crate::events::triggers::Trigger;
use crate::metadata::RetryConf;

/// How Hasura calls itself.
const USER_AGENT: &str = "hasura-graphql-engine/local";

/// Answers are read to their end, as Hasura does, but no further than this: only
/// their status matters.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Hasura takes any number of seconds; a longer time than this is a mistake here.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Sends events.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    client: Client,
}

/// What an attempt came to.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) trip: Trip,
    /// Asked for by the answer.
    retry_after: Option<Duration>,
}

impl Webhook {
    pub(crate) fn new() -> Result<Self> {
        let client = Client::builder()
            .user_agent(USER_AGENT)
            // A redirection is no success.
            .redirect(Policy::none())
            // Everything is on this machine.
            .no_proxy()
            .build()
            .context("make the HTTP client")?;
        Ok(Self { client })
    }

    /// Sends an event once, within the trigger's time limit.
    pub(crate) async fn send(&self, trigger: &Trigger, event: &Event) -> Attempt {
        let started = Instant::now();
        let answer = self.answer(trigger, event).await;
        let took = started.elapsed();
        match answer {
            Ok((status, retry_after)) => Attempt {
                trip: Trip {
                    status: Some(status),
                    error: None,
                    took,
                },
                retry_after,
            },
            Err(error) => Attempt {
                trip: Trip {
                    status: None,
                    error: Some(format!("{error:#}")),
                    took,
                },
                retry_after: None,
            },
        }
    }

    async fn answer(&self, trigger: &Trigger, event: &Event) -> Result<(u16, Option<Duration>)> {
        let response = self
            .client
            .post(trigger.webhook.clone())
            .headers(trigger.headers.clone())
            .header(CONTENT_TYPE, "application/json")
            .timeout(trigger.time_limit())
            .body(payload(trigger.retries, event).to_string())
            .send()
            .await
            .map_err(|error| explained(&error, trigger))?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(retry_after_seconds);
        read_to_end(response)
            .await
            .map_err(|error| explained(&error, trigger))?;
        Ok((status, retry_after))
    }
}

impl Attempt {
    /// What becomes of an event that was tried `tries` times before this attempt.
    ///
    /// `Retry-After` forces another attempt, however many there were: Hasura's
    /// own rule, and the way in which a webhook can be asked for ever.
    pub(crate) fn fate(&self, retries: RetryConf, tries: i32) -> Fate {
        if self.trip.status.is_some_and(|s| (200..300).contains(&s)) {
            return Fate::Delivered;
        }
        let exhausted = i64::from(tries) >= i64::from(retries.num_retries);
        match self.retry_after {
            Some(pause) => Fate::Retry(pause),
            None if exhausted => Fate::Failed,
            None => Fate::Retry(Duration::from_secs(retries.interval_sec.into())),
        }
    }
}

/// The body, as Hasura documents it.
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

/// Hasura reads whole seconds and takes no notice of a date, nor of 0.
fn retry_after_seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds: u64 = value.to_str().ok()?.trim().parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

async fn read_to_end(mut response: Response) -> Result<(), reqwest::Error> {
    let mut read = 0;
    while let Some(chunk) = response.chunk().await? {
        read += chunk.len();
        if read > MAX_ANSWER_BYTES {
            break;
        }
    }
    Ok(())
}

/// The message with its causes, and without the URL, which may hold a secret.
fn explained(error: &reqwest::Error, trigger: &Trigger) -> anyhow::Error {
    if error.is_timeout() {
        return anyhow::anyhow!("no answer within {:?}", trigger.time_limit());
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

    fn answered(status: u16, retry_after: Option<&str>) -> Attempt {
        Attempt {
            trip: Trip {
                status: Some(status),
                ..Trip::default()
            },
            retry_after: retry_after
                .and_then(|value| retry_after_seconds(&HeaderValue::from_str(value).unwrap())),
        }
    }

    fn seconds(seconds: u64) -> Fate {
        Fate::Retry(Duration::from_secs(seconds))
    }

    #[test]
    fn any_2xx_is_a_success_and_nothing_else_is() {
        for status in [200, 202, 204, 299] {
            let fate = answered(status, Some("5")).fate(RETRIES, 0);
            assert_eq!(fate, Fate::Delivered, "{status}");
        }
        for status in [302, 400, 404, 429, 500] {
            let fate = answered(status, None).fate(RETRIES, 0);
            assert_eq!(fate, seconds(10), "{status}");
        }
    }

    #[test]
    fn there_are_num_retries_attempts_after_the_first() {
        assert_eq!(answered(500, None).fate(RETRIES, 1), seconds(10));
        assert_eq!(answered(500, None).fate(RETRIES, 2), Fate::Failed);
        let never = Attempt {
            trip: Trip::default(),
            retry_after: None,
        };
        assert_eq!(never.fate(RETRIES, 0), seconds(10));
        assert_eq!(never.fate(RETRIES, 2), Fate::Failed);
    }

    #[test]
    fn retry_after_in_seconds_forces_an_attempt_however_many_there_were() {
        assert_eq!(answered(503, Some("3")).fate(RETRIES, 0), seconds(3));
        assert_eq!(answered(503, Some("3")).fate(RETRIES, 99), seconds(3));
        for unread in ["0", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "soon"] {
            let fate = answered(503, Some(unread)).fate(RETRIES, 2);
            assert_eq!(fate, Fate::Failed, "{unread}");
        }
        let ages = answered(503, Some("999999999999")).fate(RETRIES, 0);
        assert_eq!(ages, Fate::Retry(MAX_RETRY_AFTER));
    }
}
