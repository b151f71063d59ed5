//! What a host agent may do with its own instance, and with no other.

use anyhow::Result;
use scaling_tests::database::{Database, PRIVATE_IP, REGION, Session, claims_of, text};
use serde_json::{Value, json};

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

fn leave(id: &str, reason: &str) -> String {
    format!("leave_host('{id}', '{reason}', '{}')", claims_of(id))
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
    assert_eq!(
        text(&first, "ip_addr"),
        PRIVATE_IP,
        "not what the agent says"
    );
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
    let expected = json!({
        "instance_id": "i-1", "outcome": "REGISTERED", "status": "DRAINING", "token": null,
    });
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
    let expected = json!({
        "instance_id": "i-1", "outcome": "OK", "status": "DRAINING", "token": null,
        "ends": [],
    });
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
            format!("leave_host('i-1', 'broken', '{stranger}')"),
            "SHUT_DOWN",
        ),
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

#[tokio::test]
async fn agent_takes_its_instance_out_of_service_with_a_reason() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    assert_eq!(session.outcome(&leave("i-1", "broken")).await?, "RETRY");
    session.host("i-1", 1).await?;
    assert_eq!(
        session
            .outcome(&leave("i-1", "  the GPU\n is gone "))
            .await?,
        "LEAVING"
    );
    let row = session.row("SELECT * FROM instances").await?;
    let said = ["status", "drain_cause", "leave_reason"].map(|column| text(&row, column));
    assert_eq!(said, ["DRAINING", "AGENT", "the GPU  is gone"]);
    assert!(row["draining_since"].is_string());
    // The answer was lost.
    assert_eq!(session.outcome(&leave("i-1", "broken")).await?, "LEAVING");
    let stranger = format!("leave_host('i-1', 'broken', '{}')", claims_of("i-2"));
    assert_eq!(session.outcome(&stranger).await?, "SHUT_DOWN");
    set_status(&session, "i-1", "TERMINATING").await?;
    assert_eq!(session.outcome(&leave("i-1", "broken")).await?, "SHUT_DOWN");
    let long = "x".repeat(9_000);
    session.host("i-2", 1).await?;
    session.outcome(&leave("i-2", &long)).await?;
    let row = session
        .row("SELECT length(leave_reason) AS length FROM instances WHERE id = 'i-2'")
        .await?;
    assert_eq!(row["length"], json!(500));
    for blank in ["", " ", "\n"] {
        let refused = session.outcome(&leave("i-2", blank)).await;
        assert!(refused.is_err(), "{blank:?}");
    }
    Ok(())
}

#[tokio::test]
async fn agents_cannot_empty_a_region_however_many_leave_at_once() -> Result<()> {
    const INSTANCES: usize = 12;
    let (database, session) = Database::with_region(0).await?;
    for number in 0..INSTANCES {
        session.host(&format!("i-{number}"), 1).await?;
    }
    let sessions = database.sessions(INSTANCES).await?;
    let leaves = (0..INSTANCES)
        .zip(&sessions)
        .map(|(number, session)| async move {
            let call = leave(&format!("i-{number}"), "bad image");
            session.outcome(&call).await
        });
    let outcomes = futures::future::try_join_all(leaves).await?;
    let left = outcomes.iter().filter(|outcome| *outcome == "LEAVING");
    assert_eq!(left.count(), 3, "{outcomes:?}");
    let held = "SELECT FROM instances WHERE status = 'ACTIVE' AND leave_reason = 'bad image'";
    assert_eq!(session.count(held).await?, 9);
    // Those that left are gone, and still count: their replacements leave as well.
    session
        .run("DELETE FROM instances WHERE status = 'DRAINING'")
        .await?;
    session.host("i-new", 1).await?;
    assert_eq!(session.outcome(&leave("i-new", "bad image")).await?, "HELD");
    // An hour later, others may leave.
    session
        .run("UPDATE internal.host_leaves SET at = at - interval '1 hour'")
        .await?;
    assert_eq!(
        session.outcome(&leave("i-new", "bad image")).await?,
        "LEAVING"
    );
    Ok(())
}

#[tokio::test]
async fn agent_that_registers_again_is_well() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for number in 0..4 {
        let id = format!("i-{number}");
        session.host(&id, 1).await?;
        session.outcome(&leave(&id, "broken")).await?;
    }
    let said = "SELECT FROM instances WHERE leave_reason IS NOT NULL";
    assert_eq!(session.count(said).await?, 4);
    for id in ["i-0", "i-3"] {
        assert_eq!(session.outcome(&register(id)).await?, "REGISTERED");
    }
    // i-0 leaves whatever it says now.
    assert_eq!(session.count(said).await?, 3);
    let held = session
        .row("SELECT * FROM instances WHERE id = 'i-3'")
        .await?;
    assert_eq!(text(&held, "status"), "ACTIVE");
    Ok(())
}

/// The claims of an instance's agent with a certain token.
fn holding(id: &str, token_id: &str) -> Value {
    let mut claims = claims_of(id);
    claims["x-hasura-token-id"] = json!(token_id);
    claims
}

async fn renew(session: &Session, ids: &[&str], number: u32) -> Result<Vec<String>> {
    let tokens = ids.iter().map(|id| {
        json!({"id": id, "token": format!("{number}.of.{id}"), "token_id": format!("key-{number}"),
            "key_id": "key", "valid_until": "2100-01-01T00:00:00Z"})
    });
    let tokens: Value = tokens.collect();
    session
        .outcomes(&format!("renew_tokens('{REGION}', 1, '{tokens}')"))
        .await
}

async fn beat_with(session: &Session, claims: &Value) -> Result<(String, String)> {
    let row = session
        .row(&format!("SELECT * FROM heartbeat('i-1', '{claims}')"))
        .await?;
    Ok((text(&row, "outcome"), text(&row, "token")))
}

#[tokio::test]
async fn next_token_is_answered_until_it_is_used_and_only_to_its_instance() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session.host("i-2", 1).await?;
    assert_eq!(
        renew(&session, &["i-1", "i-9"], 1).await?,
        ["i-1=DONE", "i-9=UNKNOWN"]
    );
    let ok = |token: &str| ("OK".to_owned(), token.to_owned());
    let launch = claims_of("i-1");
    assert_eq!(beat_with(&session, &launch).await?, ok("1.of.i-1"));
    assert_eq!(
        beat_with(&session, &launch).await?,
        ok("1.of.i-1"),
        "the answer was lost"
    );
    let stranger = beat_with(&session, &holding("i-2", "key-0")).await?;
    assert_eq!(stranger, ("SHUT_DOWN".to_owned(), String::new()));
    let row = session
        .row(&format!("SELECT * FROM {}", register("i-1")))
        .await?;
    assert_eq!(text(&row, "token"), "1.of.i-1");
    let taken = "SELECT FROM internal.agent_tokens WHERE taken_at IS NOT NULL";
    assert_eq!(session.count(taken).await?, 0);
    assert_eq!(beat_with(&session, &holding("i-1", "key-1")).await?, ok(""));
    assert_eq!(session.count(taken).await?, 1);
    // The one before still works, and its bearer gets the newest.
    assert_eq!(beat_with(&session, &launch).await?, ok("1.of.i-1"));
    renew(&session, &["i-1"], 2).await?;
    assert_eq!(
        beat_with(&session, &holding("i-1", "key-1")).await?,
        ok("2.of.i-1")
    );
    assert_eq!(session.count(taken).await?, 0);
    // It ends with the row.
    session
        .run("UPDATE instances SET status = 'TERMINATING'")
        .await?;
    assert_eq!(renew(&session, &["i-1"], 3).await?, ["i-1=WRONG_STATE"]);
    session
        .outcomes(&format!("remove_instances('{REGION}', 1, '[\"i-1\"]')"))
        .await?;
    assert_eq!(session.count("SELECT FROM internal.agent_tokens").await?, 0);
    Ok(())
}

#[tokio::test]
async fn revoked_agent_can_do_nothing_and_its_instance_gets_no_users() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 3).await?;
    let runs = session.assign("alice", "1").await?.slot();
    session.outcome(&claim(&runs, "alice", "1", "i-1")).await?;
    let connects = session.assign("bob", "1").await?.slot();
    renew(&session, &["i-1"], 1).await?;
    for outcome in ["DONE", "ALREADY"] {
        assert_eq!(session.outcome("revoke_agent('i-1')").await?, outcome);
    }
    assert_eq!(session.outcome("revoke_agent('i-9')").await?, "UNKNOWN");
    let row = session.row("SELECT * FROM instances").await?;
    let state = ["status", "drain_cause"].map(|column| text(&row, column));
    assert_eq!(state, ["DRAINING", "REVOKED"]);
    assert!(row["draining_since"].is_string());

    let beat_before = session.row("SELECT * FROM heartbeats").await?;
    for claims in [claims_of("i-1"), holding("i-1", "key-1")] {
        for (call, outcome) in [
            (format!("heartbeat('i-1', '{claims}')"), "SHUT_DOWN"),
            (
                format!("register_host('i-1', '10.6.6.6', '{claims}')"),
                "SHUT_DOWN",
            ),
            (
                format!("leave_host('i-1', 'broken', '{claims}')"),
                "SHUT_DOWN",
            ),
            (
                format!("claim_slot('{connects}', 'bob', '1', '{claims}')"),
                "REFUSED",
            ),
            (
                format!("report_slot('{runs}', 'DYING', '{claims}')"),
                "UNKNOWN",
            ),
            (format!("replace_slot('{runs}', '{claims}')"), "UNKNOWN"),
        ] {
            assert_eq!(session.outcome(&call).await?, outcome, "{call}");
        }
        let own = format!("SELECT * FROM own_instance('i-1', '{claims}')");
        assert_eq!(session.count(&own).await?, 0);
    }
    assert_eq!(session.row("SELECT * FROM heartbeats").await?, beat_before);
    assert_eq!(renew(&session, &["i-1"], 2).await?, ["i-1=WRONG_STATE"]);
    // Nobody else is assigned to it, and who has not connected gets another slot.
    assert_eq!(
        session.assign("carol", "1").await?.outcome(),
        "NO_INSTANCE_AVAILABLE"
    );
    session.host("i-2", 2).await?;
    assert_eq!(session.assign("bob", "1").await?.instance(), "i-2");
    Ok(())
}

/// A pass holds its region's fence while it writes.
#[tokio::test]
async fn renewal_does_not_wait_for_rows_that_an_agent_holds() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    for id in ["i-1", "i-2", "i-3"] {
        session.host(id, 1).await?;
    }
    renew(&session, &["i-2"], 1).await?;
    session.run("SET lock_timeout = '1s'").await?;
    let agent = database.connect().await?;
    agent.run("BEGIN").await?;
    agent.outcome(&leave("i-1", "broken")).await?;
    let call = format!("heartbeat('i-2', '{}')", holding("i-2", "key-1"));
    agent.outcome(&call).await?;
    let outcomes = renew(&session, &["i-1", "i-2", "i-3"], 2).await?;
    assert_eq!(outcomes, ["i-1=BUSY", "i-2=BUSY", "i-3=DONE"]);
    agent.run("COMMIT").await?;
    let outcomes = renew(&session, &["i-1", "i-2"], 2).await?;
    assert_eq!(outcomes, ["i-1=DONE", "i-2=DONE"]);
    Ok(())
}

/// Otherwise an instance could keep passes and other agents from a row that is not its own.
#[tokio::test]
async fn agent_cannot_lock_the_row_of_another_instance() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session.host("i-2", 1).await?;
    let agent = database.connect().await?;
    agent.run("BEGIN").await?;
    let stranger = claims_of("i-2");
    for call in [
        format!("register_host('i-1', '10.6.6.6', '{stranger}')"),
        format!("heartbeat('i-1', '{stranger}')"),
        format!("leave_host('i-1', 'broken', '{stranger}')"),
    ] {
        agent.outcome(&call).await?;
    }
    session.run("SET lock_timeout = '1s'").await?;
    session
        .run("SELECT FROM instances WHERE id = 'i-1' FOR UPDATE NOWAIT")
        .await?;
    assert_eq!(session.outcome(&leave("i-1", "broken")).await?, "LEAVING");
    agent.run("ROLLBACK").await?;
    Ok(())
}
