//! The functions behind the status page: they count by the rule of assigning, only the
//! administrator may call them, and they change nothing.

use std::time::Instant;

use anyhow::{Context as _, Result};
use scaling_tests::database::{Database, ENVIRONMENT, REGION, SHA, Session};
use scaling_tests::graphql::{Engine, error_code};
use serde_json::{Value, json};

async fn regions(session: &Session) -> Result<Vec<Value>> {
    session
        .rows(&format!("SELECT * FROM status_regions('{ENVIRONMENT}')"))
        .await
}

async fn image(session: &Session, id: &str) -> Result<Value> {
    let call = format!("SELECT * FROM status_images() WHERE image_id = '{id}'");
    session.row(&call).await
}

async fn free(session: &Session) -> Result<i64> {
    let row = image(session, "ami-1").await?;
    row["free"].as_i64().context("a number")
}

#[tokio::test]
async fn every_region_is_reported_with_or_without_instances() -> Result<()> {
    let (_database, session) = Database::with_region(4).await?;
    session.add_region("eu-west-1", 7).await?;
    session
        .run("UPDATE regions SET paused = true WHERE name = 'eu-west-1'")
        .await?;
    let reported = regions(&session).await?;
    let of = |field: &str| {
        reported
            .iter()
            .map(|row| row[field].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("region"), [json!("eu-west-1"), json!(REGION)]);
    let targets = reported.iter().map(|row| &row["settings"]["target_free"]);
    assert_eq!(targets.collect::<Vec<_>>(), [&json!(7), &json!(4)]);
    assert_eq!(of("paused"), [json!(true), json!(false)]);
    assert_eq!(of("waiting"), [json!(0), json!(0)]);
    assert_eq!(of("looked_at"), [json!(null), json!(null)]);
    assert_eq!(of("app_client_sha"), [json!(SHA), json!(SHA)]);
    session
        .run(&format!("SELECT begin_pass('{REGION}', 9)"))
        .await?;
    let reported = regions(&session).await?;
    assert_eq!(reported[1]["fence_version"], 9);
    assert!(reported[1]["looked_at"].is_string(), "{reported:#?}");
    Ok(())
}

#[tokio::test]
async fn instances_are_counted_by_status_and_slots_by_use() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 3).await?;
    session.host("i-2", 2).await?;
    session.assign("alice", "1").await?;
    session.launch(REGION, "i-3", 4).await?;
    session.host("i-4", 5).await?;
    session
        .run("UPDATE instances SET status = 'DRAINING', draining_since = now() WHERE id = 'i-4'")
        .await?;
    session.launch(REGION, "i-5", 6).await?;
    session
        .run("UPDATE instances SET status = 'TERMINATING' WHERE id = 'i-5'")
        .await?;
    let reported = image(&session, "ami-1").await?;
    let expected = json!({
        "region": REGION, "image_id": "ami-1", "client_sha": SHA, "state": "CURRENT",
        "reason": null, "pre_connection": 1, "active": 2, "draining": 1, "terminating": 1,
        "open": 2, "free": 4, "starting": 4, "occupied": 1,
        "state_since": reported["state_since"],
    });
    assert_eq!(reported, expected);
    Ok(())
}

/// `free` counts exactly what can be assigned: a condition that takes an instance out of assigning
/// also takes it out of the count.
#[tokio::test]
async fn free_counts_exactly_what_can_be_assigned() -> Result<()> {
    let changes = [
        (
            "a silent agent",
            "UPDATE heartbeats SET beat_at = now() - interval '91 seconds'",
            0,
        ),
        (
            "a fresh heartbeat",
            "UPDATE heartbeats SET beat_at = now() - interval '80 seconds'",
            2,
        ),
        ("no heartbeat yet", "DELETE FROM heartbeats", 0),
        (
            "an interruption",
            "SELECT give_notice('i-1', 'INTERRUPTION')",
            0,
        ),
        ("a rebalance", "SELECT give_notice('i-1', 'REBALANCE')", 2),
        (
            "draining",
            "UPDATE instances SET status = 'DRAINING', draining_since = now()",
            0,
        ),
    ];
    for (what, sql, slots) in changes {
        let (_database, session) = Database::with_region(0).await?;
        session.host("i-1", 2).await?;
        session
            .run("INSERT INTO heartbeats VALUES ('i-1', now()) ON CONFLICT DO NOTHING")
            .await?;
        assert_eq!(free(&session).await?, 2);
        session.run(sql).await?;
        assert_eq!(free(&session).await?, slots, "{what}");
        let mut given = 0;
        while session
            .assign(&format!("user {given}"), "1")
            .await?
            .outcome()
            == "ASSIGNED"
        {
            given += 1;
        }
        assert_eq!(given, slots, "{what}");
        assert_eq!(free(&session).await?, 0, "{what}: all are given");
    }
    Ok(())
}

#[tokio::test]
async fn waiting_users_are_reported_as_a_number() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for (user, id) in [("alice", "1"), ("alice", "2"), ("bob", "1")] {
        assert_eq!(
            session.assign(user, id).await?.outcome(),
            "NO_INSTANCE_AVAILABLE"
        );
    }
    let reported = regions(&session).await?;
    assert_eq!(reported[0]["waiting"], 2);
    let everything = json!([
        reported,
        session.rows("SELECT * FROM status_images()").await?
    ]);
    for user in ["alice", "bob"] {
        assert!(!everything.to_string().contains(user), "{everything:#}");
    }
    session
        .run("UPDATE waiting_users SET last_at = now() - interval '61 seconds'")
        .await?;
    assert_eq!(regions(&session).await?[0]["waiting"], 0);
    Ok(())
}

#[tokio::test]
async fn only_the_last_three_unused_images_are_reported() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session
        .run(&format!(
            "INSERT INTO images (region, image_id, client_sha, state, reason, state_since)
             SELECT '{REGION}', 'ami-old-' || n, 'sha', CASE WHEN n = 2 THEN 'FAILED' ELSE 'RETIRED' END,
                 CASE WHEN n = 2 THEN 'too late' END, now() - n * interval '1 day'
             FROM generate_series(1, 40) n;
             INSERT INTO images (region, image_id, client_sha, state)
             VALUES ('{REGION}', 'ami-next', 'next', 'WARMING')"
        ))
        .await?;
    session.host("i-2", 1).await?;
    session
        .run("UPDATE instances SET image_id = 'ami-old-30' WHERE id = 'i-2'")
        .await?;
    session.host("i-3", 1).await?;
    session
        .run("UPDATE instances SET image_id = 'ami-gone', client_sha = 'gone' WHERE id = 'i-3'")
        .await?;
    let reported = session.rows("SELECT * FROM status_images()").await?;
    let mut ids: Vec<_> = reported
        .iter()
        .filter_map(|row| row["image_id"].as_str())
        .collect();
    ids.sort_unstable();
    let expected = [
        "ami-1",
        "ami-gone",
        "ami-next",
        "ami-old-1",
        "ami-old-2",
        "ami-old-3",
        "ami-old-30",
    ];
    assert_eq!(ids, expected);
    assert_eq!(image(&session, "ami-old-2").await?["reason"], "too late");
    let gone = image(&session, "ami-gone").await?;
    assert_eq!(
        (&gone["state"], &gone["client_sha"]),
        (&json!(null), &json!("gone"))
    );
    assert_eq!(gone["active"], 1);
    Ok(())
}

#[tokio::test]
async fn status_is_one_request_of_the_administrator_only() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    let engine = Engine::start(&database).await?;
    let query = format!(
        "mutation {{
            status_regions(args: {{environment: \"{ENVIRONMENT}\"}}) {{ region settings }}
            status_images {{ region image_id free }}
        }}"
    );
    let mut answer = engine.admin(&query).await?;
    let settings = answer["data"]["status_regions"][0]["settings"].take();
    assert_eq!(settings["target_free"], 0);
    let expected = json!({"data": {
        "status_regions": [{"region": REGION, "settings": null}],
        "status_images": [{"region": REGION, "image_id": "ami-1", "free": 2}],
    }});
    assert_eq!(answer, expected);
    assert_eq!(
        error_code(&engine.agent("i-1", &query).await?),
        "validation-failed"
    );
    assert_eq!(
        error_code(&engine.anonymous(&query).await?),
        "access-denied"
    );
    assert!(!error_code(&engine.as_role("user", &query).await?).is_empty());
    Ok(())
}

#[tokio::test]
async fn status_functions_change_nothing() -> Result<()> {
    let (_database, session) = Database::with_region(4).await?;
    session.host("i-1", 2).await?;
    session.assign("alice", "1").await?;
    session.run("BEGIN READ ONLY").await?;
    regions(&session).await?;
    session.rows("SELECT * FROM status_images()").await?;
    session.run("COMMIT").await
}

/// 30 regions with 10,000 instances of four slots, years of retired images, and many waiting users.
/// The bound is far above the time on an idle machine: it detects a bad query plan, such as a scan
/// of all slots for each instance.
#[tokio::test]
async fn large_fleet_is_counted_in_time() -> Result<()> {
    let session = Database::empty().await?.connect().await?;
    session
        .run(
            "INSERT INTO regions (name, target_free, max_instances, launch_choices)
                 SELECT 'region-' || r, 40, 1000, '[]' FROM generate_series(1, 30) r;
             INSERT INTO images (region, image_id, client_sha, state)
                 SELECT name, 'ami-1', 'sha', 'CURRENT' FROM regions;
             INSERT INTO images (region, image_id, client_sha, state)
                 SELECT name, 'ami-old-' || n, 'sha', 'RETIRED'
                 FROM regions, generate_series(1, 200) n;
             INSERT INTO instances (id, region, launch_id, image_id, client_sha, instance_type,
                     capacity, ip_addr, launched_at)
                 SELECT 'i-' || n, 'region-' || n % 30 + 1, 'l-' || n, 'ami-1', 'sha', 'm6i.large',
                     4, '10.0.0.1', now() FROM generate_series(1, 10000) n;
             UPDATE instances SET status = 'ACTIVE' WHERE right(id, 1) <> '7';
             INSERT INTO heartbeats SELECT id, now() FROM instances WHERE status = 'ACTIVE'
                 ON CONFLICT DO NOTHING;
             INSERT INTO slots (instance_id, region, user_id, session_id, status)
                 SELECT id, region, CASE WHEN k < 3 THEN id || k END, CASE WHEN k < 3 THEN 's' END,
                     CASE WHEN k < 3 THEN 'RUNNING' ELSE 'WAITING' END
                 FROM instances, generate_series(1, 4) k WHERE status = 'ACTIVE';
             INSERT INTO waiting_users
                     (user_id, session_id, region, client_sha, regions, first_at, last_at)
                 SELECT 'user ' || n, 's', 'region-' || n % 30 + 1, 'sha',
                     ARRAY['region-' || n % 30 + 1], now(), now()
                 FROM generate_series(1, 5000) n",
        )
        .await?;
    let started = Instant::now();
    let reported = regions(&session).await?;
    let images = session.rows("SELECT * FROM status_images()").await?;
    let took = started.elapsed();
    println!(
        "counted 10,000 instances in 30 regions in {} ms",
        took.as_millis()
    );
    assert_eq!(
        (reported.len(), images.len()),
        (30, 120),
        "a row for each region and image reported"
    );
    let sum =
        |rows: &[Value], field: &str| rows.iter().filter_map(|r| r[field].as_i64()).sum::<i64>();
    assert_eq!(sum(&images, "active"), 9000);
    assert_eq!(sum(&images, "open"), 9000);
    assert_eq!(sum(&images, "free"), 18_000);
    assert_eq!(sum(&images, "starting"), 4000);
    assert_eq!(sum(&images, "occupied"), 18_000);
    assert_eq!(sum(&reported, "waiting"), 5000);
    assert!(took.as_secs() < 20, "{took:?}");
    Ok(())
}
