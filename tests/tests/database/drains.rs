//! Drains: who caused them, and the way back from one that nobody needs any more.

use anyhow::Result;
use scaling_tests::database::{Database, REGION, Session, claims_of, text};

async fn drain(session: &Session, cause: &str) -> Result<String> {
    let call = format!("drain_instances('{REGION}', 1, '[\"i-1\"]', '{cause}')");
    Ok(session.outcomes(&call).await?.concat())
}

async fn reopen(session: &Session) -> Result<String> {
    let call = format!("reopen_instances('{REGION}', 1, '[\"i-1\"]')");
    Ok(session.outcomes(&call).await?.concat())
}

async fn status(session: &Session) -> Result<String> {
    let row = session.row("SELECT status FROM instances").await?;
    Ok(text(&row, "status"))
}

#[tokio::test]
async fn drain_for_surplus_is_taken_back_and_serves_users_again() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    assert_eq!(drain(&session, "SURPLUS").await?, "i-1=DONE");
    assert_eq!(reopen(&session).await?, "i-1=DONE");
    let clean = "SELECT FROM instances
        WHERE status = 'ACTIVE' AND draining_since IS NULL AND drain_cause IS NULL";
    assert_eq!(session.count(clean).await?, 1);
    assert_eq!(reopen(&session).await?, "i-1=ALREADY");
    session.assign("alice", "1").await?.slot();
    Ok(())
}

/// It may be shutting down already.
#[tokio::test]
async fn drain_is_not_taken_back_once_its_agent_has_been_told() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    drain(&session, "SURPLUS").await?;
    let beat = format!("heartbeat('i-1', '{}')", claims_of("i-1"));
    let answer = session.row(&format!("SELECT * FROM {beat}")).await?;
    assert_eq!(text(&answer, "status"), "DRAINING");
    assert_eq!(reopen(&session).await?, "i-1=WRONG_STATE");
    assert_eq!(status(&session).await?, "DRAINING");
    Ok(())
}

#[tokio::test]
async fn drain_for_another_reason_is_not_taken_back() -> Result<()> {
    for cause in ["MAXIMUM", "ROOM", "IMAGE", "TOKEN", "NOTICE", "REVOKED"] {
        let (_database, session) = Database::with_region(0).await?;
        session.host("i-1", 1).await?;
        drain(&session, cause).await?;
        assert_eq!(reopen(&session).await?, "i-1=WRONG_STATE", "{cause}");
    }
    Ok(())
}

#[tokio::test]
async fn status_set_by_hand_has_its_time_and_its_cause_and_stays() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session
        .run("UPDATE instances SET status = 'DRAINING'")
        .await?;
    let by_hand = "SELECT FROM instances WHERE drain_cause = 'OPERATOR'
        AND draining_since > now() - interval '1 minute'";
    assert_eq!(session.count(by_hand).await?, 1);
    assert_eq!(reopen(&session).await?, "i-1=WRONG_STATE");
    // Nobody else goes back either.
    let back = "UPDATE instances SET status = 'ACTIVE'";
    let constraint = session.violated(back).await?;
    assert_eq!(constraint, "instances_states_go_forward");
    Ok(())
}

/// The agent of an instance that is silent may be gone.
#[tokio::test]
async fn silent_instance_is_not_reopened() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    drain(&session, "SURPLUS").await?;
    session
        .run("UPDATE heartbeats SET beat_at = now() - interval '5 minutes'")
        .await?;
    assert_eq!(reopen(&session).await?, "i-1=WRONG_STATE");
    Ok(())
}
