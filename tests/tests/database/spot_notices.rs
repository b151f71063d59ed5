//! Spot notices of an instance, and what follows for its users.

use anyhow::Result;
use scaling_tests::database::{Database, REGION, Session, text};

async fn notice(session: &Session, id: &str) -> Result<serde_json::Value> {
    let row = session
        .row(&format!("SELECT notice FROM instances WHERE id = '{id}'"))
        .await?;
    Ok(row["notice"].clone())
}

#[tokio::test]
async fn notice_is_kept_and_only_an_interruption_replaces_it() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    for (given, outcome, kept) in [
        ("REBALANCE", "DONE", "REBALANCE"),
        ("REBALANCE", "ALREADY", "REBALANCE"),
        ("INTERRUPTION", "DONE", "INTERRUPTION"),
        ("REBALANCE", "ALREADY", "INTERRUPTION"),
    ] {
        let call = format!("give_notice('i-1', '{given}')");
        assert_eq!(session.outcome(&call).await?, outcome);
        assert_eq!(notice(&session, "i-1").await?, kept);
    }
    session
        .run("UPDATE instances SET status = 'TERMINATING'")
        .await?;
    let late = session
        .outcome("give_notice('i-1', 'INTERRUPTION')")
        .await?;
    assert_eq!(late, "WRONG_STATE");
    let stranger = session.outcome("give_notice('i-9', 'REBALANCE')").await?;
    assert_eq!(stranger, "UNKNOWN");
    let typo = session.violated("SELECT * FROM give_notice('i-1', 'REBALANCED')");
    assert!(typo.await.is_err(), "no constraint: an error of the call");
    Ok(())
}

#[tokio::test]
async fn interrupted_instance_gets_no_users_and_is_drained_with_its_users() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    session.assign("alice", "1").await?;
    session
        .outcome("give_notice('i-1', 'INTERRUPTION')")
        .await?;
    assert_eq!(
        session.assign("bob", "1").await?.outcome(),
        "NO_INSTANCE_AVAILABLE"
    );
    assert_eq!(
        session.assign("alice", "1").await?.outcome(),
        "ALREADY_ASSIGNED",
        "until EC2 has taken it, it is hers"
    );
    let drained = session
        .outcome(&format!(
            "drain_instances('{REGION}', 1, '[\"i-1\"]', 'SURPLUS')"
        ))
        .await?;
    assert_eq!(drained, "DONE");
    let row = session.row("SELECT status FROM instances").await?;
    assert_eq!(text(&row, "status"), "DRAINING");
    let slots = session.count("SELECT count(*) FROM slots WHERE status = 'ALLOCATED'");
    assert_eq!(slots.await?, 1, "her slot is not touched");
    Ok(())
}

#[tokio::test]
async fn rebalanced_instance_gets_users_while_it_is_active() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session.outcome("give_notice('i-1', 'REBALANCE')").await?;
    assert_eq!(session.assign("alice", "1").await?.outcome(), "ASSIGNED");
    Ok(())
}
