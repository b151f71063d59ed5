//! What one instance whose sessions end at once, or one user who never connects, can take from the
//! others.

use anyhow::Result;
use scaling_tests::database::{
    Assigned, Database, ENVIRONMENT, REGION, SHA, Session, SlotRequest, claims_of, text,
};
use serde_json::{Value, json};

const ATTACKER: &str = "i-0";

/// The attacker's instance and eight honest ones, with four free slots each.
async fn attacked_region() -> Result<(Database, Session)> {
    let (database, session) = Database::with_region(0).await?;
    for instance in 0..9 {
        session.host(&format!("i-{instance}"), 4).await?;
    }
    Ok((database, session))
}

/// Makes the calls of an agent whose user's session lasts for `seconds`.
async fn play(session: &Session, user: &str, got: &Assigned, seconds: u32) -> Result<()> {
    connect(session, user, got).await?;
    end(session, got, seconds).await
}

async fn connect(session: &Session, user: &str, got: &Assigned) -> Result<()> {
    let (slot, claims) = (got.slot(), claims_of(&got.instance()));
    let claim = format!("claim_slot('{slot}', '{user}', '1', '{claims}')");
    assert_eq!(session.outcome(&claim).await?, "CLAIMED");
    let runs = format!("report_slot('{slot}', 'RUNNING', '{claims}')");
    assert_eq!(session.outcome(&runs).await?, "REPORTED");
    Ok(())
}

/// Ends a session that has lasted for `seconds`, and replaces its slot.
async fn end(session: &Session, got: &Assigned, seconds: u32) -> Result<()> {
    let (slot, claims) = (got.slot(), claims_of(&got.instance()));
    session
        .run(&format!(
            "UPDATE slots SET claimed_at = claimed_at - interval '{seconds} seconds'
             WHERE id = '{slot}'"
        ))
        .await?;
    let dies = format!("report_slot('{slot}', 'DYING', '{claims}')");
    assert_eq!(session.outcome(&dies).await?, "REPORTED");
    let replace = format!("replace_slot('{slot}', '{claims}')");
    assert_eq!(session.outcome(&replace).await?, "REPLACED");
    Ok(())
}

/// Releases the slot as if nobody had connected in time.
async fn expire(session: &Session, got: &Assigned) -> Result<()> {
    let slot = got.slot();
    session
        .run(&format!(
            "UPDATE slots SET allocated_at = allocated_at - interval '91 seconds',
                 first_allocated_at = first_allocated_at - interval '91 seconds'
             WHERE id = '{slot}'"
        ))
        .await?;
    let outcomes = session
        .outcomes(&format!("release_unclaimed('{REGION}', 1)"))
        .await?;
    assert_eq!(outcomes, [format!("{slot}=DONE")]);
    Ok(())
}

async fn observed(session: &Session, instance: &str) -> Result<Value> {
    session
        .row(&format!(
            "SELECT slots_waiting, slots_occupied, quick_ends, unclaimed_ends, sessions_live
             FROM observe_instances('{REGION}', '', 1000) WHERE id = '{instance}'"
        ))
        .await
}

/// The seconds after which the instance's slots are free, from their replacement, in the order in which
/// they will be; null: at once. Not from now: a busy machine takes a while between two statements.
async fn cool_downs(session: &Session, instance: &str) -> Result<Vec<Option<i64>>> {
    let rows = session
        .rows(&format!(
            "SELECT round(extract(epoch FROM free_from - created_at))::bigint AS seconds FROM slots
             WHERE instance_id = '{instance}' AND status = 'WAITING' ORDER BY free_from NULLS FIRST"
        ))
        .await?;
    Ok(rows.iter().map(|row| row["seconds"].as_i64()).collect())
}

/// Forty users come one after the other, and the attacker does `attack` with each that it gets.
async fn captured(
    session: &Session,
    attack: impl AsyncFn(&Session, &str, &Assigned) -> Result<()>,
) -> Result<(usize, usize)> {
    let (mut captured, mut honest) = (0, 0);
    for number in 0..40 {
        let user = format!("user-{number}");
        let got = session.assign(&user, "1").await?;
        if got.instance() == ATTACKER {
            captured += 1;
            attack(session, &user, &got).await?;
        } else if got.outcome() == "ASSIGNED" {
            honest += 1;
            connect(session, &user, &got).await?;
        }
    }
    Ok((captured, honest))
}

#[tokio::test]
async fn instance_that_ends_every_session_at_once_captures_few_users() -> Result<()> {
    let (_database, session) = attacked_region().await?;
    let (captured, honest) = captured(&session, async |session, user, got| {
        play(session, user, got, 0).await
    })
    .await?;
    assert_eq!(honest, 32, "no honest slot starves");
    assert!(captured <= 6, "{captured} of 40 users");
    assert_eq!(observed(&session, ATTACKER).await?["quick_ends"], captured);
    assert_eq!(session.count("SELECT FROM region_wakeups").await?, 1);
    Ok(())
}

#[tokio::test]
async fn instance_that_ends_sessions_just_over_the_threshold_captures_few_users() -> Result<()> {
    let (_database, session) = attacked_region().await?;
    let (captured, honest) = captured(&session, async |session, user, got| {
        play(session, user, got, 11).await
    })
    .await?;
    assert_eq!(honest, 32, "no honest slot starves");
    assert!(captured <= 8, "{captured} of 40 users");
    assert_eq!(observed(&session, ATTACKER).await?["quick_ends"], 0);
    Ok(())
}

#[tokio::test]
async fn instance_that_lets_nobody_connect_captures_few_users() -> Result<()> {
    let (_database, session) = attacked_region().await?;
    let (captured, honest) =
        captured(&session, async |session, _, got| expire(session, got).await).await?;
    assert_eq!(honest, 32, "no honest slot starves");
    assert!(captured <= 8, "{captured} of 40 users");
    let seen = observed(&session, ATTACKER).await?;
    assert_eq!(seen["unclaimed_ends"], captured);
    assert_eq!(seen["sessions_live"], json!(false));
    Ok(())
}

#[tokio::test]
async fn cool_down_grows_with_each_quick_end_and_a_session_that_lives_ends_it() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 12).await?;
    let mut got = vec![];
    for number in 0..12 {
        got.push(session.assign(&format!("user-{number}"), "1").await?);
    }
    for (number, got) in got.iter().take(10).enumerate() {
        play(&session, &format!("user-{number}"), got, 2).await?;
    }
    let downs: Vec<_> = [0, 5, 10, 20, 40, 80, 160, 320, 600, 600].map(Some).into();
    assert_eq!(cool_downs(&session, "i-1").await?, downs);
    let seen = observed(&session, "i-1").await?;
    assert_eq!(
        (&seen["slots_waiting"], &seen["quick_ends"]),
        (&json!(1), &json!(10)),
        "slots that cool down are not free"
    );
    let free = session.row("SELECT free FROM status_images()").await?;
    assert_eq!(free["free"], json!(1));
    play(&session, "user-10", &got[10], 3600).await?;
    let seen = observed(&session, "i-1").await?;
    assert_eq!(seen["quick_ends"], json!(0));
    assert_eq!(seen["sessions_live"], json!(true));
    play(&session, "user-11", &got[11], 2).await?;
    assert_eq!(
        cool_downs(&session, "i-1").await?[..3],
        [None, Some(0), Some(0)]
    );
    Ok(())
}

#[tokio::test]
async fn one_user_alone_makes_no_instance_suspect() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    for _ in 0..6 {
        let got = session.assign("mallory", "1").await?;
        assert_eq!(got.outcome(), "ASSIGNED");
        play(&session, "mallory", &got, 0).await?;
    }
    assert_eq!(observed(&session, "i-1").await?["quick_ends"], json!(1));
    let got = session.assign("alice", "1").await?;
    assert_eq!(got.outcome(), "ASSIGNED", "the slot is free for others");
    Ok(())
}

#[tokio::test]
async fn nothing_cools_down_where_sessions_are_short_everywhere_or_the_rule_is_off() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 4).await?;
    session
        .run(
            "INSERT INTO internal.session_ends (instance_id, quick_users, ended_at)
             VALUES ('i-1', '{a,b,c}', now())",
        )
        .await?;
    session.host("i-2", 4).await?;
    session
        .run("UPDATE instances SET notice = 'INTERRUPTION' WHERE id = 'i-1'")
        .await?;
    let quick = async |from: i32| {
        for number in from..from + 4 {
            let user = format!("user-{number}");
            let got = session.assign(&user, "1").await?;
            play(&session, &user, &got, 0).await?;
        }
        anyhow::Ok(())
    };
    quick(0).await?;
    let downs = cool_downs(&session, "i-2").await?;
    assert!(
        downs.iter().flatten().all(|seconds| *seconds <= 0),
        "{downs:?}"
    );
    assert_eq!(observed(&session, "i-2").await?["quick_ends"], json!(4));
    session
        .run("UPDATE regions SET quick_end_seconds = 0; UPDATE slots SET free_from = NULL")
        .await?;
    quick(4).await?;
    assert_eq!(cool_downs(&session, "i-2").await?, [None; 4]);
    assert_eq!(observed(&session, "i-2").await?["quick_ends"], json!(0));
    Ok(())
}

#[tokio::test]
async fn replacements_are_limited_per_instance_and_minute() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 5).await?;
    let replace_all = async |limit: &str| {
        session
            .run(&format!(
                "UPDATE regions SET replacements_per_minute = {limit};
                 UPDATE slots SET free_from = NULL;
                 UPDATE internal.session_ends SET replaced_until = NULL"
            ))
            .await?;
        let mut all = vec![];
        for number in 0..5 {
            let user = format!("user-{number}");
            all.push((session.assign(&user, "1").await?, user));
        }
        for (got, user) in &all {
            play(&session, user, got, 3600).await?;
        }
        cool_downs(&session, "i-1").await
    };
    let rate = [None, None, Some(30), Some(60), Some(90)];
    assert_eq!(replace_all("2").await?, rate);
    assert_eq!(replace_all("0").await?, [None; 5]);
    assert_eq!(replace_all("NULL").await?, [None; 5], "six for each slot");
    Ok(())
}

#[tokio::test]
async fn user_is_not_sent_back_to_the_instance_that_failed_them() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.add_region("eu-west-1", 0).await?;
    session.host("i-1", 2).await?;
    session.launch("eu-west-1", "i-2", 1).await?;
    session.register("i-2").await?;
    let mut ask = SlotRequest::new("alice", "1");
    ask.regions.push("eu-west-1".to_owned());
    let got = session.request_slot(&ask).await?;
    assert_eq!(got.instance(), "i-1");
    play(&session, "alice", &got, 0).await?;
    let got = session.request_slot(&ask).await?;
    assert_eq!(got.instance(), "i-2", "even in another region");
    assert_eq!(
        session.assign("bob", "1").await?.instance(),
        "i-1",
        "others are"
    );
    ask.session = "2".to_owned();
    let got = session.request_slot(&ask).await?;
    assert_eq!(got.instance(), "i-1", "nothing else is free");
    session
        .run("UPDATE internal.failed_sessions SET failed_at = now() - interval '61 minutes'")
        .await?;
    expire(&session, &got).await?;
    assert_eq!(
        session
            .count("SELECT FROM internal.failed_sessions")
            .await?,
        1
    );
    Ok(())
}

#[tokio::test]
async fn repeated_request_holds_a_slot_for_three_claim_periods_at_most() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let since = async |first: i32, last: i32| {
        session
            .run(&format!(
                "UPDATE slots SET first_allocated_at = now() - interval '{first} seconds',
                     allocated_at = now() - interval '{last} seconds' WHERE status = 'ALLOCATED'"
            ))
            .await
    };
    session.assign("mallory", "1").await?;
    since(100, 80).await?;
    assert_eq!(
        session.assign("mallory", "1").await?.outcome(),
        "ALREADY_ASSIGNED"
    );
    let fresh = "SELECT FROM slots WHERE allocated_at > now() - interval '10 seconds'";
    assert_eq!(session.count(fresh).await?, 1, "renewed");
    since(240, 80).await?;
    assert_eq!(
        session.assign("mallory", "1").await?.outcome(),
        "ALREADY_ASSIGNED"
    );
    let last = "SELECT FROM slots WHERE allocated_at = first_allocated_at + interval '180 seconds'";
    assert_eq!(
        session.count(last).await?,
        1,
        "for a third period, not more"
    );
    since(271, 91).await?;
    let refused = session.assign("mallory", "1").await?;
    assert_eq!(refused.outcome(), "NO_INSTANCE_AVAILABLE");
    let refused = session.assign("mallory", "2").await?;
    assert_eq!(
        refused.outcome(),
        "NO_INSTANCE_AVAILABLE",
        "with any session"
    );
    assert_eq!(session.assign("alice", "1").await?.outcome(), "ASSIGNED");
    Ok(())
}

#[tokio::test]
async fn user_who_was_held_too_long_gets_another_instance() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session.host("i-2", 1).await?;
    assert_eq!(session.assign("alice", "1").await?.instance(), "i-1");
    session
        .run(
            "UPDATE slots SET first_allocated_at = now() - interval '271 seconds',
                 allocated_at = now() - interval '91 seconds' WHERE status = 'ALLOCATED'",
        )
        .await?;
    let got = session.assign("alice", "1").await?;
    assert_eq!(
        (got.outcome(), got.instance()),
        ("ASSIGNED".into(), "i-2".into())
    );
    Ok(())
}

#[tokio::test]
async fn refused_user_leaves_one_row_however_many_sessions_they_ask_for() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for number in 0..20 {
        session.assign("mallory", &number.to_string()).await?;
    }
    assert_eq!(session.count("SELECT FROM waiting_users").await?, 1);
    let row = session
        .row(&format!(
            "SELECT waiting FROM observe_region('{REGION}', '{ENVIRONMENT}')"
        ))
        .await?;
    assert_eq!(row["waiting"], json!(1));
    Ok(())
}

#[tokio::test]
async fn users_who_stopped_asking_are_forgotten_without_a_pass() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session
        .run(&format!(
            "INSERT INTO waiting_users
                 (user_id, session_id, region, client_sha, regions, first_at, last_at)
             SELECT 'old ' || n, '1', '{REGION}', '{SHA}', '{{{REGION}}}',
                 now() - interval '1 day' + n * interval '1 second', now() - interval '16 seconds'
             FROM generate_series(1, 12) n"
        ))
        .await?;
    for user in ["alice", "bob", "old 12"] {
        session.assign(user, "1").await?;
    }
    let users = session
        .rows("SELECT user_id FROM waiting_users ORDER BY 1")
        .await?;
    let users: Vec<_> = users.iter().map(|row| text(row, "user_id")).collect();
    assert_eq!(users, ["alice", "bob", "old 12"]);
    let again = "SELECT FROM waiting_users WHERE first_at < now() - interval '1 minute'";
    assert_eq!(session.count(again).await?, 0, "they wait anew");
    Ok(())
}

#[tokio::test]
async fn suspect_is_drained_with_its_users() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    let got = session.assign("alice", "1").await?;
    connect(&session, "alice", &got).await?;
    let drain = |cause: &str| format!("drain_instances('{REGION}', 1, '[\"i-1\"]', '{cause}')");
    assert_eq!(session.outcomes(&drain("SURPLUS")).await?, ["i-1=OCCUPIED"]);
    assert_eq!(session.outcomes(&drain("SUSPECT")).await?, ["i-1=DONE"]);
    assert_eq!(
        session.assign("bob", "1").await?.outcome(),
        "NO_INSTANCE_AVAILABLE"
    );
    let users = "SELECT FROM slots WHERE status = 'RUNNING'";
    assert_eq!(session.count(users).await?, 1);
    Ok(())
}

#[tokio::test]
async fn times_of_a_slot_are_those_after_the_wait() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session.run("BEGIN; SELECT pg_sleep(0.05)").await?;
    session.assign("alice", "1").await?;
    session.assign("bob", "1").await?;
    let late = "SELECT FROM slots s, waiting_users w
        WHERE least(s.allocated_at, s.first_allocated_at, w.first_at, w.last_at)
            > now() + interval '50 milliseconds'";
    assert_eq!(session.count(late).await?, 1);
    session.run("COMMIT").await?;
    Ok(())
}
