//! A running delivery and its control API.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use local_stack::events::{EventOptions, Events};
use local_stack::ports::Ports;
use reqwest::{Method, StatusCode};
use scaling_tests::database::{Database, Session, server};
use scaling_tests::metadata::altered;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::webhook::Webhook;

pub(crate) const SECRET: &str = "the secret of the events";
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The tests' event trigger, and the file that declares it.
const WAKEUPS: &str = "databases/default/tables/public_region_wakeups.yaml";
const RETRIES: &str = "interval_sec: 10
      num_retries: 5
      timeout_sec: 60";

/// The project's metadata with other retries for `region_wake`.
pub(crate) fn retries(interval: u32, retries: u32, timeout: u32) -> Result<TempDir> {
    let other = format!(
        "interval_sec: {interval}\n      num_retries: {retries}\n      timeout_sec: {timeout}"
    );
    altered(WAKEUPS, RETRIES, &other)
}

/// Starts a delivery with the project's metadata unless `change` replaces it.
pub(crate) async fn start(
    database: &Database,
    webhook_url: &str,
    change: impl FnOnce(&mut EventOptions),
) -> Result<Running> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut options = EventOptions::new(database.url(), webhook_url, SECRET);
    options.name = format!("events-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    change(&mut options);
    let port = Ports::free().reserve("events")?;
    let events = Events::start(&server().await?.dir, port, &options).await?;
    Ok(Running {
        events,
        http: reqwest::Client::new(),
    })
}

/// A database, a webhook, and a delivery between them.
pub(crate) async fn all() -> Result<(Session, Webhook, Running)> {
    all_with(|_| {}).await
}

pub(crate) async fn all_with(
    change: impl FnOnce(&mut EventOptions),
) -> Result<(Session, Webhook, Running)> {
    let database = Database::empty().await?;
    let webhook = Webhook::start().await?;
    let running = start(&database, webhook.url(), change).await?;
    Ok((database.connect().await?, webhook, running))
}

pub(crate) fn use_metadata(folder: &TempDir) -> impl FnOnce(&mut EventOptions) {
    let path: &Path = folder.path();
    move |options| options.metadata = path.to_owned()
}

/// Makes one event of the trigger `region_wake` for each region.
pub(crate) async fn wake(session: &Session, regions: &[&str]) -> Result<()> {
    for region in regions {
        let insert = format!("INSERT INTO region_wakeups VALUES ('{region}', now())");
        session.run(&insert).await?;
    }
    Ok(())
}

/// The regions of the received events, in order.
pub(crate) async fn regions(webhook: &Webhook, count: usize) -> Result<Vec<String>> {
    let received = webhook.received(count).await?;
    let region = |body: &Value| {
        let region = body["event"]["data"]["new"]["region"].as_str();
        region.unwrap_or_default().to_owned()
    };
    Ok(received
        .iter()
        .map(|request| region(&request.body))
        .collect())
}

pub(crate) struct Running {
    pub(crate) events: Events,
    http: reqwest::Client,
}

impl Running {
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Value)> {
        let url = format!("{}{path}", self.events.control_url());
        let request = self.http.request(method, url).json(body);
        let response = request.send().await?;
        let status = response.status();
        Ok((status, response.json().await.context("no JSON")?))
    }

    async fn ok(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let (status, answer) = self.ask(method, path, body).await?;
        ensure!(status.is_success(), "{path}: {status} {answer}");
        Ok(answer)
    }

    pub(crate) async fn post(&self, path: &str) -> Result<Value> {
        self.ok(Method::POST, path, &json!({})).await
    }

    pub(crate) async fn set_faults(&self, rules: Value) -> Result<()> {
        let faults = json!({"seed": 7, "rules": rules});
        self.ok(Method::PUT, "/faults", &faults).await?;
        Ok(())
    }

    pub(crate) async fn state(&self) -> Result<Value> {
        self.ok(Method::GET, "/", &json!({})).await
    }

    /// Waits until nothing is left to do, and returns the counts of events.
    pub(crate) async fn settled(&self) -> Result<Value> {
        let idle = |state: &Result<Value>| {
            state.as_ref().is_ok_and(|state| {
                state["events"]["pending"] == 0 && state["sending"] == 0 && state["copies"] == 0
            })
        };
        let state = eventually("settled", SOON, async || self.state().await, idle).await;
        Ok(state?["events"].take())
    }

    /// The delivery's ledger.
    pub(crate) async fn deliveries(&self) -> Result<Vec<Value>> {
        let mut answer = self.ok(Method::GET, "/deliveries", &json!({})).await?;
        let deliveries = serde_json::from_value(answer["deliveries"].take())?;
        Ok(deliveries)
    }

    /// `attempt outcome status` of each delivery.
    pub(crate) async fn attempts(&self) -> Result<Vec<String>> {
        let line = |d: &Value| {
            let outcome = d["outcome"].as_str().unwrap_or_default();
            format!("{} {outcome} {}", d["attempt"], d["status"])
        };
        Ok(self.deliveries().await?.iter().map(line).collect())
    }
}
