//! What a pass observes of the flow of users, and how it tunes the safety factor.

use anyhow::{Context as _, Result};
use scaling_tests::database::{Database, ENVIRONMENT, REGION, Session};
use serde_json::{Value, json};

async fn adaptive_region() -> Result<(Database, Session)> {
    let (database, session) = Database::with_region(2).await?;
    session
        .run("UPDATE regions SET algorithm = 'adaptive', stock_out_goal = 100")
        .await?;
    Ok((database, session))
}

/// A session that ended, with the seconds since its user came and since it ended.
async fn ended(session: &Session, came: f64, ended: f64, waited: f64, reason: &str) -> Result<()> {
    session
        .run(&format!(
            "INSERT INTO session_history (user_id, session_id, region, instance_id, image_id, slot_id,
                 requested_at, assigned_at, ended_at, end_reason, waited_seconds)
             VALUES (gen_random_uuid()::text, '1', '{REGION}', 'i-1', 'ami-1', gen_random_uuid(),
                 now() - make_interval(secs => {came}),
                 now() - make_interval(secs => {came} - {waited}),
                 now() - make_interval(secs => {ended}), '{reason}', {waited})"
        ))
        .await
}

async fn flow(session: &Session) -> Result<Value> {
    let call = format!("SELECT flow FROM observe_region('{REGION}', '{ENVIRONMENT}')");
    Ok(session.row(&call).await?["flow"].clone())
}

async fn begin_pass(session: &Session, version: i64) -> Result<()> {
    session
        .run(&format!("SELECT begin_pass('{REGION}', {version})"))
        .await
}

/// The factor in millionths, and the users that it has been tuned to.
async fn factor(session: &Session) -> Result<(i64, i64)> {
    let row = session.row("SELECT * FROM internal.safety_factors").await?;
    let number = |column: &str| row[column].as_i64().context("a number");
    Ok((number("millionths")?, number("users")?))
}

/// The last pass began this long ago.
async fn passed(session: &Session, seconds: u32) -> Result<()> {
    session
        .run(&format!(
            "UPDATE internal.safety_factors
             SET counted_until = now() - interval '{seconds} seconds'"
        ))
        .await
}

#[tokio::test]
async fn flow_is_counted_by_minutes_and_each_user_once() -> Result<()> {
    let (_database, session) = adaptive_region().await?;
    // Came in the last minute, in the one before, and too long ago; all ended lately.
    ended(&session, 30.0, 10.0, 0.0, "AGENT").await?;
    ended(&session, 90.0, 10.0, 5.0, "USER").await?;
    ended(&session, 2000.0, 20.0, 0.0, "AGENT").await?;
    // Ended too long ago.
    ended(&session, 2000.0, 1000.0, 0.0, "AGENT").await?;
    // It went on elsewhere.
    ended(&session, 30.0, 10.0, 0.0, "MOVED").await?;
    // In line: demand here, and demand elsewhere.
    session.add_region("eu-west-1", 0).await?;
    for (user, first) in [("here", REGION), ("there", "eu-west-1")] {
        session
            .run(&format!(
                "INSERT INTO waiting_users (user_id, session_id, region, client_sha, first_at, last_at,
                     regions)
                 VALUES ('{user}', '1', '{REGION}', '3b1f', now() - interval '45 seconds', now(),
                     ARRAY['{first}', '{REGION}'])"
            ))
            .await?;
    }
    let flow = flow(&session).await?;
    assert_eq!(
        flow["arrivals"],
        json!([2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    );
    assert_eq!(flow["ends"], 3);
    assert_eq!(flow["boots"], json!([]));
    // With a pass in 20 seconds, the same are counted in steps of that, over five minutes.
    session.run("UPDATE regions SET pass_seconds = 20").await?;
    let flow = self::flow(&session).await?;
    assert_eq!(
        flow["arrivals"],
        json!([0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    );
    assert_eq!(flow["ends"], 3);
    Ok(())
}

#[tokio::test]
async fn other_algorithms_observe_no_flow_and_tune_nothing() -> Result<()> {
    let (_database, session) = Database::with_region(2).await?;
    begin_pass(&session, 1).await?;
    assert_eq!(flow(&session).await?, Value::Null);
    let rows = session
        .rows("SELECT * FROM internal.safety_factors")
        .await?;
    assert!(rows.is_empty());
    Ok(())
}

#[tokio::test]
async fn users_who_waited_raise_the_factor_and_others_lower_it() -> Result<()> {
    let (_database, session) = adaptive_region().await?;
    begin_pass(&session, 1).await?;
    assert_eq!(factor(&session).await?, (3_000_000, 0));

    ended(&session, 30.0, 10.0, 0.0, "AGENT").await?;
    passed(&session, 60).await?;
    begin_pass(&session, 1).await?;
    // One step of 0.045, of which 8.5 thousandths are taken off for each user.
    assert_eq!(factor(&session).await?, (2_999_618, 1));

    ended(&session, 30.0, 10.0, 5.0, "AGENT").await?;
    session
        .run("DELETE FROM session_history WHERE waited_seconds = 0")
        .await?;
    passed(&session, 60).await?;
    begin_pass(&session, 1).await?;
    let (raised, users) = factor(&session).await?;
    assert!((3_044_200..3_044_300).contains(&raised), "{raised}");
    assert_eq!(users, 2);
    Ok(())
}

#[tokio::test]
async fn factor_stays_within_its_bounds() -> Result<()> {
    let (_database, session) = adaptive_region().await?;
    begin_pass(&session, 1).await?;
    // Thirty users who all waited would add 1.3.
    for (from, to) in [(11_000_000, 12_000_000), (12_000_000, 12_000_000)] {
        for _ in 0..30 {
            ended(&session, 30.0, 10.0, 5.0, "AGENT").await?;
        }
        session
            .run(&format!(
                "UPDATE internal.safety_factors SET millionths = {from}, users = 0"
            ))
            .await?;
        passed(&session, 60).await?;
        begin_pass(&session, 1).await?;
        assert_eq!(factor(&session).await?.0, to);
    }
    session
        .run("UPDATE session_history SET waited_seconds = 0")
        .await?;
    session
        .run("UPDATE internal.safety_factors SET millionths = 1, users = 0")
        .await?;
    passed(&session, 60).await?;
    begin_pass(&session, 1).await?;
    assert_eq!(factor(&session).await?.0, 0);
    Ok(())
}

#[tokio::test]
async fn pass_behind_the_fence_and_a_dry_run_tune_nothing() -> Result<()> {
    let (_database, session) = adaptive_region().await?;
    begin_pass(&session, 5).await?;
    ended(&session, 30.0, 10.0, 5.0, "AGENT").await?;
    passed(&session, 60).await?;
    begin_pass(&session, 4).await?;
    flow(&session).await?;
    assert_eq!(factor(&session).await?, (3_000_000, 0));
    Ok(())
}

#[tokio::test]
async fn week_without_passes_counts_as_its_last_quarter_of_an_hour() -> Result<()> {
    let (_database, session) = adaptive_region().await?;
    begin_pass(&session, 1).await?;
    ended(&session, 3600.0, 600.0, 5.0, "AGENT").await?;
    ended(&session, 600.0, 10.0, 0.0, "AGENT").await?;
    passed(&session, 7 * 24 * 3600).await?;
    begin_pass(&session, 1).await?;
    assert_eq!(factor(&session).await?.1, 1);
    // A clock that was set back counts nobody twice.
    session
        .run("UPDATE internal.safety_factors SET counted_until = now() + interval '1 hour'")
        .await?;
    begin_pass(&session, 1).await?;
    assert_eq!(factor(&session).await?.1, 1);
    Ok(())
}

#[tokio::test]
async fn users_served_wake_a_region_that_no_pass_has_observed_for_20_seconds() -> Result<()> {
    let (_database, session) = adaptive_region().await?;
    session.host("i-1", 40).await?;
    begin_pass(&session, 1).await?;
    let wakes = "SELECT FROM region_wakeups";
    // Assigns remember until when nobody needs to wake the region.
    let change = async |sql: &str| {
        let changed = format!("{sql}; DELETE FROM internal.spare_slots");
        session.run(&changed).await
    };
    session.assign("alice", "1").await?;
    assert_eq!(session.count(wakes).await?, 0, "a pass has just been there");
    change("UPDATE region_fences SET last_pass_at = now() - interval '21 seconds'").await?;
    session.assign("bob", "1").await?;
    assert_eq!(
        session.count(wakes).await?,
        1,
        "though enough slots are free"
    );
    change("UPDATE region_wakeups SET bucket = bucket - interval '10 seconds'").await?;
    session.assign("carol", "1").await?;
    assert_eq!(session.count(wakes).await?, 1, "that pass is yet to come");
    change("UPDATE region_wakeups SET bucket = bucket - interval '20 seconds'").await?;
    session.assign("dave", "1").await?;
    assert_eq!(session.count(wakes).await?, 2);
    change("DELETE FROM region_wakeups; UPDATE regions SET algorithm = 'default'").await?;
    session.assign("erin", "1").await?;
    assert_eq!(session.count(wakes).await?, 0);
    Ok(())
}
