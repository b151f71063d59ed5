//! What a host agent may do with its own instance, and with no other.

use anyhow::Result;
use scaling_tests::database::{Database, REGION, Session, claims_of, text};
use serde_json::json;

fn register(id: &str) -> String {
    format!("register_host('{id}', '10.0.0.7', '{}')", claims_of(id))
}

fn beat(id: &str) -> String {
    format!("heartbeat('{id}', '{}')", claims_of(id))
}

fn claim(slot: &str, user: &str, session: &str, agent: &str) -> String {
    format!(
        "claim_slot('{slot}', '{user}', '{session}', '{}')",
        claims_of(agent)
    )
}

fn report(slot: &str, status: &str, agent: &str) -> String {
    format!("report_slot('{slot}', '{status}', '{}')", claims_of(agent))
}

fn replace(slot: &str, agent: &str) -> String {
    format!("replace_slot('{slot}', '{}')", claims_of(agent))
}

async fn set_status(session: &Session, id: &str, status: &str) -> Result<()> {
    session
        .run(&format!(
            "UPDATE instances SET status = '{status}' WHERE id = '{id}'"
        ))
        .await
}

#[tokio::test]
async fn registration_sets_address_slots_and_first_heartbeat() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    assert_eq!(
        session.outcome(&register("i-1")).await?,
        "RETRY",
        "its row is on its way"
    );
    session.launch(REGION, "i-1", 3).await?;
    assert_eq!(session.outcome(&register("i-1")).await?, "REGISTERED");
    let state = "SELECT i.ip_addr, i.status, i.active_at, h.beat_at,
                     (SELECT jsonb_agg(s.id ORDER BY s.id) FROM slots s) AS slots
                 FROM instances i JOIN heartbeats h ON h.instance_id = i.id";
    let first = session.row(state).await?;
    assert_eq!(text(&first, "ip_addr"), "10.0.0.7");
    assert_eq!(text(&first, "status"), "ACTIVE");
    assert_eq!(first["slots"].as_array().map(Vec::len), Some(3));

    assert_eq!(
        session.outcome(&register("i-1")).await?,
        "REGISTERED",
        "the answer was lost"
    );
    let second = session.row(state).await?;
    assert_eq!(second["slots"], first["slots"]);
    assert_eq!(second["active_at"], first["active_at"]);
    Ok(())
}

#[tokio::test]
async fn agent_of_a_terminating_instance_is_told_to_shut_down() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for (id, status) in [("i-drained", "DRAINING"), ("i-ended", "TERMINATING")] {
        session.launch(REGION, id, 1).await?;
        set_status(&session, id, status).await?;
        assert_eq!(
            session.outcome(&register(id)).await?,
            "SHUT_DOWN",
            "{status}"
        );
    }
    assert_eq!(session.count("SELECT FROM slots").await?, 0);
    Ok(())
}

#[tokio::test]
async fn agent_restarted_while_draining_registers_again_and_learns_the_status() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    set_status(&session, "i-1", "DRAINING").await?;
    let answer = session
        .row(&format!("SELECT * FROM {}", register("i-1")))
        .await?;
    let expected = json!({"instance_id": "i-1", "outcome": "REGISTERED", "status": "DRAINING"});
    assert_eq!(answer, expected);
    Ok(())
}

#[tokio::test]
async fn heartbeat_is_recorded_and_answered_with_the_status() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session
        .run("UPDATE heartbeats SET beat_at = now() - interval '1 hour'")
        .await?;
    set_status(&session, "i-1", "DRAINING").await?;
    let answer = session
        .row(&format!("SELECT * FROM {}", beat("i-1")))
        .await?;
    let expected = json!({"instance_id": "i-1", "outcome": "OK", "status": "DRAINING"});
    assert_eq!(answer, expected);
    let fresh = "SELECT FROM heartbeats WHERE beat_at > now() - interval '1 minute'";
    assert_eq!(session.count(fresh).await?, 1);
    set_status(&session, "i-1", "TERMINATING").await?;
    assert_eq!(session.outcome(&beat("i-1")).await?, "SHUT_DOWN");
    session
        .outcomes(&format!("remove_instances('{REGION}', 1, '[\"i-1\"]')"))
        .await?;
    assert_eq!(session.outcome(&beat("i-1")).await?, "SHUT_DOWN");
    Ok(())
}

#[tokio::test]
async fn slot_is_claimed_only_by_its_user_and_session() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    let slot = session.assign("alice", "1").await?.slot();
    for (user, number) in [("mallory", "1"), ("alice", "2"), ("", "")] {
        assert_eq!(
            session.outcome(&claim(&slot, user, number, "i-1")).await?,
            "REFUSED"
        );
    }
    assert_eq!(
        session.outcome(&claim(&slot, "alice", "1", "i-1")).await?,
        "CLAIMED"
    );
    assert_eq!(
        session.outcome(&claim(&slot, "alice", "1", "i-1")).await?,
        "CLAIMED"
    );
    assert_eq!(
        session
            .outcome(&claim(&slot, "mallory", "1", "i-1"))
            .await?,
        "REFUSED"
    );
    let free = session
        .row("SELECT id FROM slots WHERE status = 'WAITING'")
        .await?;
    assert_eq!(
        session
            .outcome(&claim(&text(&free, "id"), "alice", "1", "i-1"))
            .await?,
        "REFUSED"
    );
    Ok(())
}

#[tokio::test]
async fn released_slot_cannot_be_claimed() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let slot = session.assign("alice", "1").await?.slot();
    session
        .run("UPDATE slots SET allocated_at = now() - interval '91 seconds'")
        .await?;
    session
        .outcomes(&format!("release_unclaimed('{REGION}', 1)"))
        .await?;
    assert_eq!(
        session.outcome(&claim(&slot, "alice", "1", "i-1")).await?,
        "REFUSED"
    );
    Ok(())
}

#[tokio::test]
async fn session_is_reported_in_order_and_its_slot_replaced() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let slot = session.assign("alice", "1").await?.slot();
    for status in ["RUNNING", "DYING", "WAITING", "ALLOCATED", "nonsense"] {
        let outcome = session.outcome(&report(&slot, status, "i-1")).await?;
        assert_eq!(outcome, "REFUSED", "{status}, but no user connected");
    }
    assert_eq!(session.outcome(&replace(&slot, "i-1")).await?, "REFUSED");
    session.outcome(&claim(&slot, "alice", "1", "i-1")).await?;
    for status in ["RUNNING", "RUNNING", "DYING", "DYING"] {
        assert_eq!(
            session.outcome(&report(&slot, status, "i-1")).await?,
            "REPORTED",
            "{status}"
        );
    }
    assert_eq!(
        session.outcome(&report(&slot, "RUNNING", "i-1")).await?,
        "REFUSED"
    );
    assert_eq!(session.outcome(&replace(&slot, "i-1")).await?, "REPLACED");
    assert_eq!(session.outcome(&replace(&slot, "i-1")).await?, "UNKNOWN");
    let row = session.row("SELECT * FROM slots").await?;
    assert_eq!(text(&row, "status"), "WAITING");
    assert_ne!(text(&row, "id"), slot);
    Ok(())
}

#[tokio::test]
async fn draining_instance_gets_no_new_slots() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let slot = session.assign("alice", "1").await?.slot();
    session.outcome(&claim(&slot, "alice", "1", "i-1")).await?;
    set_status(&session, "i-1", "DRAINING").await?;
    session.outcome(&report(&slot, "DYING", "i-1")).await?;
    assert_eq!(session.outcome(&replace(&slot, "i-1")).await?, "REMOVED");
    assert_eq!(session.count("SELECT FROM slots").await?, 0);
    Ok(())
}

#[tokio::test]
async fn instance_of_another_launch_is_unknown_to_an_agent() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session.launch(REGION, "i-2", 1).await?;
    session.register("i-2").await?;
    let slot = session.assign("alice", "1").await?.slot();
    let stranger = claims_of("i-2");
    let calls = [
        (
            format!("register_host('i-1', '10.6.6.6', '{stranger}')"),
            "SHUT_DOWN",
        ),
        (format!("heartbeat('i-1', '{stranger}')"), "SHUT_DOWN"),
        (claim(&slot, "alice", "1", "i-2"), "REFUSED"),
        (report(&slot, "RUNNING", "i-2"), "UNKNOWN"),
        (replace(&slot, "i-2"), "UNKNOWN"),
        (
            format!(
                "heartbeat('i-1', '{}')",
                json!({"x-hasura-role": "host_agent"})
            ),
            "SHUT_DOWN",
        ),
    ];
    for (call, outcome) in calls {
        let answer = session.row(&format!("SELECT * FROM {call}")).await?;
        assert_eq!(text(&answer, "outcome"), outcome, "{call}");
        assert_eq!(text(&answer, "status"), "", "{call}");
    }
    let row = session
        .row("SELECT status FROM slots WHERE user_id = 'alice'")
        .await?;
    assert_eq!(text(&row, "status"), "ALLOCATED");
    let row = session
        .row("SELECT ip_addr FROM instances WHERE id = 'i-1'")
        .await?;
    assert_eq!(text(&row, "ip_addr"), "10.0.0.1");
    Ok(())
}
