//! At-least-once delivery under crashes.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use scaling_tests::database::Database;
use serde_json::json;

use crate::delivery::{self, all, regions, wake};
use crate::webhook::Webhook;

#[tokio::test]
async fn delivery_killed_before_its_record_sends_again() -> Result<()> {
    let database = Database::empty().await?;
    let session = database.connect().await?;
    let webhook = Webhook::start().await?;
    let first = delivery::start(&database, webhook.url(), |_| {}).await?;
    webhook.hold();
    wake(&session, &["again"]).await?;
    webhook.received(1).await?;
    let pid = Pid::from_raw(i32::try_from(first.events.process().pid())?);
    kill(pid, Signal::SIGKILL)?;
    first.events.process().ended().await;
    webhook.release();

    let lock = Duration::from_secs(3);
    let second = delivery::start(&database, webhook.url(), |options| options.lock = lock).await?;
    let received = webhook.received(2).await?;
    let age = "SELECT FROM local_events.event_log
               WHERE clock_timestamp() - created_at >= interval '3 seconds'";
    assert_eq!(
        session.count(age).await?,
        1,
        "the lock of the first held for its time"
    );
    assert_eq!(
        received[0].body, received[1].body,
        "nothing knows of the first"
    );
    assert_eq!(second.settled().await?["delivered"], 1);
    assert_eq!(second.attempts().await?, ["0 DELIVERED 200"]);
    Ok(())
}

#[tokio::test]
async fn delivery_that_is_stopped_unlocks_what_it_was_sending() -> Result<()> {
    let database = Database::empty().await?;
    let session = database.connect().await?;
    let webhook = Webhook::start().await?;
    let mut first = delivery::start(&database, webhook.url(), |_| {}).await?;
    webhook.hold();
    wake(&session, &["again"]).await?;
    webhook.received(1).await?;
    first.events.stop();
    webhook.release();
    // Under a lock, it would wait half an hour.
    let second = delivery::start(&database, webhook.url(), |_| {}).await?;
    webhook.received(2).await?;
    assert_eq!(second.settled().await?["delivered"], 1);
    Ok(())
}

#[tokio::test]
async fn events_written_without_a_delivery_are_delivered_later() -> Result<()> {
    let database = Database::empty().await?;
    let session = database.connect().await?;
    let webhook = Webhook::start().await?;
    wake(&session, &["before-any-capture"]).await?;
    let mut first = delivery::start(&database, webhook.url(), |_| {}).await?;
    first.events.stop();
    wake(&session, &["meanwhile"]).await?;
    let second = delivery::start(&database, webhook.url(), |_| {}).await?;
    wake(&session, &["afterwards"]).await?;
    let mut came = regions(&webhook, 2).await?;
    came.sort();
    assert_eq!(came, ["afterwards", "meanwhile"]);
    assert_eq!(second.settled().await?["delivered"], 2);
    Ok(())
}

#[tokio::test]
async fn delivery_continues_after_its_connections_were_closed() -> Result<()> {
    let (session, webhook, running) = all().await?;
    wake(&session, &["before"]).await?;
    running.settled().await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    session.run(end).await?;
    wake(&session, &["after"]).await?;
    assert_eq!(regions(&webhook, 2).await?, ["before", "after"]);
    Ok(())
}

#[tokio::test]
async fn delivery_recreates_an_unusable_log() -> Result<()> {
    let (session, webhook, running) = all().await?;
    session.run("DROP SCHEMA local_events CASCADE").await?;
    // It checks the log, finds none, and creates it.
    running.ask(Method::POST, "/resume", &json!({})).await?;
    running.settled().await?;
    wake(&session, &["after"]).await?;
    assert_eq!(regions(&webhook, 1).await?, ["after"]);
    Ok(())
}
