//! Hasura's rules of delivery: what counts as a success, what is retried, when, how often, and by
//! how many workers.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use scaling_tests::database::Database;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::delivery::{self, SOON, all, all_with, regions, retries, use_metadata, wake};
use crate::webhook::{Answer, Webhook};

fn time(delivery: &Value, field: &str) -> Result<Timestamp> {
    let time = delivery[field].as_str().context("no time")?;
    Ok(time.parse()?)
}

#[tokio::test]
async fn any_2xx_is_a_success_and_other_answers_are_retried() -> Result<()> {
    let metadata = retries(0, 2, 60)?;
    let (session, webhook, running) = all_with(use_metadata(&metadata)).await?;
    webhook.answer(&[500, 404, 302].map(Answer::Status));
    wake(&session, &["in-vain"]).await?;
    assert_eq!(running.settled().await?["failed"], 1);
    let bodies = webhook.received(3).await?;
    let infos: Vec<_> = bodies.iter().map(|r| &r.body["delivery_info"]).collect();
    let expected = [0, 1, 2].map(|retry| json!({"current_retry": retry, "max_retries": 2}));
    assert_eq!(infos, expected.iter().collect::<Vec<_>>());

    webhook.answer(&[Answer::Status(429), Answer::Status(204)]);
    wake(&session, &["at-last"]).await?;
    assert_eq!(running.settled().await?["delivered"], 1);
    let expected = [
        "0 RETRY 500",
        "1 RETRY 404",
        "2 FAILED 302",
        "0 RETRY 429",
        "1 DELIVERED 204",
    ];
    assert_eq!(running.attempts().await?, expected);
    let ids: BTreeSet<_> = webhook
        .so_far()
        .iter()
        .map(|r| r.body["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 2, "a retry has the event's own id");
    Ok(())
}

#[tokio::test]
async fn retry_waits_for_the_interval_or_a_request_to_hurry() -> Result<()> {
    let metadata = retries(1, 1, 60)?;
    let (session, webhook, running) = all_with(use_metadata(&metadata)).await?;
    webhook.answer(&[Answer::Status(500)]);
    wake(&session, &["waits"]).await?;
    running.settled().await?;
    let deliveries = running.deliveries().await?;
    let pause =
        time(&deliveries[1], "started_at")?.duration_since(time(&deliveries[0], "ended_at")?);
    assert!(pause >= SignedDuration::from_millis(990), "{pause:?}");

    let metadata = retries(3600, 1, 60)?;
    let (session, webhook, running) = all_with(use_metadata(&metadata)).await?;
    webhook.answer(&[Answer::Status(500)]);
    wake(&session, &["hurried"]).await?;
    let tried = async || running.deliveries().await.map_or(0, |tried| tried.len());
    eventually("the first attempt", SOON, tried, |count| *count == 1).await;
    assert_eq!(running.post("/retry-now").await?, json!({"events": 1}));
    assert_eq!(running.settled().await?["delivered"], 1);
    Ok(())
}

#[tokio::test]
async fn retry_after_is_respected_beyond_the_retries() -> Result<()> {
    let metadata = retries(3600, 0, 60)?;
    let (session, webhook, running) = all_with(use_metadata(&metadata)).await?;
    webhook.answer(&[Answer::RetryAfter(1), Answer::RetryAfter(1)]);
    wake(&session, &["later"]).await?;
    assert_eq!(running.settled().await?["delivered"], 1);
    let expected = ["0 RETRY 503", "1 RETRY 503", "2 DELIVERED 200"];
    assert_eq!(running.attempts().await?, expected);
    let deliveries = running.deliveries().await?;
    for pair in deliveries.windows(2) {
        let pause = time(&pair[1], "started_at")?.duration_since(time(&pair[0], "ended_at")?);
        assert!(pause >= SignedDuration::from_millis(990), "{pause:?}");
    }
    Ok(())
}

#[tokio::test]
async fn slow_webhook_times_out_and_is_retried() -> Result<()> {
    let metadata = retries(0, 1, 10)?;
    let (session, webhook, running) = all_with(use_metadata(&metadata)).await?;
    webhook.hold();
    wake(&session, &["slow"]).await?;
    webhook.received(2).await?;
    webhook.release();
    assert_eq!(running.settled().await?["delivered"], 1);
    assert_eq!(
        running.attempts().await?,
        ["0 RETRY null", "1 DELIVERED 200"]
    );
    let first = &running.deliveries().await?[0];
    assert_eq!(first["error"], "no answer within 10s");
    Ok(())
}

#[tokio::test]
async fn events_during_a_webhook_outage_arrive_afterwards() -> Result<()> {
    let database = Database::empty().await?;
    // Bound without listening: requests are refused, and nothing else takes the port.
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = socket.local_addr()?;
    let url = format!("http://{address}/hasura-event");
    let metadata = retries(3600, 5, 60)?;
    let running = delivery::start(&database, &url, use_metadata(&metadata)).await?;
    let session = database.connect().await?;
    wake(&session, &["a", "b"]).await?;
    let refused = async || running.attempts().await.unwrap_or_default();
    let refused = eventually("two attempts", SOON, refused, |seen| seen.len() == 2).await;
    assert_eq!(refused, ["0 RETRY null", "0 RETRY null"]);
    let webhook = Webhook::start_on(socket.listen(1024)?)?;
    running.post("/retry-now").await?;
    let mut came = regions(&webhook, 2).await?;
    came.sort();
    assert_eq!(came, ["a", "b"]);
    Ok(())
}

#[tokio::test]
async fn thousand_events_in_a_burst_arrive_once_each() -> Result<()> {
    let (session, webhook, running) = all().await?;
    let burst =
        "INSERT INTO region_wakeups SELECT 'r-' || n, now() FROM generate_series(1, 1000) n";
    session.run(burst).await?;
    let counts = running.settled().await?;
    assert_eq!(counts["delivered"], 1000);
    let received = webhook.so_far();
    assert_eq!(received.len(), 1000);
    let ids: BTreeSet<_> = received.iter().map(|r| r.body["id"].to_string()).collect();
    assert_eq!(ids.len(), 1000);
    assert_eq!(running.deliveries().await?.len(), 1000);
    assert!(webhook.most_at_once() <= 100);
    Ok(())
}

#[tokio::test]
async fn open_requests_never_exceed_the_workers() -> Result<()> {
    let (session, webhook, running) = all_with(|options| options.workers = 3).await?;
    webhook.hold();
    wake(&session, &["a", "b", "c", "d", "e", "f", "g"]).await?;
    webhook.received(3).await?;
    assert_eq!(running.state().await?["sending"], 3);
    webhook.release();
    assert_eq!(running.settled().await?["delivered"], 7);
    assert_eq!(webhook.most_at_once(), 3);
    Ok(())
}

#[tokio::test]
async fn event_waits_for_the_next_poll() -> Result<()> {
    let interval = Duration::from_secs(10);
    let (session, webhook, running) = all_with(|options| options.fetch_interval = interval).await?;
    wake(&session, &["first"]).await?;
    webhook.received(1).await?;
    running.settled().await?;
    // The poll that found the first event was followed at once by one that found nothing, and the
    // next comes after the interval.
    let written = Instant::now();
    wake(&session, &["second"]).await?;
    webhook.received(2).await?;
    let waited = written.elapsed();
    assert!(waited >= interval / 2, "{waited:?}");
    Ok(())
}
