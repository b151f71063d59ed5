//! The functions with which a pass reads and writes.

use anyhow::Result;
use scaling_tests::database::{Database, ENVIRONMENT, IMAGE, REGION, SHA, Session, text};
use serde_json::{Value, json};

fn instance(id: &str) -> Value {
    json!({
        "id": id, "launch_id": "l", "image_id": IMAGE, "client_sha": SHA,
        "instance_type": "t3.large", "capacity": 2, "launched_at": "2020-01-01T00:00:00Z",
    })
}

async fn status(session: &Session, id: &str) -> Result<String> {
    let row = session
        .row(&format!("SELECT status FROM instances WHERE id = '{id}'"))
        .await?;
    Ok(text(&row, "status"))
}

#[tokio::test]
async fn fence_only_rises_and_returns_the_version_in_force() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let begin = async |version: i64| {
        let row = session
            .row(&format!("SELECT * FROM begin_pass('{REGION}', {version})"))
            .await?;
        anyhow::Ok((row["version"].clone(), row["granted"].clone()))
    };
    assert_eq!(begin(5).await?, (json!(5), json!(true)));
    assert_eq!(
        begin(5).await?,
        (json!(5), json!(true)),
        "the same holder again"
    );
    assert_eq!(begin(4).await?, (json!(5), json!(false)));
    assert_eq!(begin(7).await?, (json!(7), json!(true)));
    assert_eq!(begin(6).await?, (json!(7), json!(false)));
    Ok(())
}

#[tokio::test]
async fn every_write_with_an_older_version_is_refused_and_changes_nothing() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session.assign("alice", "1").await?;
    session
        .run("UPDATE slots SET allocated_at = now() - interval '1 day'")
        .await?;
    session.launch(REGION, "i-2", 1).await?;
    session
        .run("UPDATE instances SET status = 'TERMINATING' WHERE id = 'i-2'")
        .await?;
    session
        .row(&format!("SELECT * FROM begin_pass('{REGION}', 9)"))
        .await?;
    session
        .run(&format!(
            "INSERT INTO images (region, image_id, client_sha, state)
             VALUES ('{REGION}', 'ami-2', 'new', 'WARMING')"
        ))
        .await?;
    let state = "SELECT (SELECT jsonb_agg(i ORDER BY i.id) FROM instances i) AS instances,
                        (SELECT jsonb_agg(s ORDER BY s.id) FROM slots s) AS slots,
                        (SELECT jsonb_agg(m ORDER BY m.image_id) FROM images m) AS images";
    let before = session.row(state).await?;
    for call in [
        format!(
            "record_instances('{REGION}', 8, '{}')",
            json!([instance("i-3")])
        ),
        format!(
            "adopt_orphans('{REGION}', 8, '{}')",
            json!([instance("i-3")])
        ),
        format!("drain_instances('{REGION}', 8, '[\"i-1\"]', 'SURPLUS')"),
        format!("terminate_instances('{REGION}', 8, '[\"i-1\"]', 'GONE')"),
        format!("remove_instances('{REGION}', 8, '[\"i-2\"]')"),
        format!("note_missing('{REGION}', 8, '[\"i-1\"]', '[]')"),
        format!("release_unclaimed('{REGION}', 8)"),
        format!("note_forecast('{REGION}', 8, now(), '[]', now())"),
        format!("move_image('{REGION}', 8, 'ami-2', 'WARMING', 'CURRENT', 'warm')"),
    ] {
        assert_eq!(
            session.outcomes(&call).await?,
            [format!("{REGION}=FENCED")],
            "{call}"
        );
    }
    assert_eq!(session.row(state).await?, before);
    Ok(())
}

#[tokio::test]
async fn write_with_a_newer_version_fences_the_older_holder() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session
        .row(&format!("SELECT * FROM begin_pass('{REGION}', 1)"))
        .await?;
    session
        .outcomes(&format!("record_instances('{REGION}', 2, '[]')"))
        .await?;
    let old = session
        .outcomes(&format!("release_unclaimed('{REGION}', 1)"))
        .await?;
    assert_eq!(old, [format!("{REGION}=FENCED")]);
    Ok(())
}

#[tokio::test]
async fn regions_have_fences_of_their_own() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.add_region("eu-west-1", 0).await?;
    session
        .row(&format!("SELECT * FROM begin_pass('{REGION}', 9)"))
        .await?;
    let other = session
        .row("SELECT * FROM begin_pass('eu-west-1', 1)")
        .await?;
    assert_eq!(other["granted"], json!(true));
    Ok(())
}

#[tokio::test]
async fn unknown_region_is_observed_as_no_row() -> Result<()> {
    let (_database, session) = Database::with_region(3).await?;
    let known = session
        .row(&format!(
            "SELECT * FROM observe_region('{REGION}', '{ENVIRONMENT}')"
        ))
        .await?;
    assert_eq!(known["settings"]["target_free"], json!(3));
    assert_eq!(known["app_client_sha"], json!(SHA));
    let elsewhere = session
        .row(&format!("SELECT * FROM observe_region('{REGION}', 'prod')"))
        .await?;
    assert_eq!(elsewhere["app_client_sha"], Value::Null, "no app version");
    assert_eq!(known["waiting"], json!(0));
    assert_eq!(
        session
            .count("SELECT * FROM observe_region('nowhere', 'dev')")
            .await?,
        0
    );
    assert_eq!(
        session
            .count("SELECT * FROM observe_images('nowhere')")
            .await?,
        0
    );
    let images = session
        .rows(&format!("SELECT * FROM observe_images('{REGION}')"))
        .await?;
    assert_eq!(images.len(), 1);
    assert_eq!(text(&images[0], "state"), "CURRENT");
    Ok(())
}

#[tokio::test]
async fn instances_are_observed_in_pages_with_their_slots_counted() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for id in ["i-3", "i-1", "i-2"] {
        session.host(id, 3).await?;
    }
    session.launch(REGION, "i-4", 3).await?;
    for user in ["alice", "bob"] {
        assert_eq!(session.assign(user, "1").await?.instance(), "i-1");
    }
    session
        .run("UPDATE slots SET allocated_at = now() - interval '91 seconds' WHERE user_id = 'bob'")
        .await?;
    let page = async |after: &str, size: i32| {
        session
            .rows(&format!(
                "SELECT * FROM observe_instances('{REGION}', '{after}', {size})"
            ))
            .await
    };
    let first = page("", 2).await?;
    let ids: Vec<_> = first.iter().map(|row| text(row, "id")).collect();
    assert_eq!(ids, ["i-1", "i-2"]);
    assert_eq!(first[0]["slots_waiting"], json!(1));
    assert_eq!(first[0]["slots_occupied"], json!(2));
    assert_eq!(first[0]["slots_unclaimed"], json!(1));
    assert!(first[0]["beat_at"].is_string());
    let rest = page("i-2", 100).await?;
    let ids: Vec<_> = rest.iter().map(|row| text(row, "id")).collect();
    assert_eq!(ids, ["i-3", "i-4"]);
    assert_eq!(rest[1]["beat_at"], Value::Null);
    assert_eq!(rest[1]["slots_waiting"], json!(0));
    assert!(page("i-4", 100).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn recorded_instances_wait_for_their_agents_and_a_repeat_changes_nothing() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let both = json!([instance("i-2"), instance("i-1")]);
    let call = format!("record_instances('{REGION}', 1, '{both}')");
    assert_eq!(session.outcomes(&call).await?, ["i-1=DONE", "i-2=DONE"]);
    assert_eq!(
        session.outcomes(&call).await?,
        ["i-1=ALREADY", "i-2=ALREADY"]
    );
    assert_eq!(status(&session, "i-1").await?, "PRE_CONNECTION");
    let orphans = json!([instance("i-1"), instance("i-9")]);
    let call = format!("adopt_orphans('{REGION}', 1, '{orphans}')");
    assert_eq!(session.outcomes(&call).await?, ["i-1=ALREADY", "i-9=DONE"]);
    assert_eq!(status(&session, "i-1").await?, "PRE_CONNECTION");
    assert_eq!(status(&session, "i-9").await?, "TERMINATING");
    Ok(())
}

#[tokio::test]
async fn only_empty_instances_are_drained() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.add_region("eu-west-1", 0).await?;
    session.host("i-full", 1).await?;
    session.assign("alice", "1").await?;
    session.host("i-empty", 1).await?;
    session.launch(REGION, "i-booting", 1).await?;
    session.launch("eu-west-1", "i-elsewhere", 1).await?;
    session.launch(REGION, "i-leaving", 1).await?;
    session
        .run("UPDATE instances SET status = 'TERMINATING' WHERE id = 'i-leaving'")
        .await?;
    let ids = json!([
        "i-full",
        "i-empty",
        "i-booting",
        "i-elsewhere",
        "i-leaving",
        "i-none",
        "i-none"
    ]);
    let call = format!("drain_instances('{REGION}', 1, '{ids}', 'SURPLUS')");
    let expected = [
        "i-booting=DONE",
        "i-elsewhere=UNKNOWN",
        "i-empty=DONE",
        "i-full=OCCUPIED",
        "i-leaving=WRONG_STATE",
        "i-none=UNKNOWN",
    ];
    assert_eq!(session.outcomes(&call).await?, expected);
    let drained = "SELECT FROM instances WHERE status = 'DRAINING' AND draining_since IS NOT NULL";
    assert_eq!(session.count(drained).await?, 2);
    let again = format!("drain_instances('{REGION}', 1, '[\"i-empty\"]', 'SURPLUS')");
    assert_eq!(session.outcomes(&again).await?, ["i-empty=ALREADY"]);
    Ok(())
}

#[tokio::test]
async fn instances_are_terminated_when_empty_lost_or_gone() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let terminate = async |id: &str, reason: &str| {
        let call = format!("terminate_instances('{REGION}', 1, '[\"{id}\"]', '{reason}')");
        anyhow::Ok(session.outcomes(&call).await?.concat())
    };
    session.set_watched_for_an_hour().await?;
    for id in ["i-1", "i-2", "i-3", "i-4", "i-5"] {
        session.host(id, 1).await?;
    }
    session.launch(REGION, "i-booting", 1).await?;
    for (user, id) in [("alice", "i-1"), ("bob", "i-2"), ("carol", "i-3")] {
        assert_eq!(session.assign(user, "1").await?.instance(), id);
    }
    assert_eq!(terminate("i-1", "EMPTY").await?, "i-1=OCCUPIED");
    assert_eq!(terminate("i-1", "LOST").await?, "i-1=ALIVE");
    session
        .run(
            "UPDATE heartbeats SET beat_at = now() - interval '601 seconds'
                 WHERE instance_id = 'i-1'",
        )
        .await?;
    assert_eq!(terminate("i-1", "LOST").await?, "i-1=DONE");
    assert_eq!(terminate("i-1", "LOST").await?, "i-1=ALREADY");
    assert_eq!(terminate("i-2", "GONE").await?, "i-2=DONE");
    assert_eq!(
        terminate("i-4", "EMPTY").await?,
        "i-4=WRONG_STATE",
        "it leaves by draining"
    );
    assert_eq!(terminate("i-booting", "EMPTY").await?, "i-booting=DONE");
    assert_eq!(
        terminate("i-5", "MISSING").await?,
        "i-5=ALIVE",
        "it sends heartbeats"
    );
    session
        .run(
            "UPDATE heartbeats SET beat_at = now() - interval '91 seconds'
                 WHERE instance_id = 'i-5'",
        )
        .await?;
    assert_eq!(terminate("i-5", "MISSING").await?, "i-5=DONE");
    assert_eq!(terminate("i-6", "GONE").await?, "i-6=UNKNOWN");
    let error = terminate("i-3", "BORED").await.unwrap_err();
    assert!(
        format!("{error:#?}").contains("EMPTY, DEADLINE, LOST, MISSING or GONE"),
        "{error:#?}"
    );
    Ok(())
}

#[tokio::test]
async fn instance_without_any_heartbeat_is_lost_counted_from_its_launch() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.set_watched_for_an_hour().await?;
    session.launch(REGION, "i-1", 1).await?;
    session.launch(REGION, "i-2", 1).await?;
    session
        .run("UPDATE instances SET launched_at = now() WHERE id = 'i-2'")
        .await?;
    let call = format!("terminate_instances('{REGION}', 1, '[\"i-1\", \"i-2\"]', 'LOST')");
    assert_eq!(session.outcomes(&call).await?, ["i-1=DONE", "i-2=ALIVE"]);
    Ok(())
}

#[tokio::test]
async fn no_instance_is_lost_right_after_a_gap_without_passes() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session
        .run("UPDATE heartbeats SET beat_at = now() - interval '1 hour'")
        .await?;
    let begin = format!("SELECT * FROM begin_pass('{REGION}', 1)");
    let since = format!(
        "SELECT now() - watched_since < interval '1 minute' AS anew,
                now() - watched_since > interval '9 minutes' AS long
         FROM observe_region('{REGION}', '{ENVIRONMENT}')"
    );
    let terminate = format!("terminate_instances('{REGION}', 1, '[\"i-1\"]', 'LOST')");
    session.row(&begin).await?;
    assert_eq!(session.row(&since).await?["anew"], json!(true));
    assert_eq!(session.outcomes(&terminate).await?, ["i-1=ALIVE"]);

    // Passes have run since: the grace period of the gap is over.
    session
        .run("UPDATE region_fences SET watched_since = now() - interval '601 seconds'")
        .await?;
    session.row(&begin).await?;
    assert_eq!(session.row(&since).await?["long"], json!(true));

    // The database was down for half of the time after which an agent is lost.
    session
        .run("UPDATE region_fences SET last_pass_at = now() - interval '301 seconds'")
        .await?;
    assert_eq!(
        session.row(&since).await?["anew"],
        json!(true),
        "a dry run sees it, too"
    );
    session.row(&begin).await?;
    assert_eq!(session.outcomes(&terminate).await?, ["i-1=ALIVE"]);
    Ok(())
}

#[tokio::test]
async fn pass_before_its_regions_row_does_not_block_later_passes() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session
        .row("SELECT * FROM begin_pass('eu-west-1', 1)")
        .await?;
    session.add_region("eu-west-1", 0).await?;
    session
        .row("SELECT * FROM begin_pass('eu-west-1', 2)")
        .await?;
    let since =
        "SELECT watched_since IS NOT NULL AS has_start FROM observe_region('eu-west-1', 'dev')";
    assert_eq!(session.row(since).await?["has_start"], json!(true));
    Ok(())
}

#[tokio::test]
async fn heartbeat_after_a_silence_records_its_time() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let resumed = "SELECT FROM heartbeats WHERE resumed_at IS NOT NULL";
    assert_eq!(session.count(resumed).await?, 0);
    session
        .run("UPDATE heartbeats SET beat_at = now() - interval '91 seconds'")
        .await?;
    session.run("SELECT internal.beat('i-1')").await?;
    assert_eq!(session.count(resumed).await?, 1);
    Ok(())
}

#[tokio::test]
async fn users_of_a_lost_instance_are_assigned_again() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let lost = session.assign("alice", "1").await?;
    session.host("i-2", 1).await?;
    session
        .outcomes(&format!(
            "terminate_instances('{REGION}', 1, '[\"i-1\"]', 'GONE')"
        ))
        .await?;
    let anew = session.assign("alice", "1").await?;
    assert_eq!(
        (anew.outcome(), anew.instance()),
        ("ASSIGNED".into(), "i-2".into())
    );
    assert_ne!(anew.slot(), lost.slot());
    Ok(())
}

#[tokio::test]
async fn only_terminating_instances_are_removed_with_their_rows() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    session.host("i-2", 2).await?;
    session
        .outcomes(&format!(
            "terminate_instances('{REGION}', 1, '[\"i-1\"]', 'GONE')"
        ))
        .await?;
    let call = format!("remove_instances('{REGION}', 1, '[\"i-1\", \"i-2\", \"i-3\"]')");
    let expected = ["i-1=DONE", "i-2=WRONG_STATE", "i-3=UNKNOWN"];
    assert_eq!(session.outcomes(&call).await?, expected);
    assert_eq!(session.count("SELECT FROM slots").await?, 2);
    assert_eq!(session.count("SELECT FROM heartbeats").await?, 1);
    Ok(())
}

#[tokio::test]
async fn missing_is_recorded_once_and_cleared_when_listed_again() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for id in ["i-1", "i-2", "i-3"] {
        session.host(id, 1).await?;
    }
    let note = async |missing: Value, present: Value| {
        session
            .outcomes(&format!(
                "note_missing('{REGION}', 1, '{missing}', '{present}')"
            ))
            .await
    };
    let since = async || {
        session
            .rows("SELECT id, missing_since FROM instances ORDER BY id")
            .await
    };
    let outcomes = note(json!(["i-1", "i-2", "i-9"]), json!(["i-3"])).await?;
    assert_eq!(
        outcomes,
        ["i-1=DONE", "i-2=DONE", "i-3=ALREADY", "i-9=UNKNOWN"]
    );
    let first = since().await?;
    let outcomes = note(json!(["i-1", "i-2"]), json!(["i-2"])).await?;
    assert_eq!(
        outcomes,
        ["i-1=ALREADY", "i-2=DONE"],
        "what was seen is not missing"
    );
    let second = since().await?;
    assert_eq!(
        second[0], first[0],
        "since the first time that it was missing"
    );
    assert_eq!(second[1]["missing_since"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn unclaimed_slots_are_free_again() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 3).await?;
    let unclaimed = session.assign("alice", "1").await?;
    session
        .run(
            "UPDATE slots SET allocated_at = now() - interval '91 seconds'
                 WHERE user_id = 'alice'",
        )
        .await?;
    session.assign("bob", "1").await?;
    let released = session
        .outcomes(&format!("release_unclaimed('{REGION}', 1)"))
        .await?;
    assert_eq!(released, [format!("{}=DONE", unclaimed.slot())]);
    let free = "SELECT FROM slots WHERE status = 'WAITING' AND user_id IS NULL
                AND session_id IS NULL AND allocated_at IS NULL";
    assert_eq!(session.count(free).await?, 2);
    assert!(
        session
            .outcomes(&format!("release_unclaimed('{REGION}', 1)"))
            .await?
            .is_empty()
    );
    Ok(())
}

#[tokio::test]
async fn pass_deletes_old_wakeups_and_refusals_of_its_region() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.add_region("eu-west-1", 0).await?;
    for region in [REGION, "eu-west-1"] {
        session
            .run(&format!(
                "INSERT INTO region_wakeups VALUES ('{region}', now() - interval '61 minutes'),
                     ('{region}', now());
                 INSERT INTO waiting_users
                     (user_id, session_id, region, client_sha, regions, first_at, last_at)
                 VALUES ('old', '1', '{region}', 'sha', '{{}}', now(), now() - interval '16 seconds'),
                        ('new', '1', '{region}', 'sha', '{{}}', now(), now())"
            ))
            .await?;
    }
    session
        .row(&format!("SELECT * FROM begin_pass('{REGION}', 1)"))
        .await?;
    assert_eq!(session.count("SELECT FROM region_wakeups").await?, 3);
    assert_eq!(session.count("SELECT FROM waiting_users").await?, 3);
    Ok(())
}
