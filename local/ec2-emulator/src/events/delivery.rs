//! Posts events to a URL, which plays EventBridge: the emulator knows nothing of rules.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Outcome, Parcel};
use crate::emulator::Emulator;

/// How often a delivery is tried.
const ATTEMPTS: u32 = 5;
/// Between the first two attempts; then it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// For one attempt.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Delivers what an emulator publishes.
#[derive(Debug)]
pub struct Postman {
    emulator: Emulator,
    url: String,
    http: reqwest::Client,
}

impl Postman {
    /// Events are delivered from now on, once [`Postman::run`] is.
    pub fn new(emulator: Emulator, url: String) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(TIME_LIMIT)
            .no_proxy()
            .build()?;
        emulator.with(|inner, _| inner.events.listen());
        Ok(Self {
            emulator,
            url,
            http,
        })
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut batches = JoinSet::new();
        loop {
            // Taken before looking, so that nothing in between is missed.
            let posted = self.emulator.posted();
            let (due, wait) = self.emulator.with(|inner, now| {
                let due = inner.events.take_due(now);
                (due, inner.events.next_due().map(|due| due - now))
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
                () = posted => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
                Some(_) = batches.join_next() => {}
            }
        }
    }
}

/// Delivers events one after another.
async fn deliver(emulator: Emulator, http: reqwest::Client, url: String, batch: Vec<Parcel>) {
    for parcel in batch {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let (mut outcome, answer) = post(&http, &url, &parcel).await;
            if outcome == Outcome::Waiting && attempt == ATTEMPTS {
                outcome = Outcome::Failed;
                let id = parcel.event.id;
                tracing::warn!(event = %id, %answer, attempts = ATTEMPTS, "deliver event");
            }
            emulator.with(|inner, now| inner.events.note(parcel.ticket, outcome, answer, now));
            if outcome != Outcome::Waiting {
                break;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

/// `Waiting` when it is worth another attempt.
async fn post(http: &reqwest::Client, url: &str, parcel: &Parcel) -> (Outcome, Value) {
    let answered = async {
        let response = http.post(url).json(&parcel.event).send().await?;
        let status = response.status();
        Ok::<_, reqwest::Error>((status, response.text().await?))
    };
    match answered.await {
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
