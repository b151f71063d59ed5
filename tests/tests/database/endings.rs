//! Ends of sessions: by users, by operators, by limits, and by the deadline of a drain.

use anyhow::Result;
use scaling_tests::database::{Database, ENVIRONMENT, REGION, SHA, Session, claims_of, launch_of};
use scaling_tests::graphql::{Engine, error_code};
use serde_json::{Value, json};

/// Gives a user a slot of `i-1` and returns its id.
async fn assigned(session: &Session, user: &str) -> Result<String> {
    Ok(session.assign(user, "1").await?.slot())
}

/// Gives a user a slot of `i-1` whose session runs.
async fn running(session: &Session, user: &str) -> Result<String> {
    Ok(session.assign_running(user).await?.slot())
}

async fn slot(session: &Session, id: &str) -> Result<Value> {
    session
        .row(&format!(
            "SELECT status, user_id, end_cause, end_by, max_session_seconds, max_idle_seconds,
                 extract(epoch FROM end_by - claimed_at)::integer AS after,
                 extract(epoch FROM end_by - now())::integer AS left
             FROM slots WHERE id = '{id}'"
        ))
        .await
}

/// So many seconds are left, less what this machine took until they were read.
#[track_caller]
fn assert_left(slot: &Value, seconds: i64) {
    let left = slot["left"].as_i64();
    let near = seconds - 19..=seconds;
    assert!(left.is_some_and(|left| near.contains(&left)), "{slot}");
}

async fn mark(session: &Session) -> Result<Vec<String>> {
    session.outcomes(&format!("mark_ends('{REGION}', 1)")).await
}

/// What the agent of `i-1` has to end.
async fn heartbeat(session: &Session, more: &str) -> Result<Value> {
    let call = format!("heartbeat('i-1', '{}'{more})", claims_of("i-1"));
    let answer = session.row(&format!("SELECT * FROM {call}")).await?;
    assert_eq!(answer["outcome"], "OK");
    Ok(answer["ends"].clone())
}

/// Lets time pass for a slot.
async fn age(session: &Session, slot: &str, seconds: i32) -> Result<()> {
    session
        .run(&format!(
            "UPDATE slots SET claimed_at = claimed_at - interval '{seconds} s',
                 user_active_at = user_active_at - interval '{seconds} s',
                 end_by = end_by - interval '{seconds} s'
             WHERE id = '{slot}'"
        ))
        .await
}

async fn set(session: &Session, columns: &str) -> Result<()> {
    session.run(&format!("UPDATE regions SET {columns}")).await
}

async fn end(session: &Session, user: &str) -> Result<String> {
    session
        .outcome(&format!("end_own_session('{user}', '1')"))
        .await
}

#[tokio::test]
async fn unclaimed_slot_is_free_at_once_and_a_claimed_one_when_the_agent_says_so() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    let ann = assigned(&session, "ann").await?;
    let bob = running(&session, "bob").await?;
    assert_eq!(end(&session, "eve").await?, "UNKNOWN");
    assert_eq!(heartbeat(&session, "").await?, json!([]));

    assert_eq!(end(&session, "ann").await?, "ENDED");
    let free = slot(&session, &ann).await?;
    assert_eq!(
        (&free["status"], &free["end_by"]),
        (&json!("WAITING"), &Value::Null)
    );
    assert_eq!(end(&session, "ann").await?, "UNKNOWN");

    for _ in 0..2 {
        assert_eq!(end(&session, "bob").await?, "ENDING");
        let kept = slot(&session, &bob).await?;
        assert_eq!(
            (&kept["status"], &kept["end_cause"]),
            (&json!("RUNNING"), &json!("USER"))
        );
    }
    let ends = heartbeat(&session, "").await?;
    assert_eq!(
        (&ends[0]["slot_id"], &ends[0]["seconds_left"]),
        (&json!(bob), &json!(0))
    );
    let own = format!(
        "SELECT slots FROM own_instance('i-1', '{}')",
        claims_of("i-1")
    );
    let own = session.row(&own).await?;
    let slots: Vec<_> = own["slots"].as_array().into_iter().flatten().collect();
    let left = |id: &String| {
        let slot = slots.iter().find(|slot| slot["id"] == **id);
        slot.map(|slot| (slot["end_cause"].clone(), slot["seconds_left"].clone()))
    };
    assert_eq!(left(&bob), Some((json!("USER"), json!(0))), "{own}");
    assert_eq!(left(&ann), Some((Value::Null, Value::Null)), "{own}");

    let claims = claims_of("i-1");
    session
        .outcome(&format!("report_slot('{bob}', 'DYING', '{claims}')"))
        .await?;
    assert_eq!(end(&session, "bob").await?, "UNKNOWN");
    // It ended quickly, but on purpose.
    assert_eq!(session.count("SELECT FROM internal.session_ends").await?, 0);
    Ok(())
}

#[tokio::test]
async fn end_of_a_session_takes_it_out_of_the_line() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    assert_eq!(
        session.assign("ann", "1").await?.outcome(),
        "NO_INSTANCE_AVAILABLE"
    );
    session.assign("ann", "2").await?;
    assert_eq!(
        end(&session, "ann").await?,
        "UNKNOWN",
        "an earlier session of hers"
    );
    session.assign("ann", "1").await?;
    assert_eq!(end(&session, "ann").await?, "ENDED");
    assert_eq!(session.count("SELECT FROM waiting_users").await?, 0);
    Ok(())
}

#[tokio::test]
async fn operator_ends_sessions_and_can_do_nothing_else() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let ann = running(&session, "ann").await?;
    let engine = Engine::start(&database).await?;
    let query = r#"mutation { end_session(args: {user_id: "ann", session_id: "1"}) { outcome } }"#;
    let answer = engine.as_role("operator", query).await?;
    assert_eq!(
        answer["data"]["end_session"][0]["outcome"], "ENDING",
        "{answer}"
    );
    assert_eq!(slot(&session, &ann).await?["end_cause"], "OPERATOR");
    for query in [
        "{ slots { user_id } }",
        r#"mutation { end_own_session(args: {user_id: "ann", session_id: "1"}) { outcome } }"#,
        r#"mutation { revoke_agent(args: {instance_id: "i-1"}) { outcome } }"#,
    ] {
        let answer = engine.as_role("operator", query).await?;
        assert_eq!(
            error_code(&answer),
            "validation-failed",
            "{query}: {answer}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn user_with_too_many_slots_is_told_which_sessions_hold_them() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 4).await?;
    for name in ["1", "2", "3"] {
        session.assign("ann", name).await?;
    }
    let refused = session.assign("ann", "4").await?;
    assert_eq!(refused.outcome(), "USER_ALREADY_ACTIVE");
    let held = ["1", "2", "3"].map(|name| json!({"session_id": name, "region": REGION}));
    assert_eq!(refused.0["held"], json!(held));
    Ok(())
}

#[tokio::test]
async fn longest_session_ends_at_the_lower_limit_with_a_warning() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 3).await?;
    set(
        &session,
        "max_session_seconds = 1000, end_warning_seconds = 30",
    )
    .await?;
    let limited = async |user: &str, seconds: i32| {
        let assign = format!(
            "assign_slot('{user}', '1', '[\"{REGION}\"]', '{SHA}', 3, '{ENVIRONMENT}', false, \
             {seconds})"
        );
        session.outcome(&assign).await?;
        running(&session, user).await
    };
    let (ann, bob, cem) = (
        running(&session, "ann").await?,
        limited("bob", 500).await?,
        limited("cem", 5000).await?,
    );
    for id in [&ann, &bob, &cem] {
        age(&session, id, 405).await?;
    }
    assert_eq!(
        mark(&session).await?,
        [""; 0],
        "95 s before it, and passes run once a minute"
    );
    age(&session, &bob, 10).await?;
    assert_eq!(mark(&session).await?, ["i-1=DONE"]);
    assert_eq!(mark(&session).await?, [""; 0], "once");
    let row = slot(&session, &bob).await?;
    assert_eq!(
        (&row["end_cause"], &row["after"]),
        (&json!("LONGEST"), &json!(500))
    );
    for id in [&ann, &cem] {
        assert_eq!(slot(&session, id).await?["end_by"], Value::Null);
        age(&session, id, 700).await?;
    }
    // They are too long already, and have the whole warning.
    assert_eq!(mark(&session).await?, ["i-1=DONE"]);
    for id in [&ann, &cem] {
        let row = slot(&session, id).await?;
        assert_eq!(row["end_cause"], "LONGEST");
        assert_left(&row, 30);
    }
    assert_eq!(
        heartbeat(&session, "").await?.as_array().map(Vec::len),
        Some(3)
    );
    // The next user of a slot has neither the end nor the limits of the one before.
    session.run("UPDATE slots SET status = 'DYING'").await?;
    let claims = claims_of("i-1");
    session
        .outcome(&format!("replace_slot('{bob}', '{claims}')"))
        .await?;
    session.run("UPDATE slots SET free_from = NULL").await?;
    let next = running(&session, "dan").await?;
    let row = slot(&session, &next).await?;
    assert_eq!(
        (&row["end_by"], &row["max_session_seconds"]),
        (&Value::Null, &Value::Null)
    );
    Ok(())
}

#[tokio::test]
async fn idle_session_ends_unless_its_user_is_active_again_or_nobody_knows() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    set(&session, "max_idle_seconds = 300, end_warning_seconds = 30").await?;
    let (ann, bob) = (
        running(&session, "ann").await?,
        running(&session, "bob").await?,
    );
    for id in [&ann, &bob] {
        age(&session, id, 10_000).await?;
    }
    assert_eq!(mark(&session).await?, [""; 0], "no activity is reported");
    let said = |seconds: i32| format!(", '{{\"{ann}\": {seconds}}}'");
    heartbeat(&session, &said(250)).await?;
    assert_eq!(mark(&session).await?, ["i-1=DONE"]);
    let row = slot(&session, &ann).await?;
    assert_eq!(row["end_cause"], "IDLE");
    assert_left(&row, 50);
    assert_eq!(
        heartbeat(&session, &said(250))
            .await?
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_eq!(
        heartbeat(&session, &said(3)).await?,
        json!([]),
        "active again"
    );
    assert_eq!(slot(&session, &bob).await?["end_by"], Value::Null);
    // An agent cannot speak for the slots of others, and mistakes are named.
    session.host("i-2", 1).await?;
    let of_other = format!(
        "heartbeat('i-2', '{}', '{{\"{ann}\": 250}}')",
        json!({"x-hasura-role": "host_agent", "x-hasura-launch-id": launch_of("i-2")})
    );
    session.outcome(&of_other).await?;
    assert_eq!(mark(&session).await?, [""; 0]);
    for bad in ["'[]'", "'{\"a\": -1}'", "'{\"a\": \"1\"}'"] {
        let call = format!(
            "SELECT * FROM heartbeat('i-1', '{}', {bad})",
            claims_of("i-1")
        );
        let error = format!("{:#}", session.row(&call).await.unwrap_err());
        assert!(error.contains("idle_seconds must be"), "{bad}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn deadline_of_a_drain_ends_its_sessions_with_a_warning_and_then_the_instance() -> Result<()>
{
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    let ann = running(&session, "ann").await?;
    session
        .run(
            "UPDATE instances SET status = 'DRAINING', draining_since = now() - interval '1 day'
             WHERE id = 'i-1'",
        )
        .await?;
    let terminate = async || {
        let call = format!("terminate_instances('{REGION}', 1, '[\"i-1\"]', 'DEADLINE')");
        session.outcomes(&call).await
    };
    assert_eq!(mark(&session).await?, [""; 0], "without a deadline");
    assert_eq!(terminate().await?, ["i-1=OCCUPIED"], "without a deadline");
    set(
        &session,
        "drain_deadline_seconds = 600, end_warning_seconds = 30",
    )
    .await?;
    assert_eq!(terminate().await?, ["i-1=OCCUPIED"], "nobody was warned");
    assert_eq!(mark(&session).await?, ["i-1=DONE"]);
    let row = slot(&session, &ann).await?;
    assert_eq!(row["end_cause"], "DRAIN");
    assert_left(&row, 30);
    age(&session, &ann, 100).await?;
    assert_eq!(
        terminate().await?,
        ["i-1=OCCUPIED"],
        "heartbeat_seconds are left"
    );
    age(&session, &ann, 21).await?;
    let seen = format!("SELECT ends_overdue FROM observe_instances('{REGION}', '', 10)");
    assert_eq!(session.row(&seen).await?["ends_overdue"], 1);
    session
        .run("UPDATE instances SET drain_cause = 'AGENT'")
        .await?;
    assert_eq!(terminate().await?, ["i-1=OCCUPIED"], "not for this cause");
    session
        .run("UPDATE instances SET drain_cause = 'IMAGE'")
        .await?;
    assert_eq!(terminate().await?, ["i-1=DONE"]);
    assert_eq!(slot(&session, &ann).await?["status"], "DYING");
    Ok(())
}

#[tokio::test]
async fn old_instance_and_one_on_a_retired_image_drain_with_their_users() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let drain = async |id: &str, cause: &str| {
        let call = format!("drain_instances('{REGION}', 1, '[\"{id}\"]', '{cause}')");
        session.outcomes(&call).await
    };
    session.host("i-1", 1).await?;
    running(&session, "ann").await?;
    assert_eq!(drain("i-1", "SURPLUS").await?, ["i-1=OCCUPIED"]);
    assert_eq!(drain("i-1", "IMAGE").await?, ["i-1=OCCUPIED"]);
    assert_eq!(drain("i-1", "MAX_AGE").await?, ["i-1=DONE"]);
    session.host("i-2", 1).await?;
    assigned(&session, "bob").await?;
    set(&session, "drain_deadline_seconds = 600").await?;
    assert_eq!(drain("i-2", "IMAGE").await?, ["i-2=DONE"]);
    Ok(())
}

#[tokio::test]
async fn limits_that_cannot_work_are_rejected() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for (set, constraint) in [
        (
            "max_session_seconds = 0",
            "regions_max_session_seconds_positive",
        ),
        ("max_idle_seconds = 0", "regions_max_idle_seconds_positive"),
        (
            "end_warning_seconds = 0",
            "regions_end_warning_seconds_positive",
        ),
        (
            "drain_deadline_seconds = 0",
            "regions_drain_deadline_seconds_positive",
        ),
        ("max_age_seconds = 600", "regions_max_age_after_boot"),
    ] {
        let update = format!("UPDATE regions SET {set}");
        assert_eq!(session.violated(&update).await?, constraint, "{set}");
    }
    Ok(())
}
