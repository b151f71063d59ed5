//! Assigning slots to one user, one request after the other.

use anyhow::Result;
use scaling_tests::database::{
    Database, ENVIRONMENT, IMAGE, REGION, SHA, Session, SlotRequest, text,
};
use serde_json::{Value, json};

async fn retire_and_serve(session: &Session, state: &str, sha: &str) -> Result<()> {
    session
        .run(&format!(
            "INSERT INTO images (region, image_id, client_sha, state)
             VALUES ('{REGION}', 'ami-{sha}', '{sha}', '{state}')"
        ))
        .await
}

async fn wakeups(session: &Session) -> Result<i64> {
    session.count("SELECT FROM region_wakeups").await
}

#[tokio::test]
async fn assigned_slot_has_everything_that_the_client_needs() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let assigned = session.assign("alice", "7").await?;
    assert_eq!(assigned.outcome(), "ASSIGNED");
    let slot = session.row("SELECT * FROM slots").await?;
    assert_eq!(text(&slot, "id"), assigned.slot());
    assert_eq!(text(&slot, "status"), "ALLOCATED");
    assert_eq!(text(&slot, "user_id"), "alice");
    assert_eq!(text(&slot, "session_id"), "7");
    assert!(slot["allocated_at"].is_string());
    let mut rest = assigned.0;
    rest["slot_id"] = Value::Null;
    let expected = json!({
        "outcome": "ASSIGNED", "slot_id": null, "ip_addr": "10.0.0.1", "region": REGION,
        "instance_id": "i-1", "app_version": null, "app_client_sha": null,
        "nearest": REGION, "waited_seconds": 0, "place": null, "estimate_seconds": null,
        "line_seconds": null, "held": null,
    });
    assert_eq!(rest, expected);
    Ok(())
}

#[tokio::test]
async fn repeated_request_gets_the_same_slot_with_a_new_time_to_claim_it() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 3).await?;
    let first = session.assign("alice", "1").await?;
    session
        .run(
            "UPDATE slots SET allocated_at = now() - interval '89 seconds'
                 WHERE status = 'ALLOCATED'",
        )
        .await?;
    let second = session.assign("alice", "1").await?;
    assert_eq!(second.outcome(), "ALREADY_ASSIGNED");
    assert_eq!(
        (second.slot(), second.instance()),
        (first.slot(), first.instance())
    );
    let renewed = "SELECT FROM slots WHERE allocated_at > now() - interval '60 seconds'";
    assert_eq!(session.count(renewed).await?, 1);

    session
        .run("UPDATE slots SET status = 'RUNNING' WHERE user_id = 'alice'")
        .await?;
    let running = session.assign("alice", "1").await?;
    assert_eq!(
        (running.outcome(), running.slot()),
        ("ALREADY_ASSIGNED".into(), first.slot())
    );
    assert_eq!(
        text(
            &session
                .row("SELECT * FROM slots WHERE user_id = 'alice'")
                .await?,
            "status"
        ),
        "RUNNING"
    );
    Ok(())
}

#[tokio::test]
async fn repeated_request_is_answered_at_the_limit_and_without_capacity() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let mut ask = SlotRequest::new("alice", "1");
    ask.limit = 1;
    let first = session.request_slot(&ask).await?;
    session.run("UPDATE regions SET enabled = false").await?;
    assert_eq!(session.request_slot(&ask).await?.slot(), first.slot());
    Ok(())
}

#[tokio::test]
async fn user_over_the_limit_is_refused_and_dying_sessions_do_not_count() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 9).await?;
    for number in ["1", "2", "3"] {
        assert_eq!(session.assign("alice", number).await?.outcome(), "ASSIGNED");
    }
    let refused = session.assign("alice", "4").await?;
    assert_eq!(
        (refused.outcome(), refused.slot()),
        ("USER_ALREADY_ACTIVE".into(), "".into())
    );
    assert_eq!(session.assign("bob", "4").await?.outcome(), "ASSIGNED");
    session
        .run("UPDATE slots SET status = 'DYING' WHERE session_id = '2'")
        .await?;
    assert_eq!(session.assign("alice", "4").await?.outcome(), "ASSIGNED");
    Ok(())
}

#[tokio::test]
async fn ended_session_can_be_requested_again() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    let first = session.assign("alice", "1").await?;
    session
        .run("UPDATE slots SET status = 'DYING' WHERE user_id = 'alice'")
        .await?;
    let second = session.assign("alice", "1").await?;
    assert_eq!(second.outcome(), "ASSIGNED");
    assert_ne!(second.slot(), first.slot());
    Ok(())
}

#[tokio::test]
async fn refusals_have_a_precedence() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let mut ask = SlotRequest::new("alice", "1");
    assert_eq!(
        session.request_slot(&ask).await?.outcome(),
        "NO_INSTANCE_AVAILABLE"
    );
    ask.sha = "other".to_owned();
    assert_eq!(
        session.request_slot(&ask).await?.outcome(),
        "COMMIT_HASH_MISMATCH"
    );
    ask.regions = vec!["nowhere".to_owned()];
    assert_eq!(
        session.request_slot(&ask).await?.outcome(),
        "REGION_NOT_ENABLED"
    );
    ask.regions = Vec::new();
    assert_eq!(
        session.request_slot(&ask).await?.outcome(),
        "REGION_NOT_ENABLED"
    );
    ask.limit = 0;
    assert_eq!(
        session.request_slot(&ask).await?.outcome(),
        "USER_ALREADY_ACTIVE"
    );
    Ok(())
}

#[tokio::test]
async fn disabled_region_serves_no_user_and_a_paused_one_does() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session
        .run("UPDATE regions SET enabled = false, paused = true")
        .await?;
    assert_eq!(
        session.assign("alice", "1").await?.outcome(),
        "REGION_NOT_ENABLED"
    );
    session.run("UPDATE regions SET enabled = true").await?;
    assert_eq!(session.assign("alice", "1").await?.outcome(), "ASSIGNED");
    Ok(())
}

#[tokio::test]
async fn regions_are_tried_in_the_requested_order() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for region in ["eu-west-1", "ap-south-1"] {
        session.add_region(region, 0).await?;
        let id = format!("i-{region}");
        session.launch(region, &id, 1).await?;
        session.register(&id).await?;
    }
    session.host("i-1", 1).await?;
    let mut ask = SlotRequest::new("", "1");
    ask.regions = ["nowhere", "eu-west-1", REGION, "eu-west-1"]
        .map(str::to_owned)
        .to_vec();
    for (user, instance) in [("alice", "i-eu-west-1"), ("bob", "i-1"), ("carol", "")] {
        ask.user = user.to_owned();
        assert_eq!(session.request_slot(&ask).await?.instance(), instance);
    }
    Ok(())
}

#[tokio::test]
async fn fullest_instance_is_filled_first_and_then_the_lowest_id() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for (id, capacity) in [("i-1", 3), ("i-2", 2), ("i-3", 3), ("i-4", 2)] {
        session.host(id, capacity).await?;
    }
    let mut order = Vec::new();
    for user in 0..10 {
        order.push(
            session
                .assign(&format!("user-{user}"), "1")
                .await?
                .instance(),
        );
    }
    let expected = [
        "i-2", "i-2", "i-4", "i-4", "i-1", "i-1", "i-1", "i-3", "i-3", "i-3",
    ];
    assert_eq!(order, expected);
    Ok(())
}

#[tokio::test]
async fn packing_counts_free_slots_not_occupied_ones() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 4).await?;
    session.host("i-2", 9).await?;
    session
        .run(
            "UPDATE slots SET status = 'RUNNING', user_id = id::text, session_id = '1'
                 WHERE id IN (SELECT id FROM slots WHERE instance_id = 'i-2' LIMIT 6)",
        )
        .await?;
    assert_eq!(session.assign("alice", "1").await?.instance(), "i-2");
    Ok(())
}

#[tokio::test]
async fn instances_beyond_the_first_ranking_are_all_used() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    // The first few hundred have free slots but cannot be assigned.
    session
        .run(&format!(
            "INSERT INTO instances (id, region, launch_id, image_id, client_sha, instance_type,
                 capacity, ip_addr, status, launched_at)
             SELECT format('i-%s', lpad(n::text, 4, '0')), '{REGION}', 'l', '{IMAGE}', '{SHA}',
                 't', 1, '10.0.0.1', 'ACTIVE', now() FROM generate_series(1, 450) n;
             INSERT INTO slots (instance_id) SELECT id FROM instances;
             INSERT INTO heartbeats SELECT id, now() FROM instances WHERE id >= 'i-0449'"
        ))
        .await?;
    assert_eq!(session.assign("alice", "1").await?.instance(), "i-0449");
    assert_eq!(session.assign("bob", "1").await?.instance(), "i-0450");
    assert_eq!(
        session.assign("carol", "1").await?.outcome(),
        "NO_INSTANCE_AVAILABLE"
    );
    Ok(())
}

#[tokio::test]
async fn only_active_instances_with_fresh_heartbeats_on_served_images_get_users() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.launch(REGION, "i-booting", 1).await?;
    session.host("i-1", 1).await?;
    let refused = async |why: &str| {
        let outcome = session.assign("alice", "1").await?.outcome();
        assert_eq!(outcome, "NO_INSTANCE_AVAILABLE", "{why}");
        anyhow::Ok(())
    };
    session
        .run("UPDATE heartbeats SET beat_at = now() - interval '91 seconds'")
        .await?;
    refused("silent").await?;
    session
        .run("UPDATE heartbeats SET beat_at = now() - interval '89 seconds'")
        .await?;
    session
        .run("UPDATE instances SET image_id = 'ami-of-nobody' WHERE id = 'i-1'")
        .await?;
    refused("on an image that is not served").await?;
    session
        .run(&format!(
            "UPDATE instances SET image_id = '{IMAGE}' WHERE id = 'i-1'"
        ))
        .await?;
    session
        .run("UPDATE instances SET status = 'DRAINING' WHERE id = 'i-1'")
        .await?;
    refused("draining").await?;
    session.host("i-2", 1).await?;
    assert_eq!(session.assign("alice", "1").await?.instance(), "i-2");
    Ok(())
}

#[tokio::test]
async fn current_and_baking_images_are_served_each_to_its_own_clients() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for (state, sha) in [("BAKING", "old"), ("WARMING", "new"), ("RETIRED", "older")] {
        retire_and_serve(&session, state, sha).await?;
        let id = format!("i-{sha}");
        session.host(&id, 1).await?;
        session
            .run(&format!(
                "UPDATE instances SET image_id = 'ami-{sha}' WHERE id = '{id}'"
            ))
            .await?;
    }
    session.host("i-current", 1).await?;
    let mut ask = SlotRequest::new("alice", "1");
    ask.sha = "new".to_owned();
    assert_eq!(
        session.request_slot(&ask).await?.outcome(),
        "COMMIT_HASH_MISMATCH"
    );
    ask.sha = "older".to_owned();
    assert_eq!(
        session.request_slot(&ask).await?.outcome(),
        "COMMIT_HASH_MISMATCH"
    );
    ask.sha = "old".to_owned();
    assert_eq!(session.request_slot(&ask).await?.instance(), "i-old");
    ask.user = "bob".to_owned();
    assert_eq!(
        session.request_slot(&ask).await?.outcome(),
        "NO_INSTANCE_AVAILABLE"
    );
    assert_eq!(session.assign("bob", "1").await?.instance(), "i-current");
    Ok(())
}

#[tokio::test]
async fn developer_gets_the_current_image_with_any_hash() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    retire_and_serve(&session, "BAKING", "old").await?;
    session.host("i-old", 1).await?;
    session
        .run("UPDATE instances SET image_id = 'ami-old'")
        .await?;
    session.host("i-current", 1).await?;
    let mut ask = SlotRequest::new("alice", "1");
    ask.sha = "local_dev".to_owned();
    ask.local_dev = true;
    assert_eq!(session.request_slot(&ask).await?.instance(), "i-current");
    ask.user = "bob".to_owned();
    assert_eq!(
        session.request_slot(&ask).await?.outcome(),
        "NO_INSTANCE_AVAILABLE"
    );
    Ok(())
}

#[tokio::test]
async fn null_hash_is_not_a_developers() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let call = format!(
        "SELECT * FROM assign_slot('alice', '1', '[\"{REGION}\"]', NULL, 3, '{ENVIRONMENT}', NULL)"
    );
    assert_eq!(
        text(&session.row(&call).await?, "outcome"),
        "COMMIT_HASH_MISMATCH"
    );
    Ok(())
}

#[tokio::test]
async fn empty_user_or_session_is_an_error_that_names_it() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for (user, number) in [("", "1"), ("alice", "")] {
        let error = session.assign(user, number).await.unwrap_err();
        assert!(
            format!("{error:#?}").contains("must not be empty"),
            "{error:#?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn refused_user_waits_until_assigned() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let waiting = async || {
        session
            .row(&format!(
                "SELECT waiting FROM observe_region('{REGION}', '{ENVIRONMENT}')"
            ))
            .await
    };
    session.assign("alice", "1").await?;
    session
        .run(
            "UPDATE waiting_users SET first_at = first_at - interval '1 day',
                     last_at = last_at - interval '61 seconds'",
        )
        .await?;
    assert_eq!(waiting().await?["waiting"], json!(0), "she has left");
    let has_place_of_yesterday = async || {
        session.assign("alice", "1").await?;
        let row = session
            .row("SELECT last_at - first_at > interval '1 hour' AS kept FROM waiting_users")
            .await?;
        anyhow::Ok(row["kept"] == json!(true))
    };
    assert!(!has_place_of_yesterday().await?);
    assert_eq!(waiting().await?["waiting"], json!(1));
    session
        .run(
            "UPDATE waiting_users SET first_at = first_at - interval '1 day',
                     last_at = last_at - interval '14 seconds'",
        )
        .await?;
    assert!(has_place_of_yesterday().await?, "she still asks");
    session.assign("alice", "2").await?;
    session.assign("bob", "1").await?;
    let users = json!(2);
    assert_eq!(waiting().await?["waiting"], users, "users, not requests");
    session.host("i-1", 1).await?;
    assert_eq!(session.assign("alice", "1").await?.outcome(), "ASSIGNED");
    assert_eq!(
        waiting().await?["waiting"],
        json!(1),
        "no session of hers waits"
    );
    Ok(())
}

#[tokio::test]
async fn refusals_other_than_for_capacity_are_not_demand() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let mut ask = SlotRequest::new("alice", "1");
    ask.sha = "other".to_owned();
    session.request_slot(&ask).await?;
    ask.limit = 0;
    session.request_slot(&ask).await?;
    assert_eq!(session.count("SELECT FROM waiting_users").await?, 0);
    assert_eq!(wakeups(&session).await?, 0);
    Ok(())
}

#[tokio::test]
async fn region_is_woken_when_its_free_slots_fall_below_target() -> Result<()> {
    let (_database, session) = Database::with_region(2).await?;
    session.host("i-1", 4).await?;
    session.assign("alice", "1").await?;
    session.assign("bob", "1").await?;
    assert_eq!(
        wakeups(&session).await?,
        0,
        "two are free, as they should be"
    );
    session.assign("carol", "1").await?;
    assert_eq!(wakeups(&session).await?, 1);
    Ok(())
}

#[tokio::test]
async fn slots_that_cannot_be_assigned_do_not_count_as_free() -> Result<()> {
    let (_database, session) = Database::with_region(1).await?;
    session.host("i-1", 2).await?;
    session.host("i-2", 9).await?;
    session
        .run("UPDATE instances SET image_id = 'ami-of-nobody' WHERE id = 'i-2'")
        .await?;
    session.host("i-3", 9).await?;
    session.host("i-4", 9).await?;
    session
        .run(
            "UPDATE instances SET status = 'DRAINING' WHERE id = 'i-3';
             UPDATE instances SET notice = 'INTERRUPTION' WHERE id = 'i-4'",
        )
        .await?;
    session.assign("alice", "1").await?;
    assert_eq!(wakeups(&session).await?, 0);
    session.assign("bob", "1").await?;
    assert_eq!(wakeups(&session).await?, 1);
    Ok(())
}

#[tokio::test]
async fn refusal_for_lack_of_capacity_wakes_the_first_requested_region() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.add_region("eu-west-1", 0).await?;
    let mut ask = SlotRequest::new("alice", "1");
    ask.regions = vec!["eu-west-1".to_owned(), REGION.to_owned()];
    session.request_slot(&ask).await?;
    let row = session.row("SELECT region FROM region_wakeups").await?;
    assert_eq!(text(&row, "region"), "eu-west-1");
    let lines = session
        .rows("SELECT region FROM waiting_users ORDER BY region")
        .await?;
    let lines: Vec<_> = lines.iter().map(|row| text(row, "region")).collect();
    assert_eq!(lines, ["eu-west-1", REGION], "in line in both");
    Ok(())
}

/// Makes an instance silent: its last heartbeat is older than heartbeat_seconds.
async fn silence(session: &Session, id: &str) -> Result<()> {
    session
        .run(&format!(
            "UPDATE heartbeats SET beat_at = now() - interval '91 seconds'
             WHERE instance_id = '{id}'"
        ))
        .await
}

#[tokio::test]
async fn unclaimed_slot_on_an_instance_that_takes_no_users_is_replaced_at_once() -> Result<()> {
    for closed in [
        "UPDATE heartbeats SET beat_at = now() - interval '91 seconds' WHERE instance_id = 'i-1'",
        "UPDATE instances SET status = 'DRAINING' WHERE id = 'i-1'",
        "UPDATE instances SET status = 'TERMINATING' WHERE id = 'i-1'",
        "UPDATE instances SET notice = 'INTERRUPTION' WHERE id = 'i-1'",
    ] {
        let (_database, session) = Database::with_region(0).await?;
        session.host("i-1", 1).await?;
        let mut ask = SlotRequest::new("alice", "1");
        // The slot that is replaced does not count towards the limit.
        ask.limit = 1;
        let first = session.request_slot(&ask).await?;
        assert_eq!(first.instance(), "i-1");
        session.host("i-2", 1).await?;
        session.run(closed).await?;
        let second = session.request_slot(&ask).await?;
        let got = (second.outcome(), second.instance());
        assert_eq!(got, ("ASSIGNED".into(), "i-2".into()), "{closed}");
        let free = session
            .row("SELECT * FROM slots WHERE instance_id = 'i-1'")
            .await?;
        assert_eq!(text(&free, "status"), "WAITING", "{closed}");
        assert_eq!(free["user_id"], Value::Null);
        assert_eq!(session.request_slot(&ask).await?.slot(), second.slot());
    }
    Ok(())
}

#[tokio::test]
async fn claimed_slot_on_a_silent_instance_is_kept() -> Result<()> {
    for status in ["CONNECTING", "RUNNING"] {
        let (_database, session) = Database::with_region(0).await?;
        session.host("i-1", 1).await?;
        let first = session.assign("alice", "1").await?;
        session
            .run(&format!("UPDATE slots SET status = '{status}'"))
            .await?;
        session.host("i-2", 1).await?;
        silence(&session, "i-1").await?;
        let second = session.assign("alice", "1").await?;
        let got = (second.outcome(), second.slot());
        assert_eq!(got, ("ALREADY_ASSIGNED".into(), first.slot()), "{status}");
    }
    Ok(())
}

#[tokio::test]
async fn without_another_slot_the_user_stays_on_a_living_instance_and_leaves_a_silent_one()
-> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let first = session.assign("alice", "1").await?;
    session
        .run("UPDATE instances SET status = 'DRAINING' WHERE id = 'i-1'")
        .await?;
    let kept = session.assign("alice", "1").await?;
    assert_eq!(
        (kept.outcome(), kept.slot()),
        ("ALREADY_ASSIGNED".into(), first.slot())
    );
    assert_eq!(session.count("SELECT FROM waiting_users").await?, 0);
    // Whatever else the request would be refused for.
    session.run("UPDATE regions SET enabled = false").await?;
    assert_eq!(session.assign("alice", "1").await?.slot(), first.slot());
    session.run("UPDATE regions SET enabled = true").await?;

    silence(&session, "i-1").await?;
    let refused = session.assign("alice", "1").await?;
    assert_eq!(refused.outcome(), "NO_INSTANCE_AVAILABLE");
    let held = "SELECT FROM slots WHERE user_id = 'alice'";
    assert_eq!(session.count(held).await?, 0);
    assert_eq!(session.count("SELECT FROM waiting_users").await?, 1);
    Ok(())
}

#[tokio::test]
async fn region_without_a_served_image_is_told_apart_from_another_clients_image() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let mut ask = SlotRequest::new("alice", "1");
    ask.sha = "other".to_owned();
    session.run("UPDATE images SET state = 'RETIRED'").await?;
    assert_eq!(
        session.request_slot(&ask).await?.outcome(),
        "NO_IMAGE_SERVED"
    );
    ask.local_dev = true;
    assert_eq!(
        session.request_slot(&ask).await?.outcome(),
        "NO_IMAGE_SERVED"
    );
    // Another of the requested regions serves other clients: this client may be outdated.
    ask.local_dev = false;
    session.add_region("eu-west-1", 0).await?;
    ask.regions = [REGION, "eu-west-1"].map(str::to_owned).to_vec();
    assert_eq!(
        session.request_slot(&ask).await?.outcome(),
        "COMMIT_HASH_MISMATCH"
    );
    session
        .run("UPDATE regions SET enabled = false WHERE name = 'eu-west-1'")
        .await?;
    assert_eq!(
        session.request_slot(&ask).await?.outcome(),
        "NO_IMAGE_SERVED"
    );
    Ok(())
}

#[tokio::test]
async fn nearest_region_is_the_first_that_is_enabled() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.add_region("eu-west-1", 0).await?;
    session.host("i-1", 1).await?;
    let mut ask = SlotRequest::new("alice", "1");
    ask.regions = ["nowhere", "eu-west-1", REGION].map(str::to_owned).to_vec();
    session
        .run("UPDATE regions SET enabled = false WHERE name = 'eu-west-1'")
        .await?;
    assert_eq!(
        text(&session.request_slot(&ask).await?.0, "nearest"),
        REGION
    );
    session.run("UPDATE regions SET enabled = true").await?;
    let nearest = session.request_slot(&ask).await?.0;
    assert_eq!(text(&nearest, "nearest"), "eu-west-1");
    Ok(())
}
