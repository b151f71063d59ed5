//! Posts events to a URL. The receiver takes the part of `EventBridge`, because the emulator
//! does not know which rules there are.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::emulator::Emulator;
use crate::events::{Outcome, PendingEvent};

/// How often a delivery is attempted.
const MAX_ATTEMPTS: u32 = 5;
/// The pause after the first attempt. It doubles after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The time limit of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Delivers the events of an emulator.
#[derive(Debug)]
pub struct EventSender {
    emulator: Emulator,
    url: String,
    http: reqwest::Client,
}

impl EventSender {
    /// Makes the emulator schedule deliveries from now on. [`EventSender::run`] makes them.
    ///
    /// # Errors
    /// If the HTTP client cannot be built.
    pub fn new(emulator: Emulator, url: String) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(ATTEMPT_TIMEOUT)
            .no_proxy()
            .build()?;
        emulator.with(|state, _| state.events.enable_delivery());
        Ok(Self {
            emulator,
            url,
            http,
        })
    }

    /// Delivers events until the future is dropped.
    pub async fn run(self) {
        let mut batches = JoinSet::new();
        loop {
            // Created before the state is read, so that no change in between is missed.
            let changed = self.emulator.deliveries_changed();
            let (due, wait) = self.emulator.with(|state, now| {
                let due = state.events.take_due(now);
                (due, state.events.next_due().map(|due| due - now))
            });
            for batch in due {
                batches.spawn(deliver(
                    self.emulator.clone(),
                    self.http.clone(),
                    self.url.clone(),
                    batch,
                ));
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
                Some(_) = batches.join_next() => {}
            }
        }
    }
}

/// Delivers the events of a batch one after another.
async fn deliver(emulator: Emulator, http: reqwest::Client, url: String, batch: Vec<PendingEvent>) {
    for pending in batch {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=MAX_ATTEMPTS {
            let (mut outcome, answer) = post(&http, &url, &pending).await;
            if outcome == Outcome::Waiting && attempt == MAX_ATTEMPTS {
                outcome = Outcome::Failed;
                tracing::warn!(
                    event = %pending.event.id,
                    error = %answer,
                    attempts = MAX_ATTEMPTS,
                    "event delivery failed"
                );
            }
            emulator.with(|state, now| {
                state
                    .events
                    .record_attempt(pending.id, outcome, answer, now);
            });
            if outcome != Outcome::Waiting {
                break;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

/// Makes one attempt. Returns `Waiting` if another attempt may succeed.
async fn post(http: &reqwest::Client, url: &str, pending: &PendingEvent) -> (Outcome, Value) {
    let response = async {
        let response = http.post(url).json(&pending.event).send().await?;
        let status = response.status();
        Ok::<_, reqwest::Error>((status, response.text().await?))
    };
    match response.await {
        Ok((reqwest::StatusCode::NO_CONTENT, _)) => (Outcome::Unwanted, Value::Null),
        Ok((status, text)) => {
            let answer = serde_json::from_str(&text).unwrap_or(Value::String(text));
            if status.is_success() {
                (Outcome::Delivered, answer)
            } else {
                let error = json!({"status": status.as_u16(), "answer": answer});
                (Outcome::Waiting, error)
            }
        }
        Err(error) => (Outcome::Waiting, Value::String(error.to_string())),
    }
}

#[cfg(test)]
mod tests;
