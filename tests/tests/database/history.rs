//! The history of sessions and instances: one row for each that ended, with its times and the reason.

use anyhow::{Context as _, Result, ensure};
use scaling_tests::database::{Assigned, Database, REGION, Session, claims_of, text};
use scaling_tests::graphql::Engine;
use serde_json::{Value, json};

/// The only row of a user's session in the history.
async fn ended(session: &Session, user: &str) -> Result<Value> {
    session
        .row(&format!(
            "SELECT * FROM session_history WHERE user_id = '{user}'"
        ))
        .await
}

/// The reasons of a user's rows, with the details, in the order of their ends.
async fn reasons(session: &Session, user: &str) -> Result<Vec<String>> {
    let rows = session
        .rows(&format!(
            "SELECT concat_ws(' ', end_reason, end_detail) AS reason FROM session_history
             WHERE user_id = '{user}' ORDER BY ended_at"
        ))
        .await?;
    Ok(rows.iter().map(|row| text(row, "reason")).collect())
}

async fn report_end(session: &Session, of: &Assigned) -> Result<()> {
    let (slot, claims) = (of.slot(), claims_of(&of.instance()));
    let call = format!("report_slot('{slot}', 'DYING', '{claims}')");
    ensure!(session.outcome(&call).await? == "REPORTED");
    Ok(())
}

async fn terminate(session: &Session, id: &str, reason: &str) -> Result<()> {
    let call = format!("terminate_instances('{REGION}', 1, '[\"{id}\"]', '{reason}')");
    let outcomes = session.outcomes(&call).await?;
    ensure!(outcomes == [format!("{id}=DONE")], "{outcomes:?}");
    Ok(())
}

async fn remove(session: &Session, id: &str) -> Result<()> {
    let call = format!("remove_instances('{REGION}', 1, '[\"{id}\"]')");
    let outcomes = session.outcomes(&call).await?;
    ensure!(outcomes == [format!("{id}=DONE")], "{outcomes:?}");
    Ok(())
}

/// All of an instance's heartbeats are this old.
async fn silent_for(session: &Session, id: &str, seconds: u32) -> Result<()> {
    session
        .run(&format!(
            "UPDATE heartbeats SET beat_at = now() - interval '{seconds} seconds'
             WHERE instance_id = '{id}'"
        ))
        .await
}

#[tokio::test]
async fn session_has_one_row_with_its_times_once_its_agent_ended_it() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let assigned = session.assign_running("ann").await?;
    assert_eq!(session.count("SELECT FROM session_history").await?, 0);
    let current = session.row("SELECT * FROM sessions").await?;
    assert_eq!(current["ended_at"], Value::Null);
    report_end(&session, &assigned).await?;
    // The agent reports it again, and replaces the slot.
    report_end(&session, &assigned).await?;
    let replace = format!(
        "replace_slot('{}', '{}')",
        assigned.slot(),
        claims_of("i-1")
    );
    assert_eq!(session.outcome(&replace).await?, "REPLACED");

    let row = ended(&session, "ann").await?;
    let texts = [
        "session_id",
        "region",
        "instance_id",
        "image_id",
        "instance_type",
        "end_reason",
    ];
    let found: Vec<_> = texts.iter().map(|column| text(&row, column)).collect();
    assert_eq!(found, ["1", REGION, "i-1", "ami-1", "t3.large", "AGENT"]);
    assert_eq!(row["waited_seconds"], 0);
    for column in ["requested_at", "assigned_at", "connected_at", "running_at"] {
        assert_eq!(row[column], current[column], "{column}: as while it lasted");
    }
    let order = "SELECT FROM session_history WHERE requested_at <= assigned_at
        AND assigned_at <= connected_at AND connected_at <= running_at AND running_at <= ended_at";
    assert_eq!(session.count(order).await?, 1, "{row}");
    assert_eq!(session.rows("SELECT * FROM sessions").await?, [row]);
    Ok(())
}

#[tokio::test]
async fn waiting_in_line_counts_from_the_first_refusal() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    assert_eq!(
        session.assign("ann", "1").await?.outcome(),
        "NO_INSTANCE_AVAILABLE"
    );
    session
        .run("UPDATE waiting_users SET first_at = first_at - interval '9 seconds'")
        .await?;
    session.host("i-1", 1).await?;
    let assigned = session.assign_running("ann").await?;
    report_end(&session, &assigned).await?;
    let waited = "SELECT FROM session_history WHERE waited_seconds BETWEEN 9 AND 60
        AND assigned_at - requested_at = make_interval(secs => waited_seconds)";
    assert_eq!(session.count(waited).await?, 1);
    Ok(())
}

#[tokio::test]
async fn session_that_loses_its_instance_was_lost_or_interrupted() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.set_watched_for_an_hour().await?;
    let cases = [
        ("gone", "", "GONE", "LOST ENDED"),
        ("silent", "", "LOST", "LOST LOST"),
        (
            "missing",
            "missing_since = now() - interval '1 hour'",
            "MISSING",
            "LOST MISSING",
        ),
        ("moves", "notice = 'REBALANCE'", "GONE", "LOST ENDED"),
        ("taken", "notice = 'INTERRUPTION'", "GONE", "INTERRUPTED"),
    ];
    for (name, set, terminated, expected) in cases {
        session.host(name, 2).await?;
        session.assign_running(name).await?;
        // One user had not connected yet.
        let other = format!("other of {name}");
        session.assign(&other, "1").await?;
        if !set.is_empty() {
            session
                .run(&format!("UPDATE instances SET {set} WHERE id = '{name}'"))
                .await?;
        }
        if terminated != "GONE" {
            silent_for(&session, name, 3600).await?;
        }
        terminate(&session, name, terminated).await?;
        for user in [name, &other] {
            assert_eq!(reasons(&session, user).await?, [expected], "{user}");
        }
        remove(&session, name).await?;
        assert_eq!(reasons(&session, name).await?, [expected], "{name}: once");
    }
    Ok(())
}

#[tokio::test]
async fn session_that_its_agent_ends_because_ec2_takes_the_instance_is_interrupted() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let assigned = session.assign_running("ann").await?;
    session
        .outcomes("give_notice('i-1', 'INTERRUPTION')")
        .await?;
    report_end(&session, &assigned).await?;
    assert_eq!(reasons(&session, "ann").await?, ["INTERRUPTED"]);
    Ok(())
}

#[tokio::test]
async fn end_that_somebody_wanted_has_their_reason() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let cases = [
        ("USER", 0, "USER"),
        ("OPERATOR", 0, "OPERATOR"),
        ("LONGEST", 0, "LIMIT LONGEST"),
        ("IDLE", 0, "LIMIT IDLE"),
        ("DRAIN", 0, "LIMIT DRAIN"),
        ("MAX_AGE", 0, "LIMIT MAX_AGE"),
        // It was warned of a limit, and ended before.
        ("LONGEST", 60, "AGENT"),
    ];
    for (number, (cause, in_seconds, expected)) in cases.into_iter().enumerate() {
        let user = format!("user {number}");
        let assigned = session.assign_running(&user).await?;
        session
            .run(&format!(
                "UPDATE slots SET end_cause = '{cause}',
                     end_by = now() + interval '{in_seconds} seconds' WHERE user_id = '{user}'"
            ))
            .await?;
        report_end(&session, &assigned).await?;
        assert_eq!(reasons(&session, &user).await?, [expected], "{cause}");
        let replace = format!(
            "replace_slot('{}', '{}')",
            assigned.slot(),
            claims_of("i-1")
        );
        session.outcome(&replace).await?;
        session.run("UPDATE slots SET free_from = NULL").await?;
    }
    // One whose user had not connected: it is free at once.
    session.assign("eve", "1").await?;
    session
        .run(
            "UPDATE slots SET end_cause = 'USER', end_by = now() WHERE user_id = 'eve';
             UPDATE slots SET status = 'WAITING', user_id = NULL, session_id = NULL,
                 allocated_at = NULL, end_cause = NULL, end_by = NULL WHERE user_id = 'eve'",
        )
        .await?;
    assert_eq!(reasons(&session, "eve").await?, ["USER"]);
    Ok(())
}

#[tokio::test]
async fn drained_instance_whose_sessions_must_end_reaches_its_deadline() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    session.assign_running("ann").await?;
    session
        .run(
            "UPDATE slots SET end_cause = 'MAX_AGE', end_by = now() - interval '1 minute'
             WHERE user_id = 'ann';
             UPDATE instances SET status = 'DRAINING'",
        )
        .await?;
    terminate(&session, "i-1", "GONE").await?;
    assert_eq!(reasons(&session, "ann").await?, ["LIMIT MAX_AGE"]);
    remove(&session, "i-1").await?;
    let row = session.row("SELECT * FROM instance_history").await?;
    assert_eq!(text(&row, "end_reason"), "DEADLINE");
    Ok(())
}

#[tokio::test]
async fn session_that_nobody_claims_has_a_row_once_its_slot_is_free() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session.assign("ann", "1").await?;
    session
        .run("UPDATE slots SET allocated_at = now() - interval '2 minutes' WHERE user_id = 'ann'")
        .await?;
    session
        .outcomes(&format!("release_unclaimed('{REGION}', 1)"))
        .await?;
    let row = ended(&session, "ann").await?;
    assert_eq!(text(&row, "end_reason"), "NEVER_CLAIMED");
    assert_eq!(row["connected_at"], Value::Null);
    // Another stay, of the same session.
    session.assign("ann", "1").await?;
    assert_eq!(session.count("SELECT FROM sessions").await?, 2);
    Ok(())
}

#[tokio::test]
async fn repeated_request_makes_a_row_only_for_a_slot_that_was_left() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session.assign("ann", "1").await?;
    let again = session.assign("ann", "1").await?;
    assert_eq!(again.outcome(), "ALREADY_ASSIGNED");
    // No other slot, and the instance still takes this user: the slot is freed and given back.
    session
        .run("UPDATE instances SET status = 'DRAINING'")
        .await?;
    assert_eq!(
        session.assign("ann", "1").await?.outcome(),
        "ALREADY_ASSIGNED"
    );
    assert_eq!(session.count("SELECT FROM session_history").await?, 0);
    // There is another one now.
    session.host("i-2", 1).await?;
    assert_eq!(session.assign("ann", "1").await?.instance(), "i-2");
    let row = ended(&session, "ann").await?;
    assert_eq!(
        (text(&row, "end_reason"), text(&row, "instance_id")),
        ("MOVED".into(), "i-1".into())
    );
    // Its instance falls silent, and there is no other.
    silent_for(&session, "i-2", 120).await?;
    assert_eq!(
        session.assign("ann", "1").await?.outcome(),
        "NO_INSTANCE_AVAILABLE"
    );
    assert_eq!(reasons(&session, "ann").await?, ["MOVED", "LOST"]);
    Ok(())
}

#[tokio::test]
async fn rolled_back_end_leaves_no_row() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    let assigned = session.assign_running("ann").await?;
    session.run("BEGIN").await?;
    report_end(&session, &assigned).await?;
    session.run("ROLLBACK").await?;
    assert_eq!(session.count("SELECT FROM session_history").await?, 0);
    assert_eq!(session.count("SELECT FROM sessions").await?, 1);
    Ok(())
}

#[tokio::test]
async fn rows_that_somebody_deletes_by_hand_have_history() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 3).await?;
    session.assign_running("ann").await?;
    session.assign_running("bob").await?;
    session
        .run("DELETE FROM slots WHERE user_id = 'ann'")
        .await?;
    assert_eq!(reasons(&session, "ann").await?, ["OPERATOR"]);
    session.run("DELETE FROM instances").await?;
    assert_eq!(reasons(&session, "bob").await?, ["OPERATOR"]);
    let row = session.row("SELECT * FROM instance_history").await?;
    assert_eq!(text(&row, "end_reason"), "DELETED");
    assert_eq!(row["sessions"], 2);
    assert_eq!(session.count("SELECT FROM slots").await?, 0);
    Ok(())
}

#[tokio::test]
async fn instance_has_a_row_that_says_why_it_ended() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.set_watched_for_an_hour().await?;
    for id in ["drained", "silent", "missing", "taken", "ended"] {
        session.host(id, 1).await?;
    }
    session.launch(REGION, "never", 1).await?;
    session
        .outcomes(&format!(
            "drain_instances('{REGION}', 1, '[\"drained\"]', 'SURPLUS')"
        ))
        .await?;
    silent_for(&session, "silent", 3600).await?;
    session
        .run(
            "UPDATE instances SET missing_since = now() WHERE id = 'missing';
             UPDATE instances SET notice = 'INTERRUPTION' WHERE id = 'taken'",
        )
        .await?;
    let orphan = json!([{
        "id": "orphan", "launch_id": "l", "image_id": "ami-1", "client_sha": "3b1f",
        "instance_type": "t3.large", "capacity": 2, "launched_at": "2026-01-01T00:00:00Z",
    }]);
    session
        .outcomes(&format!("adopt_orphans('{REGION}', 1, '{orphan}')"))
        .await?;
    for id in ["drained", "silent", "missing", "taken", "ended", "never"] {
        terminate(&session, id, "GONE").await?;
        remove(&session, id).await?;
    }
    remove(&session, "orphan").await?;
    let rows = session
        .rows("SELECT instance_id, end_reason FROM instance_history ORDER BY instance_id")
        .await?;
    let found: Vec<_> = rows
        .iter()
        .map(|row| (text(row, "instance_id"), text(row, "end_reason")))
        .collect();
    let expected = [
        ("drained", "DRAINED"),
        ("ended", "ENDED"),
        ("missing", "MISSING"),
        ("never", "NEVER_REGISTERED"),
        ("orphan", "ORPHAN"),
        ("silent", "LOST"),
        ("taken", "INTERRUPTED"),
    ];
    assert_eq!(
        found,
        expected.map(|(id, reason)| (id.to_owned(), reason.to_owned()))
    );
    let drained = session
        .row("SELECT * FROM instance_history WHERE instance_id = 'drained'")
        .await?;
    assert_eq!(text(&drained, "drain_cause"), "SURPLUS");
    let in_order = "SELECT FROM instance_history WHERE instance_id = 'drained'
        AND launched_at < registered_at AND registered_at <= draining_at
        AND draining_at <= terminating_at AND terminating_at <= gone_at";
    assert_eq!(session.count(in_order).await?, 1, "{drained}");
    let never = session
        .row("SELECT * FROM instance_history WHERE instance_id = 'never'")
        .await?;
    assert_eq!(never["registered_at"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn instance_runs_since_the_first_that_says_so() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("registered", 1).await?;
    session.launch(REGION, "told", 1).await?;
    session.launch(REGION, "untold", 1).await?;
    let note = async |id: &str, seconds: i32| {
        let call = format!(
            "note_running(jsonb_build_array(jsonb_build_object('id', '{id}',
                 'at', now() + interval '{seconds} seconds')))"
        );
        session.outcome(&call).await
    };
    for (id, seconds, outcome) in [
        // The clock of whoever says it may be ahead.
        ("told", 3600, "DONE"),
        ("told", -60, "DONE"),
        ("told", -30, "ALREADY"),
        ("registered", 0, "DONE"),
        ("else", 0, "UNKNOWN"),
    ] {
        assert_eq!(note(id, seconds).await?, outcome, "{id} {seconds}");
        let ahead = "SELECT FROM instances WHERE running_at > now()";
        assert_eq!(session.count(ahead).await?, 0);
    }
    session.run("DELETE FROM instances").await?;
    let rows = "SELECT instance_id, running_at = registered_at AS registered,
            round(extract(epoch FROM now() - running_at)) AS seconds
        FROM instance_history ORDER BY 1";
    let rows = session.rows(rows).await?;
    assert_eq!(rows[0]["registered"], true, "it has run before: {rows:?}");
    // Others are 0, 30, and null.
    let seconds = rows[1]["seconds"].as_i64();
    assert!(
        seconds.is_some_and(|it| (60..=120).contains(&it)),
        "{rows:?}"
    );
    assert_eq!(rows[2]["seconds"], Value::Null);
    Ok(())
}

/// A session of this instance in the history, by seconds before now.
fn stay(id: &str, from: u32, to: u32) -> String {
    format!(
        "INSERT INTO session_history SELECT 'u', 's', '{REGION}', '{id}', 'ami-1', 't3.large',
             gen_random_uuid(), a, a, a, a, now() - interval '{to} seconds', 'AGENT', NULL, 0
         FROM (SELECT now() - interval '{from} seconds' AS a) t;"
    )
}

#[tokio::test]
async fn instance_knows_the_seconds_in_which_it_was_empty() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    // Two that overlap, one inside of another, one at the border of another, and one of long ago.
    let stays = [
        (900, 800),
        (850, 700),
        (690, 400),
        (600, 500),
        (400, 300),
        (5000, 4000),
    ];
    // All in one transaction, whose statements have the same time.
    let stays = stays.map(|(from, to)| stay("i-1", from, to)).concat();
    let other = stay("i-2", 900, 100);
    let launched = "UPDATE instances SET launched_at = now() - interval '1000 seconds'";
    session
        .run(&format!(
            "{launched}; {stays} {other} DELETE FROM instances"
        ))
        .await?;
    let rounded =
        "SELECT sessions, round(session_seconds) AS used, round(occupied_seconds) AS occupied,
        round(empty_seconds) AS empty FROM instance_history";
    let mut row = session.row(rounded).await?;
    // It ends by the clock, a little after the time of the transaction.
    let empty = row["empty"].take();
    assert!(
        (410..=470).contains(&empty.as_i64().context("a number")?),
        "{empty}"
    );
    let expected = json!({"sessions": 5, "used": 740, "occupied": 590, "empty": null});
    assert_eq!(row, expected);
    Ok(())
}

#[tokio::test]
async fn pass_deletes_what_is_too_old_in_batches_and_only_of_its_region() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.add_region("eu-west-1", 0).await?;
    session
        .run(&format!(
            "UPDATE regions SET history_days = 2;
             INSERT INTO session_history
             SELECT 'u', 's', CASE WHEN n = 7000 THEN 'eu-west-1' ELSE '{REGION}' END, 'i-1', 'ami-1',
                 NULL, gen_random_uuid(), e, e, e, e, e, 'AGENT', NULL, 0
             FROM (SELECT n, now() - interval '3 days' - n * interval '1 second' AS e
                 FROM generate_series(1, 7000) n) t;"
        ))
        .await?;
    session.run(&stay("i-1", 100, 47 * 3600)).await?;
    let left = "SELECT FROM session_history WHERE ended_at < now() - interval '2 days'";
    for expected in [2000, 1, 1] {
        session
            .rows(&format!("SELECT * FROM begin_pass('{REGION}', 1)"))
            .await?;
        assert_eq!(session.count(left).await?, expected);
    }
    assert_eq!(session.count("SELECT FROM session_history").await?, 2);
    Ok(())
}

#[tokio::test]
async fn forgotten_user_has_one_random_id_in_all_rows() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    for user in ["ann", "bob"] {
        let assigned = session.assign_running(user).await?;
        report_end(&session, &assigned).await?;
        session
            .run("UPDATE slots SET status = 'WAITING', user_id = NULL, session_id = NULL")
            .await?;
    }
    session
        .run(
            "INSERT INTO session_history SELECT 'ann', n::text, region, instance_id, image_id,
                 instance_type, gen_random_uuid(), requested_at, assigned_at, connected_at, running_at,
                 ended_at, end_reason, end_detail, waited_seconds
             FROM session_history, generate_series(1, 24999) n WHERE user_id = 'bob'",
        )
        .await?;
    session.assign("ann", "now").await?;
    let engine = Engine::start(&database).await?;
    let forget = r#"mutation { forget_user(args: {user_id: "ann"}) { outcome sessions current } }"#;
    for (outcome, sessions) in [("MORE", 20_000), ("DONE", 5_000), ("DONE", 0)] {
        let answer = engine.as_role("operator", forget).await?;
        let expected = json!([{"outcome": outcome, "sessions": sessions, "current": 1}]);
        assert_eq!(answer["data"]["forget_user"], expected, "{answer}");
    }
    let users = session
        .rows("SELECT user_id, count(*) AS n FROM session_history GROUP BY 1 ORDER BY 2")
        .await?;
    assert_eq!(users.len(), 2, "{users:?}");
    assert_eq!(users[0], json!({"user_id": "bob", "n": 1}));
    assert!(
        text(&users[1], "user_id").starts_with("forgotten-"),
        "{users:?}"
    );
    assert_eq!(users[1]["n"], 25_000);
    // Nothing says whose id this was.
    assert_eq!(
        session
            .count("SELECT FROM internal.users_to_forget")
            .await?,
        0
    );
    assert_eq!(
        session
            .count("SELECT FROM internal.failed_sessions WHERE user_id = 'ann'")
            .await?,
        0
    );
    Ok(())
}

#[tokio::test]
async fn pages_of_the_export_have_each_session_once_also_if_it_ends_meanwhile() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 9).await?;
    let mut held = vec![];
    for number in 0..9 {
        held.push(session.assign_running(&format!("user {number}")).await?);
    }
    // Two that got their slots in the same moment.
    session
        .run(
            "UPDATE slots SET first_allocated_at = (SELECT first_allocated_at FROM slots
             WHERE user_id = 'user 4') WHERE user_id IN ('user 3', 'user 5')",
        )
        .await?;
    report_end(&session, &held[4]).await?;
    let mut seen: Vec<String> = vec![];
    let mut after = "NULL, NULL".to_owned();
    for ends in [3, 0, 8, 5, 7] {
        let page = session
            .rows(&format!(
                "SELECT * FROM list_sessions(now() - interval '1 hour', now() + interval '1 hour',
                     {after}, 2)"
            ))
            .await?;
        ensure!(!page.is_empty());
        let last = &page[page.len() - 1];
        after = format!(
            "'{}', '{}'",
            text(last, "assigned_at"),
            text(last, "slot_id")
        );
        seen.extend(page.iter().map(|row| text(row, "user_id")));
        report_end(&session, &held[ends]).await?;
    }
    assert_eq!(seen.len(), 9, "{seen:?}");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 9, "{seen:?}");
    let none =
        "list_sessions(now() + interval '1 hour', now() + interval '2 hours', NULL, NULL, 2)";
    assert_eq!(session.count(&format!("SELECT FROM {none}")).await?, 0);
    Ok(())
}

/// Figures of the hour before the current one, and the bucket of a histogram.
fn bucket(row: &Value, histogram: &str, below: &Value) -> i64 {
    let buckets = row[histogram].as_array();
    let found = buckets
        .into_iter()
        .flatten()
        .find(|it| it["below"] == *below);
    found.and_then(|it| it["sessions"].as_i64()).unwrap_or(-1)
}

#[tokio::test]
async fn figures_of_an_hour_are_counted_once_and_do_not_change() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session
        .run(&format!(
            "UPDATE regions SET created_at = now() - interval '1 day';
             CREATE TEMPORARY TABLE hour AS
                 SELECT date_bin('1 hour', now() - interval '1 hour 2 minutes', 'epoch') AS h;
             -- Half an hour before the hour until a quarter in it; all of the last quarter; and one that
             -- was never claimed.
             INSERT INTO session_history
             SELECT 'u', 's', '{REGION}', 'i-1', 'ami-1', NULL, gen_random_uuid(), a - w, a, c, c, e, r,
                 NULL, date_part('epoch', w)
             FROM hour, LATERAL (VALUES
                 (h - interval '30 minutes', h + interval '15 minutes', h, 'AGENT', interval '0'),
                 (h + interval '45 minutes', h + interval '60 minutes', h, 'USER', interval '7 seconds'),
                 (h + interval '50 minutes', h + interval '52 minutes', NULL, 'NEVER_CLAIMED',
                     interval '1 hour')
             ) AS t (a, e, c, r, w);
             INSERT INTO instance_history
             SELECT i, '{REGION}', 'l', 'ami-1', '3b1f', 't3.large', NULL, NULL, 2, l, NULL, d,
                 NULL, NULL, NULL, NULL, g, r, 0, 0, 0, 0
             FROM hour, LATERAL (VALUES
                 ('i-1', h - interval '1 hour', h, h + interval '30 minutes', 'DRAINED'),
                 ('i-2', h, NULL, h + interval '10 minutes', 'NEVER_REGISTERED'),
                 ('i-3', h - interval '9 hours', NULL, h - interval '8 hours', 'LOST')
             ) AS t (i, l, d, g, r)"
        ))
        .await?;
    let listed = "SELECT l.* FROM hour, list_usage(NULL, h, h + interval '1 minute') l";
    let before = session.row(listed).await?;
    for (column, value) in [
        ("sessions", json!(2)),
        ("waited", json!(2)),
        ("instances_gone", json!(2)),
        ("machine_seconds", json!(2400)),
        ("slot_seconds", json!(4800)),
        ("session_seconds", json!(1920)),
        ("occupied_seconds", json!(1800)),
        ("ends", json!({"AGENT": 1, "NEVER_CLAIMED": 1})),
        ("died_young", json!({"NEVER_REGISTERED": 1})),
    ] {
        assert_eq!(before[column], value, "{column}: {before}");
    }
    assert_eq!(bucket(&before, "waits", &json!(10)), 1);
    assert_eq!(bucket(&before, "waits", &Value::Null), 1);
    assert_eq!(bucket(&before, "waits", &json!(1)), 0);
    assert_eq!(bucket(&before, "lengths", &json!(3600)), 1);
    // A pass counts it, and what is deleted later is still in its figures.
    session
        .rows(&format!("SELECT * FROM begin_pass('{REGION}', 1)"))
        .await?;
    session
        .run("DELETE FROM session_history; DELETE FROM instance_history")
        .await?;
    assert_eq!(session.row(listed).await?, before);
    // Two hours a pass, until the last two days are counted.
    assert_eq!(session.count("SELECT FROM usage_hours").await?, 2);
    let too_long = "SELECT * FROM list_usage(NULL, now() - interval '40 days', now())";
    assert!(session.rows(too_long).await.is_err());
    Ok(())
}
