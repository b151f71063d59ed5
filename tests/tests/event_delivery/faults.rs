//! Faults of the delivery that tests can inject.

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::delivery::{all, regions, wake};

#[tokio::test]
async fn duplicate_arrives_at_the_same_time_with_the_same_id() -> Result<()> {
    let (session, webhook, running) = all().await?;
    let rule = json!({"action": {"duplicate": {"copies": 2}}, "next": 1});
    running.set_faults(json!([rule])).await?;
    webhook.hold();
    wake(&session, &["thrice"]).await?;
    let received = webhook.received(3).await?;
    assert!(received.windows(2).all(|pair| pair[0].body == pair[1].body));
    webhook.release();
    wake(&session, &["once"]).await?;
    assert_eq!(running.settled().await?["delivered"], 2);
    assert_eq!(webhook.so_far().len(), 4);
    let mut copies: Vec<_> = running
        .deliveries()
        .await?
        .iter()
        .map(|d| d["copy"].to_string())
        .collect();
    copies.sort();
    assert_eq!(copies, ["0", "0", "1", "2"]);
    Ok(())
}

#[tokio::test]
async fn late_duplicate_arrives_after_the_event_is_done() -> Result<()> {
    let (session, webhook, running) = all().await?;
    let rule = json!({"action": {"duplicate": {"copies": 1, "after_ms": 3000}}});
    running.set_faults(json!([rule])).await?;
    wake(&session, &["twice"]).await?;
    running.settled().await?;
    assert_eq!(regions(&webhook, 2).await?, ["twice", "twice"]);
    let deliveries = running.deliveries().await?;
    let started = |delivery: &Value| -> Result<Timestamp> {
        Ok(delivery["started_at"]
            .as_str()
            .context("no time")?
            .parse()?)
    };
    let pause = started(&deliveries[1])?.duration_since(started(&deliveries[0])?);
    assert!(pause >= SignedDuration::from_secs(2), "{pause:?}");
    Ok(())
}

#[tokio::test]
async fn dropping_the_next_events_spares_later_ones() -> Result<()> {
    let (session, webhook, running) = all().await?;
    let rule = json!({"action": "drop", "trigger": "region_wake", "next": 2});
    running.set_faults(json!([rule])).await?;
    session
        .run("INSERT INTO app_versions VALUES ('dev', '1', 'a')")
        .await?;
    webhook.received(1).await?;
    wake(&session, &["lost", "lost-too", "kept"]).await?;
    let counts = running.settled().await?;
    let expected = json!({"pending": 0, "delivered": 2, "failed": 0, "dropped": 2});
    assert_eq!(counts, expected);
    assert_eq!(regions(&webhook, 2).await?[1], "kept");
    let (_, left) = running.ask(Method::GET, "/faults", &json!({})).await?;
    assert_eq!(left["rules"][0]["next"], 0);
    Ok(())
}

#[tokio::test]
async fn share_of_the_events_is_dropped() -> Result<()> {
    let (session, webhook, running) = all().await?;
    let rule = json!({"action": "drop", "share": 0.5});
    running.set_faults(json!([rule])).await?;
    session
        .run("INSERT INTO region_wakeups SELECT 'r-' || n, now() FROM generate_series(1, 200) n")
        .await?;
    let counts = running.settled().await?;
    let dropped = counts["dropped"].as_u64().unwrap_or_default();
    assert!((60..140).contains(&dropped), "{counts}");
    assert_eq!(json!(webhook.so_far().len()), counts["delivered"]);
    Ok(())
}

#[tokio::test]
async fn delayed_event_arrives_after_later_ones() -> Result<()> {
    let (session, webhook, running) = all().await?;
    let rule = json!({"action": {"delay": {"ms": 600_000}}, "next": 1});
    running.set_faults(json!([rule])).await?;
    wake(&session, &["delayed"]).await?;
    wake(&session, &["later"]).await?;
    assert_eq!(regions(&webhook, 1).await?, ["later"]);
    running.post("/retry-now").await?;
    assert_eq!(regions(&webhook, 2).await?, ["later", "delayed"]);
    let body = &webhook.so_far()[1].body;
    assert_eq!(
        body["delivery_info"]["current_retry"], 0,
        "no attempt was made"
    );
    assert_eq!(running.settled().await?["delivered"], 2);

    let rule = json!({"action": {"delay": {"ms": 200}}, "next": 1});
    running.set_faults(json!([rule])).await?;
    wake(&session, &["by-itself"]).await?;
    assert_eq!(regions(&webhook, 3).await?[2], "by-itself");
    Ok(())
}

#[tokio::test]
async fn reordered_events_arrive_in_the_opposite_order() -> Result<()> {
    let (session, webhook, running) = all().await?;
    let rule = json!({"action": {"reorder": {"window": 3, "within_ms": 600_000}}});
    running.set_faults(json!([rule])).await?;
    wake(&session, &["a", "b", "c", "d", "e", "f"]).await?;
    let mut order = regions(&webhook, 6).await?;
    // Two groups, which may overtake each other.
    order.sort_by_key(|region| region.as_str() > "c");
    assert_eq!(order, ["c", "b", "a", "f", "e", "d"]);

    let rule = json!({"action": {"reorder": {"window": 3, "within_ms": 300}}});
    running.set_faults(json!([rule])).await?;
    running.post("/pause").await?;
    wake(&session, &["x", "y"]).await?;
    running.post("/resume").await?;
    assert_eq!(
        regions(&webhook, 8).await?[6..],
        ["y", "x"],
        "too few for a group"
    );
    assert_eq!(running.settled().await?["delivered"], 8);
    Ok(())
}

#[tokio::test]
async fn paused_delivery_sends_nothing() -> Result<()> {
    let (session, webhook, running) = all().await?;
    let rule = json!({"action": {"duplicate": {"copies": 1}}});
    running.set_faults(json!([rule])).await?;
    let state = running.post("/pause").await?;
    assert_eq!(state["paused"], true);
    wake(&session, &["a", "b"]).await?;
    assert_eq!(running.state().await?["events"]["pending"], 2);
    assert_eq!(webhook.so_far().len(), 0);
    running.post("/resume").await?;
    webhook.received(4).await?;
    assert_eq!(running.settled().await?["delivered"], 2);
    Ok(())
}

#[tokio::test]
async fn invalid_faults_are_refused_and_the_previous_ones_stay() -> Result<()> {
    let (_session, _webhook, running) = all().await?;
    running
        .set_faults(json!([{"action": "drop", "next": 1}]))
        .await?;
    for wrong in [
        json!({"rules": [{"action": "lose"}]}),
        json!({"rules": [{"action": {"duplicate": {"copies": 1000}}}]}),
        json!({"rules": [{"action": "drop", "share": 2}]}),
        json!({"faults": []}),
    ] {
        let (status, answer) = running.ask(Method::PUT, "/faults", &wrong).await?;
        assert_eq!(status, 400, "{wrong}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    let (_, left) = running.ask(Method::GET, "/faults", &json!({})).await?;
    assert_eq!(left["rules"], json!([{"action": "drop", "next": 1}]));
    Ok(())
}
