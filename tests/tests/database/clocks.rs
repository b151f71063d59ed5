//! Times that are written after a lock was awaited: they say in which order things happened.

use std::time::Duration;

use anyhow::Result;
use scaling_tests::database::{Database, REGION, Session};

const BEGIN: &str = "SELECT * FROM begin_pass('us-east-1', 7)";

/// The microseconds between two times; positive if the second is later.
async fn between(session: &Session, earlier: &str, later: &str) -> Result<i64> {
    let sql = format!("SELECT (extract(epoch FROM ({later}) - ({earlier})) * 1e6)::bigint AS us");
    let row = session.row(&sql).await?;
    Ok(row["us"].as_i64().unwrap_or_default())
}

const LAST_PASS: &str = "SELECT last_pass_at FROM region_fences";
const SINCE: &str = "SELECT state_since FROM images WHERE image_id = 'ami-2'";

/// Begins a transaction in `first`, then makes `second` wait for it, and commits.
async fn in_turn(
    database: &Database,
    watcher: &Session,
    (first_sql, second_sql): (&str, &str),
) -> Result<()> {
    let sessions = database.sessions(2).await?;
    // The second transaction begins before the first one takes the lock.
    sessions[1].run("BEGIN; SELECT now()").await?;
    sessions[0].run("BEGIN").await?;
    sessions[0].run(first_sql).await?;
    let commit = async {
        watcher.wait_for_a_blocked_session().await?;
        sessions[0].run("COMMIT").await
    };
    let (committed, waited) = tokio::join!(commit, sessions[1].run(second_sql));
    committed?;
    waited?;
    sessions[1].run("COMMIT").await
}

#[tokio::test]
async fn image_requested_after_a_pass_observed_it_is_newer_than_the_pass() -> Result<()> {
    let ask = format!("SELECT * FROM ask_upgrade('{REGION}', 'ami-2', 'sha-2')");
    for image in [None, Some("FAILED"), Some("BAKING")] {
        let (database, session) = Database::with_region(0).await?;
        if let Some(state) = image {
            session
                .run(&format!(
                    "INSERT INTO images (region, image_id, client_sha, state, state_since)
                     VALUES ('{REGION}', 'ami-2', 'sha-2', '{state}', now() - interval '1 hour')"
                ))
                .await?;
        }
        in_turn(&database, &session, (BEGIN, &ask)).await?;
        let newer = between(&session, LAST_PASS, SINCE).await?;
        assert!(newer > 0, "{image:?}: {newer} µs");
        if image == Some("BAKING") {
            continue;
        }
        // The pass decided without this request.
        let moved = "move_image('us-east-1', 7, 'ami-2', 'WARMING', 'FAILED', 'too late')";
        assert_eq!(session.outcomes(moved).await?, ["ami-2=WRONG_STATE"]);
    }
    Ok(())
}

#[tokio::test]
async fn pass_that_waited_for_a_request_is_newer_than_the_request() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    let ask = format!("SELECT * FROM ask_upgrade('{REGION}', 'ami-2', 'sha-2')");
    in_turn(&database, &session, (&ask, BEGIN)).await?;
    let newer = between(&session, SINCE, LAST_PASS).await?;
    assert!(newer > 0, "{newer} µs");
    let moved = "move_image('us-east-1', 7, 'ami-2', 'WARMING', 'FAILED', 'seen')";
    assert_eq!(session.outcomes(moved).await?, ["ami-2=DONE"]);
    Ok(())
}

#[tokio::test]
async fn observed_time_is_not_before_what_the_pass_waited_for() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session
        .run("CREATE TABLE seen (now timestamptz, watched_since timestamptz)")
        .await?;
    let ask = format!("SELECT * FROM ask_upgrade('{REGION}', 'ami-2', 'sha-2')");
    let begin = format!(
        "{BEGIN}; INSERT INTO seen SELECT now, watched_since FROM observe_region('{REGION}', 'dev')"
    );
    in_turn(&database, &session, (&ask, &begin)).await?;
    let age = between(&session, SINCE, "SELECT now FROM seen").await?;
    assert!(age > 0, "the image was requested {age} µs ago");
    let watched = between(
        &session,
        "SELECT watched_since FROM seen",
        "SELECT now FROM seen",
    )
    .await?;
    assert!(watched >= 0, "watched for {watched} µs");
    Ok(())
}

#[tokio::test]
async fn wake_up_of_an_assign_that_waited_is_in_the_bucket_of_its_end() -> Result<()> {
    let (database, _session) = Database::with_region(1).await?;
    let waiting = database.connect().await?;
    waiting.run("BEGIN; SELECT now()").await?;
    let bucket_is_over = "SELECT WHERE date_bin('2 seconds', clock_timestamp(), 'epoch')
                          > date_bin('2 seconds', now(), 'epoch')";
    while waiting.count(bucket_is_over).await? == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let assigned = waiting.assign("user", "session").await?;
    assert_eq!(assigned.outcome(), "NO_INSTANCE_AVAILABLE");
    // In the transaction, `now()` is its begin.
    let later = "SELECT FROM region_wakeups w WHERE w.bucket > now()";
    assert_eq!(waiting.count(later).await?, 1);
    waiting.run("COMMIT").await?;
    Ok(())
}
