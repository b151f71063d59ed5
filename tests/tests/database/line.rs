//! The line of users who wait for a slot, one request after the other.

use anyhow::{Context as _, Result};
use scaling_tests::database::{
    Assigned, Database, IMAGE, REGION, SHA, Session, SlotRequest, launch_of,
};
use serde_json::{Value, json};

const WEST: &str = "us-west-2";

/// The place in the line; 0 if the answer has none.
fn place(answer: &Assigned) -> i64 {
    answer.0["place"].as_i64().unwrap_or_default()
}

fn estimate(answer: &Assigned) -> Option<i64> {
    answer.0["estimate_seconds"].as_i64()
}

/// Requests a slot, which there is not. Returns the place in the line.
async fn refused(session: &Session, user: &str) -> Result<i64> {
    refused_request(session, &SlotRequest::new(user, "1"))
        .await
        .map(|answer| place(&answer))
}

async fn refused_request(session: &Session, request: &SlotRequest) -> Result<Assigned> {
    let answer = session.request_slot(request).await?;
    assert_eq!(answer.outcome(), "NO_INSTANCE_AVAILABLE", "{request:?}");
    Ok(answer)
}

async fn served(session: &Session, user: &str) -> Result<Assigned> {
    let answer = session.assign(user, "1").await?;
    assert_eq!(answer.outcome(), "ASSIGNED", "{user}");
    Ok(answer)
}

/// Lets the user's last request be older than `line_seconds`.
async fn leave(session: &Session, user: &str) -> Result<()> {
    session
        .run(&format!(
            "UPDATE waiting_users w SET last_at = last_at
                 - make_interval(secs => r.line_seconds + 1)
             FROM regions r WHERE r.name = w.region AND w.user_id = '{user}'"
        ))
        .await
}

/// Lets the user have waited for this long.
async fn backdate(session: &Session, user: &str, seconds: u32) -> Result<()> {
    session
        .run(&format!(
            "UPDATE waiting_users SET first_at = first_at - interval '{seconds} seconds'
             WHERE user_id = '{user}'"
        ))
        .await
}

/// A row of somebody who waits, as refusals write it.
fn waiting(users: &str, region: &str, sha: &str) -> String {
    format!(
        "INSERT INTO waiting_users (user_id, session_id, region, client_sha, regions, first_at, last_at)
         SELECT u, '1', '{region}', '{sha}', ARRAY['{region}'], clock_timestamp(), clock_timestamp()
         FROM {users} AS u"
    )
}

/// Adds an ACTIVE instance on an image.
async fn host_on(session: &Session, region: &str, id: &str, image: &str, sha: &str) -> Result<()> {
    let instances = json!([{
        "id": id, "launch_id": launch_of(id), "image_id": image, "client_sha": sha,
        "instance_type": "t3.large", "capacity": 1, "private_ip": "10.0.0.1",
        "launched_at": "2020-01-01T00:00:00Z",
    }]);
    let call = format!("record_instances('{region}', 1, '{instances}')");
    assert_eq!(session.outcomes(&call).await?, [format!("{id}=DONE")]);
    session.register(id).await
}

async fn add_image(session: &Session, image: &str, sha: &str, state: &str) -> Result<()> {
    session
        .run(&format!(
            "INSERT INTO images (region, image_id, client_sha, state)
             VALUES ('{REGION}', '{image}', '{sha}', '{state}')"
        ))
        .await
}

/// Writes what a pass expects: from so many seconds after now on, as many slots in all.
async fn forecast(
    session: &Session,
    region: &str,
    made_ago: u32,
    steps: &[(i64, i32)],
) -> Result<()> {
    let at: Vec<_> = steps
        .iter()
        .map(|(seconds, _)| format!("clock_timestamp() + interval '{seconds} seconds'"))
        .collect();
    let slots: Vec<_> = steps.iter().map(|(_, slots)| slots.to_string()).collect();
    session
        .run(&format!(
            "DELETE FROM internal.line_forecasts WHERE region = '{region}';
             INSERT INTO internal.line_forecasts (region, client_sha, made_at, at, slots)
             VALUES ('{region}', '{SHA}', clock_timestamp() - interval '{made_ago} seconds',
                 ARRAY[{}]::timestamptz[], ARRAY[{}]::integer[])",
            at.join(", "),
            slots.join(", ")
        ))
        .await
}

fn in_regions(user: &str, regions: &[&str]) -> SlotRequest {
    SlotRequest {
        regions: regions.iter().copied().map(str::to_owned).collect(),
        ..SlotRequest::new(user, "1")
    }
}

#[tokio::test]
async fn line_is_in_the_order_of_first_refusals() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let places = [("ann", 1), ("bob", 2), ("carl", 3), ("dan", 4)];
    for (user, place) in places {
        assert_eq!(refused(&session, user).await?, place, "{user}");
    }
    for (user, place) in places.into_iter().rev() {
        assert_eq!(refused(&session, user).await?, place, "{user} asks again");
    }
    session.host("i-1", 1).await?;
    assert_eq!(refused(&session, "newcomer").await?, 5);
    assert_eq!(refused(&session, "bob").await?, 2, "the slot is ann's");
    assert_eq!(place(&served(&session, "ann").await?), 0);
    assert_eq!(refused(&session, "bob").await?, 1, "one less is ahead");
    assert_eq!(refused(&session, "newcomer").await?, 4);
    Ok(())
}

#[tokio::test]
async fn user_is_served_when_more_slots_are_free_than_users_are_ahead() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for user in ["ann", "bob", "carl"] {
        refused(&session, user).await?;
    }
    session.host("i-1", 5).await?;
    served(&session, "carl").await?;
    served(&session, "newcomer").await?;
    served(&session, "another").await?;
    assert_eq!(
        refused(&session, "late").await?,
        3,
        "two slots for two users"
    );
    served(&session, "bob").await?;
    assert_eq!(refused(&session, "late").await?, 2, "one slot for one user");
    served(&session, "ann").await?;
    assert_eq!(refused(&session, "late").await?, 1, "none is free");
    Ok(())
}

/// Free slots that cannot be assigned are no reason to serve somebody further back.
#[tokio::test]
async fn slots_that_cannot_be_assigned_are_not_kept_for_the_line() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    refused(&session, "ann").await?;
    for id in ["i-1", "i-2", "i-3", "i-4"] {
        session.host(id, 1).await?;
    }
    add_image(&session, "ami-other", "other", "BAKING").await?;
    host_on(&session, REGION, "i-other", "ami-other", "other").await?;
    session
        .run(
            "UPDATE heartbeats SET beat_at = now() - interval '91 seconds'
             WHERE instance_id = 'i-1';
             UPDATE instances SET status = 'DRAINING' WHERE id = 'i-2';
             UPDATE slots SET free_from = now() + interval '1 minute' WHERE instance_id = 'i-3'",
        )
        .await?;
    assert_eq!(refused(&session, "newcomer").await?, 2);
    assert_eq!(served(&session, "ann").await?.instance(), "i-4");
    Ok(())
}

#[tokio::test]
async fn user_who_left_holds_nobody_up_and_comes_back_as_a_newcomer() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for user in ["ann", "bob", "carl"] {
        refused(&session, user).await?;
    }
    leave(&session, "ann").await?;
    assert_eq!(refused(&session, "bob").await?, 1);
    session.host("i-1", 1).await?;
    assert_eq!(refused(&session, "ann").await?, 3, "behind bob and carl");
    assert_eq!(refused(&session, "carl").await?, 2);
    served(&session, "bob").await?;
    assert_eq!(refused(&session, "ann").await?, 2);
    Ok(())
}

#[tokio::test]
async fn users_leave_after_the_regions_line_seconds() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let asked = async |user: &str, seconds: u32| {
        refused(&session, user).await?;
        session
            .run(&format!(
                "UPDATE waiting_users SET last_at = last_at - interval '{seconds} seconds'
                 WHERE user_id = '{user}'"
            ))
            .await
    };
    let by_default = session.row("SELECT line_seconds FROM regions").await?;
    assert_eq!(by_default["line_seconds"], json!(15));
    asked("ann", 16).await?;
    session.run("UPDATE regions SET line_seconds = 60").await?;
    asked("bob", 12).await?;
    assert_eq!(refused(&session, "carl").await?, 3);
    session.run("UPDATE regions SET line_seconds = 15").await?;
    assert_eq!(refused(&session, "dan").await?, 3, "ann has left");
    session.run("UPDATE regions SET line_seconds = 5").await?;
    let answer = refused_request(&session, &SlotRequest::new("eve", "1")).await?;
    assert_eq!(place(&answer), 3, "bob has left");
    assert_eq!(answer.0["line_seconds"], json!(5));
    for seconds in [4, 301] {
        let update = format!("UPDATE regions SET line_seconds = {seconds}");
        session.violated(&update).await?;
    }
    Ok(())
}

#[tokio::test]
async fn place_is_exact_up_to_a_thousand() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let users = "(SELECT 'user-' || n FROM generate_series(1, 998) n)";
    session.run(&waiting(users, REGION, SHA)).await?;
    for (user, expected) in [("ann", 999), ("bob", 1000), ("carl", 1001), ("dan", 1001)] {
        assert_eq!(refused(&session, user).await?, expected, "{user}");
    }
    session.host("i-1", 1).await?;
    assert_eq!(refused(&session, "dan").await?, 1001);
    Ok(())
}

/// Places are counted up to a thousand. Whoever is further back comes forward first.
#[tokio::test]
async fn slots_are_kept_for_a_line_of_thousands() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let users = "(SELECT 'user-' || n FROM generate_series(1, 3000) n)";
    session.run(&waiting(users, REGION, SHA)).await?;
    session.host("i-1", 1500).await?;
    assert_eq!(refused(&session, "newcomer").await?, 1001);
    session
        .run(
            "DELETE FROM waiting_users WHERE user_id IN (
                 SELECT user_id FROM waiting_users ORDER BY first_at, user_id LIMIT 2001)",
        )
        .await?;
    served(&session, "newcomer").await?;
    session
        .run("DELETE FROM slots WHERE id IN (SELECT id FROM slots WHERE status = 'WAITING' LIMIT 500)")
        .await?;
    assert_eq!(refused(&session, "late").await?, 1000, "999 for 999");
    Ok(())
}

/// The plans are made while the tables are small, and stay when they are large.
#[tokio::test]
async fn refusal_reads_neither_the_users_behind_nor_the_slots_of_another_region() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.add_region(WEST, 0).await?;
    assert_eq!(refused(&session, "ann").await?, 1);
    let others = "unnest(ARRAY(SELECT 'user-' || n FROM generate_series(1, 300) n))";
    session.run(&waiting(others, REGION, SHA)).await?;
    session.launch(WEST, "i-west", 300).await?;
    session.register("i-west").await?;

    session.run("BEGIN").await?;
    assert_eq!(refused(&session, "ann").await?, 1);
    let read = session
        .row(
            "SELECT sum(seq_tup_read + idx_tup_fetch) FILTER (WHERE relname = 'slots') AS slots,
                 sum(seq_tup_read + idx_tup_fetch) FILTER (WHERE relname = 'waiting_users') AS line
             FROM pg_stat_xact_user_tables",
        )
        .await?;
    session.run("ROLLBACK").await?;
    let few = |table: &str, most: i64| read[table].as_i64().is_some_and(|rows| rows <= most);
    assert!(few("slots", 0) && few("line", 5), "{read}");
    Ok(())
}

#[tokio::test]
async fn answer_without_a_refusal_for_capacity_has_no_place() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    refused(&session, "ann").await?;
    let mut other = SlotRequest::new("bob", "1");
    other.sha = "other".to_owned();
    let mut limited = SlotRequest::new("bob", "1");
    limited.limit = 0;
    session.host("i-1", 2).await?;
    let ann = served(&session, "ann").await?;
    let again = session.assign("ann", "1").await?;
    let answers = [
        session.request_slot(&other).await?,
        session.request_slot(&limited).await?,
        ann,
        again,
    ];
    for answer in answers {
        for column in ["place", "estimate_seconds", "line_seconds"] {
            assert_eq!(answer.0[column], Value::Null, "{answer:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn time_that_a_served_user_waited_is_stored() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for (user, seconds) in [("ann", 42), ("bob", 90)] {
        refused(&session, user).await?;
        backdate(&session, user, seconds).await?;
    }
    leave(&session, "bob").await?;
    session.host("i-1", 3).await?;
    let mut stored = vec![];
    for user in ["ann", "bob", "newcomer"] {
        let answer = served(&session, user).await?;
        let slot = answer.slot();
        let row = session
            .row(&format!(
                "SELECT waited_seconds FROM slots WHERE id = '{slot}'"
            ))
            .await?;
        assert_eq!(row["waited_seconds"], answer.0["waited_seconds"], "{user}");
        stored.push(row["waited_seconds"].as_f64().context("a number")?);
    }
    assert!((42.0..50.0).contains(&stored[0]), "{stored:?}");
    assert_eq!(stored[1..], [0.0, 0.0], "bob had left the line");
    assert_eq!(session.count("SELECT FROM waiting_users").await?, 0);

    // It is that of the session.
    session
        .run("UPDATE slots SET allocated_at = now() - interval '91 seconds' WHERE user_id = 'ann'")
        .await?;
    let released = session
        .outcomes(&format!("release_unclaimed('{REGION}', 1)"))
        .await?;
    assert_eq!(released.len(), 1);
    let waited = "SELECT FROM slots WHERE waited_seconds <> 0";
    assert_eq!(session.count(waited).await?, 0);
    Ok(())
}

#[tokio::test]
async fn time_waited_is_that_in_the_region_that_serves() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.add_region(WEST, 0).await?;
    refused_request(&session, &in_regions("ann", &[REGION])).await?;
    backdate(&session, "ann", 40).await?;
    refused_request(&session, &in_regions("ann", &[REGION, WEST])).await?;
    session
        .run(&format!(
            "UPDATE waiting_users SET first_at = first_at - interval '20 seconds'
             WHERE region = '{WEST}'"
        ))
        .await?;
    host_on(&session, WEST, "i-west", IMAGE, SHA).await?;
    let answer = session
        .request_slot(&in_regions("ann", &[REGION, WEST]))
        .await?;
    let waited = answer.0["waited_seconds"].as_f64().context("a number")?;
    assert!((20.0..30.0).contains(&waited), "{waited}");
    Ok(())
}

#[tokio::test]
async fn estimate_is_when_enough_slots_are_expected() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let ask = async |user: &str| {
        let request = SlotRequest::new(user, "1");
        anyhow::Ok(estimate(&refused_request(&session, &request).await?))
    };
    assert_eq!(ask("ann").await?, None, "nothing is known");
    forecast(&session, REGION, 0, &[(30, 2), (60, 3)]).await?;
    let near = |seconds: Option<i64>, expected: i64| {
        assert!(
            seconds.is_some_and(|seconds| (expected - 25..=expected).contains(&seconds)),
            "{seconds:?}, not {expected}"
        );
    };
    near(ask("ann").await?, 30);
    near(ask("bob").await?, 30);
    near(ask("carl").await?, 60);
    assert_eq!(
        ask("dan").await?,
        None,
        "for the fourth nothing is expected"
    );
    // Slots that were expected by now count for those who are still in line only if there are more.
    forecast(&session, REGION, 60, &[(-10, 2), (30, 3), (60, 5)]).await?;
    near(ask("ann").await?, 30);
    near(ask("bob").await?, 60);
    near(ask("carl").await?, 60);
    assert_eq!(ask("dan").await?, None);
    forecast(&session, REGION, 121, &[(30, 9)]).await?;
    assert_eq!(ask("ann").await?, None, "older than two minutes");
    forecast(&session, REGION, 0, &[(0, 0), (1, 1)]).await?;
    assert_eq!(ask("ann").await?, Some(1), "at least one");
    Ok(())
}

#[tokio::test]
async fn answer_is_about_the_region_that_is_expected_to_serve_first() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.add_region(WEST, 0).await?;
    session
        .run(&format!(
            "UPDATE regions SET line_seconds = 20 WHERE name = '{WEST}'"
        ))
        .await?;
    let both = in_regions("me", &[REGION, WEST]);
    let ask = async || {
        let answer = refused_request(&session, &both).await?;
        let line = answer.0["line_seconds"].as_i64();
        anyhow::Ok((place(&answer), estimate(&answer).is_some(), line))
    };
    // Two are ahead here, one there.
    for (user, region) in [("a", REGION), ("b", REGION), ("c", WEST)] {
        refused_request(&session, &in_regions(user, &[region])).await?;
    }
    assert_eq!(ask().await?, (2, false, Some(20)), "the shorter line");
    forecast(&session, REGION, 0, &[(90, 3)]).await?;
    assert_eq!(ask().await?, (3, true, Some(15)), "the known one");
    forecast(&session, WEST, 0, &[(30, 2)]).await?;
    assert_eq!(ask().await?, (2, true, Some(20)), "the sooner one");
    Ok(())
}

#[tokio::test]
async fn user_in_several_lines_is_served_once() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.add_region(WEST, 0).await?;
    refused_request(&session, &in_regions("ann", &[WEST, REGION])).await?;
    refused_request(&session, &in_regions("bob", &[REGION])).await?;
    refused_request(&session, &in_regions("carl", &[WEST])).await?;
    let rows = session
        .rows("SELECT region, client_sha, regions FROM waiting_users WHERE user_id = 'ann' ORDER BY 1")
        .await?;
    let row = |region| json!({"region": region, "client_sha": SHA, "regions": [WEST, REGION]});
    assert_eq!(rows, [row(REGION), row(WEST)]);

    session.host("i-1", 1).await?;
    host_on(&session, WEST, "i-west", IMAGE, SHA).await?;
    let refused_in = async |user: &str, region: &str| {
        let answer = refused_request(&session, &in_regions(user, &[region])).await?;
        anyhow::Ok(place(&answer))
    };
    assert_eq!(refused_in("bob", REGION).await?, 2);
    assert_eq!(refused_in("carl", WEST).await?, 2);
    let answer = session
        .request_slot(&in_regions("ann", &[WEST, REGION]))
        .await?;
    assert_eq!(answer.instance(), "i-west");
    let left = "SELECT FROM waiting_users WHERE user_id = 'ann'";
    assert_eq!(session.count(left).await?, 0, "in no line any more");
    assert_eq!(refused_in("carl", WEST).await?, 1);
    served(&session, "bob").await?;
    Ok(())
}

/// Somebody further back in the nearer region may be the first in the other one.
#[tokio::test]
async fn user_is_served_where_nobody_is_ahead() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.add_region(WEST, 0).await?;
    refused_request(&session, &in_regions("ann", &[REGION])).await?;
    session.host("i-1", 1).await?;
    host_on(&session, WEST, "i-west", IMAGE, SHA).await?;
    let answer = session
        .request_slot(&in_regions("bob", &[REGION, WEST]))
        .await?;
    assert_eq!(answer.instance(), "i-west");
    served(&session, "ann").await?;
    Ok(())
}

#[tokio::test]
async fn user_who_may_not_have_the_free_slot_does_not_hold_up_others() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session.assign("mallory", "1").await?;
    session
        .run(
            "UPDATE slots SET first_allocated_at = now() - interval '271 seconds',
                 allocated_at = now() - interval '91 seconds' WHERE status = 'ALLOCATED'",
        )
        .await?;
    assert_eq!(refused(&session, "mallory").await?, 1, "barred from i-1");
    served(&session, "ann").await?;
    assert_eq!(refused(&session, "bob").await?, 1, "mallory is not ahead");

    // The bar has an end. From then on the order is the usual one.
    session
        .run(
            "UPDATE internal.failed_sessions SET barred_until = now() - interval '1 second';
             UPDATE waiting_users SET barred_until = now() - interval '1 second'
             WHERE barred_until IS NOT NULL",
        )
        .await?;
    session.host("i-2", 1).await?;
    assert_eq!(refused(&session, "bob").await?, 2);
    assert_eq!(served(&session, "mallory").await?.instance(), "i-2");
    Ok(())
}

#[tokio::test]
async fn line_stays_when_an_image_of_the_same_hash_replaces_another() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    assert_eq!(refused(&session, "ann").await?, 1);
    add_image(&session, "ami-2", SHA, "WARMING").await?;
    session
        .run(&format!(
            "UPDATE images SET state = 'BAKING' WHERE image_id = '{IMAGE}';
             UPDATE images SET state = 'CURRENT' WHERE image_id = 'ami-2'"
        ))
        .await?;
    host_on(&session, REGION, "i-new", "ami-2", SHA).await?;
    assert_eq!(refused(&session, "newcomer").await?, 2);
    assert_eq!(served(&session, "ann").await?.instance(), "i-new");
    // The slots of both images are those of the line.
    session.host("i-old", 1).await?;
    assert_eq!(refused(&session, "another").await?, 2);
    assert_eq!(served(&session, "newcomer").await?.instance(), "i-old");
    Ok(())
}

#[tokio::test]
async fn users_of_another_hash_are_in_another_line() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    add_image(&session, "ami-2", "other", "BAKING").await?;
    refused(&session, "ann").await?;
    let mut other = SlotRequest::new("bob", "1");
    other.sha = "other".to_owned();
    assert_eq!(place(&refused_request(&session, &other).await?), 1);
    host_on(&session, REGION, "i-other", "ami-2", "other").await?;
    session.host("i-1", 1).await?;
    other.user = "carl".to_owned();
    assert_eq!(place(&refused_request(&session, &other).await?), 2);
    other.user = "bob".to_owned();
    assert_eq!(
        session.request_slot(&other).await?.instance(),
        "i-other",
        "not behind ann"
    );
    served(&session, "ann").await?;
    Ok(())
}

#[tokio::test]
async fn images_are_filled_one_after_the_other_from_the_current_one() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for (number, image) in [(1, "ami-older"), (2, "ami-old")] {
        add_image(&session, image, SHA, "BAKING").await?;
        session
            .run(&format!(
                "UPDATE images SET state_since = now() - interval '{} hours'
                 WHERE image_id = '{image}'",
                10 - number
            ))
            .await?;
        // By their ids and by their free slots, these would be first.
        host_on(&session, REGION, &format!("i-{image}"), image, SHA).await?;
    }
    session.host("i-z", 2).await?;
    let mut order = vec![];
    for user in 0..4 {
        order.push(served(&session, &format!("user-{user}")).await?.instance());
    }
    assert_eq!(order, ["i-z", "i-z", "i-ami-old", "i-ami-older"]);
    Ok(())
}

#[tokio::test]
async fn developer_waits_in_the_line_of_the_current_image() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    add_image(&session, "ami-old", SHA, "BAKING").await?;
    let developer = |user: &str| SlotRequest {
        local_dev: true,
        sha: "local_dev".to_owned(),
        ..SlotRequest::new(user, "1")
    };
    assert_eq!(refused(&session, "ann").await?, 1);
    assert_eq!(
        place(&refused_request(&session, &developer("dev")).await?),
        2
    );
    assert_eq!(refused(&session, "bob").await?, 3);
    // The old image serves users of its hash, but not developers.
    host_on(&session, REGION, "i-old", "ami-old", SHA).await?;
    assert_eq!(
        place(&refused_request(&session, &developer("dev")).await?),
        2
    );
    assert_eq!(served(&session, "ann").await?.instance(), "i-old");
    session.host("i-1", 1).await?;
    assert_eq!(
        refused(&session, "bob").await?,
        2,
        "the slot is the developer's"
    );
    let answer = session.request_slot(&developer("dev")).await?;
    assert_eq!(answer.instance(), "i-1");
    assert_eq!(refused(&session, "bob").await?, 1);
    Ok(())
}

#[tokio::test]
async fn user_at_their_limit_leaves_the_line_after_a_while() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let mut request = SlotRequest::new("ann", "1");
    request.limit = 1;
    session.request_slot(&request).await?;
    request.session = "2".to_owned();
    assert_eq!(
        session.request_slot(&request).await?.outcome(),
        "USER_ALREADY_ACTIVE"
    );
    assert_eq!(refused(&session, "bob").await?, 1, "ann is in no line");
    Ok(())
}

#[tokio::test]
async fn slots_follow_their_instance_to_another_image() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    add_image(&session, "ami-2", "other", "BAKING").await?;
    served(&session, "ann").await?;
    session
        .run("UPDATE instances SET image_id = 'ami-2'")
        .await?;
    let moved = "SELECT FROM slots WHERE image_id = 'ami-2'";
    assert_eq!(session.count(moved).await?, 2);
    assert_eq!(refused(&session, "bob").await?, 1);
    let mut other = SlotRequest::new("carl", "1");
    other.sha = "other".to_owned();
    assert_eq!(session.request_slot(&other).await?.instance(), "i-1");
    Ok(())
}
