//! The record of ended sessions that the demonstration reports. A trigger of the demonstration's
//! own distinguishes sessions that ended from sessions that their users lost, in every way that a
//! session can be lost.

use anyhow::Result;
use local_stack::demo::RECORD_SESSIONS_SQL;
use scaling_tests::database::{Database, REGION, Session, claims_of, text};

/// How the session of a user ended. Empty while it lasts.
async fn ended(session: &Session, user: &str) -> Result<String> {
    let row = format!("SELECT ended FROM demo.sessions WHERE user_id = '{user}'");
    Ok(text(&session.row(&row).await?, "ended"))
}

/// Assigns the user a slot and returns its id.
async fn assigned(session: &Session, user: &str) -> Result<String> {
    Ok(session.assign(user, "1").await?.slot())
}

/// Assigns the user a slot whose session runs.
async fn running(session: &Session, user: &str) -> Result<String> {
    let slot = session.assign_running(user).await?.slot();
    assert_eq!(ended(session, user).await?, "", "it lasts");
    Ok(slot)
}

#[tokio::test]
async fn session_ended_by_its_agent_is_over() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.run(RECORD_SESSIONS_SQL).await?;
    session.host("i-1", 2).await?;
    let slot = running(&session, "ann").await?;
    // Also on an instance that takes no new users.
    session
        .outcome(&format!(
            "drain_instances('{REGION}', 1, '[\"i-1\"]', 'SURPLUS')"
        ))
        .await?;
    let claims = claims_of("i-1");
    session
        .outcome(&format!("report_slot('{slot}', 'DYING', '{claims}')"))
        .await?;
    assert_eq!(ended(&session, "ann").await?, "over");
    // Later changes of the slot do not change the record.
    session
        .outcome(&format!("replace_slot('{slot}', '{claims}')"))
        .await?;
    assert_eq!(ended(&session, "ann").await?, "over");
    Ok(())
}

#[tokio::test]
async fn session_that_ends_with_its_instance_is_cut_off() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.run(RECORD_SESSIONS_SQL).await?;
    session.host("i-1", 2).await?;
    running(&session, "ann").await?;
    assigned(&session, "bob").await?;
    session
        .outcome(&format!(
            "terminate_instances('{REGION}', 1, '[\"i-1\"]', 'GONE')"
        ))
        .await?;
    for user in ["ann", "bob"] {
        assert_eq!(ended(&session, user).await?, "cut off", "{user}");
    }
    session
        .outcome(&format!("remove_instances('{REGION}', 1, '[\"i-1\"]')"))
        .await?;
    assert_eq!(session.count("SELECT FROM slots").await?, 0);
    assert_eq!(ended(&session, "ann").await?, "cut off");
    Ok(())
}

#[tokio::test]
async fn slot_taken_from_its_user_is_released_or_cut_off() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.run(RECORD_SESSIONS_SQL).await?;
    session.host("i-1", 2).await?;
    assigned(&session, "ann").await?;
    session
        .run(
            "UPDATE slots SET allocated_at = now() - interval '1 hour'
             WHERE user_id = 'ann'",
        )
        .await?;
    session
        .outcome(&format!("release_unclaimed('{REGION}', 1)"))
        .await?;
    assert_eq!(ended(&session, "ann").await?, "released");
    // By a write that should not happen.
    running(&session, "bob").await?;
    session
        .run("DELETE FROM slots WHERE user_id = 'bob'")
        .await?;
    assert_eq!(ended(&session, "bob").await?, "cut off");
    Ok(())
}
