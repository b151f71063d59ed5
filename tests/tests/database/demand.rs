//! Where users in line are demand, and what passes note for them.

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use scaling_tests::database::{
    Database, ENVIRONMENT, REGION, SHA, Session, SlotRequest, claims_of,
};
use serde_json::{Value, json};

const NEXT: &str = "eu-west-1";

async fn two_regions() -> Result<(Database, Session)> {
    let (database, session) = Database::with_region(0).await?;
    session.add_region(NEXT, 0).await?;
    Ok((database, session))
}

async fn refuse(session: &Session, user: &str, regions: &[&str]) -> Result<Value> {
    let mut request = SlotRequest::new(user, "1");
    request.regions = regions.iter().map(|it| (*it).to_owned()).collect();
    let answer = session.request_slot(&request).await?;
    assert_eq!(answer.outcome(), "NO_INSTANCE_AVAILABLE");
    Ok(answer.0)
}

fn time(value: &Value) -> Result<Timestamp> {
    Ok(value.as_str().context("a time")?.parse()?)
}

async fn observed(session: &Session, region: &str) -> Result<Value> {
    session
        .row(&format!(
            "SELECT * FROM observe_region('{region}', '{ENVIRONMENT}')"
        ))
        .await
}

/// The demand of both regions.
async fn demand(session: &Session) -> Result<[i64; 2]> {
    let mut demand = [0; 2];
    for (of, region) in demand.iter_mut().zip([REGION, NEXT]) {
        *of = observed(session, region).await?["waiting"]
            .as_i64()
            .context("a number")?;
    }
    let status = session
        .rows(&format!("SELECT * FROM status_regions('{ENVIRONMENT}')"))
        .await?;
    let shown = [&status[1]["waiting"], &status[0]["waiting"]];
    assert_eq!(shown.map(Value::as_i64), demand.map(Some));
    Ok(demand)
}

/// Notes that a region can launch nothing for these seconds, or that it can.
async fn note_capacity(session: &Session, region: &str, seconds: Option<i64>) -> Result<()> {
    let until = seconds.map_or("NULL".to_owned(), |seconds| {
        format!("now() + make_interval(secs => {seconds})")
    });
    let call = format!("note_forecast('{region}', 1, now(), '[]', {until})");
    assert_eq!(session.outcomes(&call).await?, [format!("{region}=DONE")]);
    Ok(())
}

#[tokio::test]
async fn users_are_demand_in_the_first_region_that_can_launch() -> Result<()> {
    let (_database, session) = two_regions().await?;
    for user in ["alice", "bob"] {
        refuse(&session, user, &[REGION, NEXT]).await?;
    }
    refuse(&session, "carol", &[NEXT, REGION]).await?;
    assert_eq!(demand(&session).await?, [2, 1]);
    note_capacity(&session, REGION, Some(60)).await?;
    assert_eq!(demand(&session).await?, [0, 3]);
    note_capacity(&session, NEXT, Some(60)).await?;
    assert_eq!(demand(&session).await?, [2, 1], "none can: in the first");
    note_capacity(&session, REGION, Some(-1)).await?;
    assert_eq!(demand(&session).await?, [3, 0], "its end is over");
    note_capacity(&session, NEXT, None).await?;
    assert_eq!(demand(&session).await?, [2, 1]);
    session
        .run(&format!(
            "UPDATE regions SET enabled = false WHERE name = '{REGION}'"
        ))
        .await?;
    assert_eq!(demand(&session).await?, [0, 3]);
    Ok(())
}

#[tokio::test]
async fn user_is_demand_once_and_only_while_asking() -> Result<()> {
    let (_database, session) = two_regions().await?;
    refuse(&session, "alice", &[REGION, NEXT]).await?;
    refuse(&session, "alice", &[NEXT]).await?;
    assert_eq!(demand(&session).await?, [0, 1], "the last request counts");
    refuse(&session, "alice", &[REGION]).await?;
    assert_eq!(demand(&session).await?, [1, 0]);
    session
        .run("UPDATE waiting_users SET last_at = last_at - interval '16 seconds'")
        .await?;
    assert_eq!(demand(&session).await?, [0, 0], "left the line");
    assert_eq!(observed(&session, REGION).await?["lines"], json!([]));
    Ok(())
}

#[tokio::test]
async fn users_whom_launches_cannot_serve_are_in_line_but_no_demand() -> Result<()> {
    let (_database, session) = two_regions().await?;
    session
        .run(&format!(
            "INSERT INTO images (region, image_id, client_sha, state)
             VALUES ('{REGION}', 'ami-0', 'old', 'BAKING')"
        ))
        .await?;
    let mut request = SlotRequest::new("alice", "1");
    request.sha = "old".to_owned();
    session.request_slot(&request).await?;
    refuse(&session, "bob", &[REGION]).await?;
    assert_eq!(demand(&session).await?, [1, 0]);
    let lines = observed(&session, REGION).await?["lines"].clone();
    let lines: Vec<_> = lines.as_array().context("lines")?.iter().collect();
    let of = |n: usize| (&lines[n]["client_sha"], &lines[n]["users"]);
    assert_eq!(of(0), (&json!(SHA), &json!(1)));
    assert_eq!(of(1), (&json!("old"), &json!(1)));
    Ok(())
}

#[tokio::test]
async fn ends_of_sessions_are_counted_by_the_slots_that_replaced_theirs() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 4).await?;
    for user in 0..4 {
        session.assign(&format!("user {user}"), "1").await?;
    }
    refuse(&session, "alice", &[REGION]).await?;
    let line = async || {
        let region = observed(&session, REGION).await?;
        let line = region["lines"].get(0).context("a line")?;
        let age = time(&region["now"])?.duration_since(time(&line["ends_since"])?);
        anyhow::Ok((line["session_ends"].as_i64(), age.as_secs()))
    };
    let (ends, age) = line().await?;
    assert_eq!(ends, Some(0));
    assert!((295..=305).contains(&age), "{age}");
    let end = async |user: &str, seconds: i64| {
        session
            .run(&format!(
                "UPDATE slots SET status = 'DYING' WHERE user_id = '{user}'"
            ))
            .await?;
        let slot = session
            .row("SELECT id FROM slots WHERE status = 'DYING'")
            .await?;
        let id = slot["id"].as_str().context("an id")?.to_owned();
        let known = session.rows("SELECT id FROM slots").await?;
        let call = format!("replace_slot('{id}', '{}')", claims_of("i-1"));
        assert_eq!(session.outcome(&call).await?, "REPLACED");
        let known: Vec<_> = known.iter().filter_map(|row| row["id"].as_str()).collect();
        session
            .run(&format!(
                "UPDATE slots SET created_at = now() - make_interval(secs => {seconds}),
                    free_from = now() + interval '1 hour'
                 WHERE id NOT IN ('{}')",
                known.join("', '")
            ))
            .await
    };
    session
        .run(
            "UPDATE instances SET active_at = now() - interval '1 hour';
              UPDATE slots SET created_at = now() - interval '1 hour'",
        )
        .await?;
    end("user 0", 400).await?;
    assert_eq!(line().await?.0, Some(0), "long ago");
    end("user 1", 30).await?;
    let (ends, age) = line().await?;
    assert_eq!(ends, Some(1));
    assert!((295..=305).contains(&age), "{age}");
    end("user 2", 20).await?;
    end("user 3", 10).await?;
    let (ends, age) = line().await?;
    assert_eq!(ends, Some(2), "the last of half of the slots");
    assert!((20..=29).contains(&age), "{age}");
    Ok(())
}

#[tokio::test]
async fn noted_forecast_becomes_the_estimate_until_the_next_one() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let now = time(&observed(&session, REGION).await?["now"])?;
    let in_seconds = |seconds| now + SignedDuration::from_secs(seconds);
    let note = async |version: i64, forecasts: Value| {
        let call = format!("note_forecast('{REGION}', {version}, '{now}', '{forecasts}', NULL)");
        session.outcomes(&call).await
    };
    let forecast = |sha: &str| json!({"client_sha": sha, "at": [in_seconds(100), in_seconds(200)], "slots": [1, 3]});
    let done = [format!("{REGION}=DONE")];
    assert_eq!(
        note(2, json!([forecast("old"), forecast(SHA)])).await?,
        done
    );
    let estimate = async |user: &str| {
        let answer = refuse(&session, user, &[REGION]).await?;
        anyhow::Ok(answer["estimate_seconds"].as_i64())
    };
    let is_near = |estimate: Option<i64>, seconds: i64| {
        estimate.is_some_and(|estimate| (seconds - 20..=seconds).contains(&estimate))
    };
    assert!(is_near(estimate("alice").await?, 100));
    assert!(is_near(estimate("bob").await?, 200));
    let status = session
        .row(&format!("SELECT * FROM status_regions('{ENVIRONMENT}')"))
        .await?;
    let line = &status["lines"][0];
    assert_eq!(line["users"], json!(2));
    assert!(is_near(line["estimate_seconds"].as_i64(), 200), "{line}");

    let fenced = [format!("{REGION}=FENCED")];
    assert_eq!(note(1, json!([])).await?, fenced);
    assert!(is_near(estimate("bob").await?, 200));
    assert_eq!(note(3, json!([forecast("old")])).await?, done);
    assert_eq!(estimate("bob").await?, None);
    let kept = "SELECT client_sha FROM internal.line_forecasts";
    assert_eq!(session.rows(kept).await?, [json!({"client_sha": "old"})]);
    Ok(())
}
