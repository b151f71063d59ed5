//! Races of which at most one side may win.

use std::time::Duration;

use anyhow::Result;
use futures::future::{try_join, try_join_all};
use scaling_tests::database::{Database, REGION, Session, claims_of, text};

const ROUNDS: usize = 100;

async fn instance_status(session: &Session, id: &str) -> Result<String> {
    let row = session
        .row(&format!("SELECT status FROM instances WHERE id = '{id}'"))
        .await?;
    Ok(text(&row, "status"))
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_drain_and_assign_never_both_succeed() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    let sessions = database.sessions(2).await?;
    let mut drained = 0;
    // The side that lost starts earlier in the next round, by more each time: on any machine the
    // two eventually meet.
    let (mut lead_of_drain, mut lead_of_assign) = (0, 0);
    for round in 0..ROUNDS {
        let id = format!("i-{round:03}");
        session.host(&id, 1).await?;
        let call = format!("drain_instances('{REGION}', 1, '[\"{id}\"]', 'SURPLUS')");
        let user = format!("user-{round}");
        let drain = async {
            tokio::time::sleep(Duration::from_millis(lead_of_assign)).await;
            sessions[0].outcomes(&call).await
        };
        let assign = async {
            tokio::time::sleep(Duration::from_millis(lead_of_drain)).await;
            sessions[1].assign(&user, "1").await
        };
        let (drain, assign) = try_join(drain, assign).await?;
        let outcomes = (drain.concat(), assign.outcome());
        if outcomes.0 == format!("{id}=DONE") {
            drained += 1;
            (lead_of_drain, lead_of_assign) = (0, lead_of_assign + 1);
            assert_eq!(outcomes.1, "NO_INSTANCE_AVAILABLE", "round {round}");
        } else {
            (lead_of_drain, lead_of_assign) = (lead_of_drain + 1, 0);
            // BUSY: the assign is not committed yet.
            let lost = [format!("{id}=OCCUPIED"), format!("{id}=BUSY")];
            assert!(lost.contains(&outcomes.0), "round {round}: {outcomes:?}");
            assert_eq!(outcomes.1, "ASSIGNED", "round {round}");
        }
        session
            .run("UPDATE instances SET status = 'TERMINATING'; DELETE FROM waiting_users")
            .await?;
    }
    assert!(
        (1..ROUNDS).contains(&drained),
        "{drained} of {ROUNDS} rounds: no race took place"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn assign_waits_for_a_drain_that_rolls_back() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.wait_for_locks().await?;
    session.host("i-1", 1).await?;
    let sessions = database.sessions(2).await?;
    sessions[0].run("BEGIN").await?;
    sessions[0]
        .outcomes(&format!(
            "drain_instances('{REGION}', 1, '[\"i-1\"]', 'SURPLUS')"
        ))
        .await?;
    let undo = async {
        session.wait_for_a_blocked_session().await?;
        sessions[0].run("ROLLBACK").await
    };
    let (assigned, ()) = try_join(sessions[1].assign("alice", "1"), undo).await?;
    assert_eq!(assigned.outcome(), "ASSIGNED");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_release_and_claim_never_both_succeed() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let sessions = database.sessions(2).await?;
    let mut released = 0;
    for round in 0..ROUNDS {
        let slot = session.assign("alice", "1").await?.slot();
        session
            .run("UPDATE slots SET allocated_at = now() - interval '91 seconds'")
            .await?;
        let release = format!("release_unclaimed('{REGION}', 1)");
        let claim = format!("claim_slot('{slot}', 'alice', '1', '{}')", claims_of("i-1"));
        let release = sessions[0].outcomes(&release);
        let claim = sessions[1].outcome(&claim);
        let (release, claim) = if round % 2 == 0 {
            try_join(release, claim).await?
        } else {
            let (claim, release) = try_join(claim, release).await?;
            (release, claim)
        };
        if release == [format!("{slot}=DONE")] {
            released += 1;
            assert_eq!(claim, "REFUSED", "round {round}");
        } else {
            assert_eq!(claim, "CLAIMED", "round {round}");
        }
        session
            .run(
                "UPDATE slots SET status = 'WAITING', user_id = NULL, session_id = NULL,
                  allocated_at = NULL",
            )
            .await?;
    }
    assert!(
        (1..ROUNDS).contains(&released),
        "{released} of {ROUNDS} rounds: no race took place"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_repeat_and_release_leave_the_user_with_the_answered_slot() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    let sessions = database.sessions(2).await?;
    for round in 0..ROUNDS {
        session.assign("alice", "1").await?;
        session
            .run(
                "UPDATE slots SET allocated_at = now() - interval '91 seconds'
                  WHERE status = 'ALLOCATED'",
            )
            .await?;
        let release = format!("release_unclaimed('{REGION}', 1)");
        let (_, answer) = try_join(
            sessions[0].outcomes(&release),
            sessions[1].assign("alice", "1"),
        )
        .await?;
        let held = session
            .row("SELECT id FROM slots WHERE user_id = 'alice'")
            .await?;
        assert_eq!(text(&held, "id"), answer.slot(), "round {round}");
        session
            .run(
                "UPDATE slots SET status = 'WAITING', user_id = NULL, session_id = NULL,
                  allocated_at = NULL",
            )
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_heartbeat_is_counted_or_told_to_shut_down() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    let sessions = database.sessions(2).await?;
    for round in 0..ROUNDS {
        let id = format!("i-{round:03}");
        session.host(&id, 1).await?;
        session
            .run("UPDATE heartbeats SET beat_at = now() - interval '1 day'")
            .await?;
        let lost = format!("terminate_instances('{REGION}', 1, '[\"{id}\"]', 'LOST')");
        let beat = format!("heartbeat('{id}', '{}')", claims_of(&id));
        let (lost, beat) =
            try_join(sessions[0].outcomes(&lost), sessions[1].outcome(&beat)).await?;
        let status = instance_status(&session, &id).await?;
        let seen = (lost.concat(), beat.as_str(), status.as_str());
        let alive = (format!("{id}=ALIVE"), "OK", "ACTIVE");
        let busy = (format!("{id}=BUSY"), "OK", "ACTIVE");
        let given_up = (format!("{id}=DONE"), "SHUT_DOWN", "TERMINATING");
        assert!(
            [alive, busy, given_up].contains(&seen),
            "round {round}: {seen:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_registering_twice_at_once_gets_its_slots_once() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    let sessions = database.sessions(4).await?;
    for round in 0..ROUNDS {
        let id = format!("i-{round:03}");
        session.launch(REGION, &id, 3).await?;
        try_join_all(sessions.iter().map(|session| session.register(&id))).await?;
        let slots = session
            .count(&format!("SELECT FROM slots WHERE instance_id = '{id}'"))
            .await?;
        assert_eq!(slots, 3);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_of_two_holders_wins_in_either_order() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let sessions = database.sessions(2).await?;
    for round in 0..ROUNDS {
        let (old, new) = (2 * round + 1, 2 * round + 2);
        let begin = format!("SELECT * FROM begin_pass('{REGION}', {new})");
        let late = format!("note_missing('{REGION}', {old}, '[\"i-1\"]', '[]')");
        let again = format!("note_missing('{REGION}', {old}, '[]', '[\"i-1\"]')");
        let (begun, _) = try_join(sessions[0].row(&begin), sessions[1].outcomes(&late)).await?;
        assert_eq!(begun["granted"], serde_json::json!(true));
        let refused = sessions[1].outcomes(&again).await?;
        assert_eq!(refused, [format!("{REGION}=FENCED")], "round {round}");
        session
            .run("UPDATE instances SET missing_since = NULL")
            .await?;
    }
    Ok(())
}
