//! Assigns beside transactions that are still open: whom they wait for, and what each of both leaves.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::{Either, select};
use scaling_tests::database::{Database, REGION, Session, claims_of, text};
use tokio::time::timeout;

/// How long a request may take that waits for nobody. One that waits for the test's own transaction
/// takes longer ([`Session::wait_for_locks`]).
const LONGEST: Duration = Duration::from_secs(30);

/// Fails unless a request is answered without waiting for another transaction. It is rolled back.
async fn assert_quick(session: &Session, user: &str, outcome: &str) -> Result<()> {
    session.wait_for_locks().await?;
    session.run("BEGIN").await?;
    let answer = timeout(LONGEST, session.assign(user, "1")).await;
    let answer = answer.with_context(|| format!("{user} waits for a transaction"))??;
    session.run("ROLLBACK").await?;
    assert_eq!(answer.outcome(), outcome, "{user}");
    Ok(())
}

/// Begins a transaction in which the user gets a slot.
async fn open_assign(session: &Session, user: &str) -> Result<String> {
    session.run("BEGIN").await?;
    let answer = session.assign(user, "1").await?;
    assert_eq!(answer.outcome(), "ASSIGNED", "{user}");
    Ok(answer.instance())
}

async fn refuse(session: &Session, users: &[&str]) -> Result<()> {
    for user in users {
        let answer = session.assign(user, "1").await?;
        assert_eq!(answer.outcome(), "NO_INSTANCE_AVAILABLE", "{user}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn assigns_on_different_instances_do_not_wait_for_each_other() -> Result<()> {
    let (database, session) = Database::with_region(5).await?;
    session.host("i-1", 1).await?;
    session.host("i-2", 1).await?;
    let sessions = database.sessions(2).await?;
    assert_eq!(open_assign(&sessions[0], "ann").await?, "i-1");
    assert_quick(&sessions[1], "bob", "ASSIGNED").await?;
    sessions[0].run("COMMIT").await
}

#[tokio::test(flavor = "multi_thread")]
async fn assigns_on_different_slots_of_an_instance_do_not_wait_for_each_other() -> Result<()> {
    let (database, session) = Database::with_region(5).await?;
    session.host("i-1", 2).await?;
    let sessions = database.sessions(2).await?;
    assert_eq!(open_assign(&sessions[0], "ann").await?, "i-1");
    assert_quick(&sessions[1], "bob", "ASSIGNED").await?;
    sessions[0].run("COMMIT").await
}

#[tokio::test(flavor = "multi_thread")]
async fn users_in_line_do_not_wait_for_each_other() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    refuse(&session, &["ann", "bob", "carl"]).await?;
    session.host("i-1", 2).await?;
    session.host("i-2", 1).await?;
    let sessions = database.sessions(3).await?;
    open_assign(&sessions[0], "bob").await?;
    open_assign(&sessions[1], "carl").await?;
    assert_quick(&sessions[2], "ann", "ASSIGNED").await?;
    sessions[0].run("ROLLBACK").await?;
    sessions[1].run("COMMIT").await
}

/// A newcomer gets a slot beside a line only one after the other, so that two do not take the slot
/// of somebody in line.
#[tokio::test(flavor = "multi_thread")]
async fn newcomers_beside_a_line_wait_for_each_other_for_a_bounded_time() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    refuse(&session, &["ann"]).await?;
    session.host("i-1", 2).await?;
    let sessions = database.sessions(2).await?;
    open_assign(&sessions[0], "bob").await?;
    let late = timeout(LONGEST, sessions[1].assign("carl", "1")).await;
    let late = late.context("carl waits for bob's transaction")??;
    assert_eq!(late.outcome(), "NO_INSTANCE_AVAILABLE", "the slot is ann's");
    // The first in line does not wait for them.
    assert_quick(&session, "ann", "ASSIGNED").await?;
    sessions[0].run("COMMIT").await?;
    assert_eq!(session.assign("ann", "1").await?.outcome(), "ASSIGNED");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_user_holds_nobody_up_before_their_transaction_ends() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    let sessions = database.sessions(2).await?;
    sessions[0].run("BEGIN").await?;
    refuse(&sessions[0], &["ann"]).await?;
    assert_quick(&sessions[1], "bob", "NO_INSTANCE_AVAILABLE").await?;
    refuse(&sessions[1], &["bob"]).await?;
    sessions[0].run("COMMIT").await?;
    let answer = session.assign("bob", "1").await?;
    assert_eq!(answer.0["place"], 2, "ann was refused first");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn slot_of_an_assign_that_rolls_back_or_crashes_is_the_first_ones() -> Result<()> {
    for crash in [false, true] {
        let (database, session) = Database::with_region(0).await?;
        refuse(&session, &["ann", "bob"]).await?;
        session.host("i-1", 1).await?;
        let sessions = database.sessions(1).await?;
        open_assign(&sessions[0], "ann").await?;
        // Whether ann gets it is not decided yet.
        refuse(&session, &["bob"]).await?;
        if crash {
            session
                .run(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND state = 'idle in transaction'",
                )
                .await?;
            let gone = async {
                while session
                    .count("SELECT FROM pg_locks WHERE locktype = 'advisory'")
                    .await?
                    > 0
                {
                    tokio::task::yield_now().await;
                }
                anyhow::Ok(())
            };
            timeout(Duration::from_secs(10), gone).await??;
        } else {
            sessions[0].run("ROLLBACK").await?;
        }
        let free = "SELECT FROM slots WHERE status = 'WAITING' AND user_id IS NULL
            AND waited_seconds = 0";
        assert_eq!(session.count(free).await?, 1);
        refuse(&session, &["bob"]).await?;
        assert_eq!(session.assign("ann", "1").await?.outcome(), "ASSIGNED");
        assert_eq!(session.assign("bob", "1").await?.0["place"], 1);
    }
    Ok(())
}

/// How an instance ends, or takes no users any more: by a pass, and by an operator.
const BY_PASS: [&str; 3] = [
    "SELECT drain_instances('us-east-1', 1, '[\"i-1\"]', 'SURPLUS')",
    "SELECT terminate_instances('us-east-1', 1, '[\"i-1\"]', 'GONE')",
    "SELECT terminate_instances('us-east-1', 1, '[\"i-1\"]', 'GONE');
     SELECT remove_instances('us-east-1', 1, '[\"i-1\"]')",
];
const BY_HAND: [&str; 3] = [
    "UPDATE instances SET status = 'DRAINING' WHERE id = 'i-1'",
    "UPDATE instances SET status = 'TERMINATING' WHERE id = 'i-1'",
    "DELETE FROM instances WHERE id = 'i-1'",
];

fn all_ends() -> impl Iterator<Item = &'static str> {
    BY_PASS.into_iter().chain(BY_HAND)
}

/// Whether somebody has a slot on an instance that serves nobody.
async fn stranded(session: &Session) -> Result<i64> {
    session
        .count(
            "SELECT FROM slots s JOIN instances i ON i.id = s.instance_id
             WHERE i.status <> 'ACTIVE' AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')",
        )
        .await
}

/// Runs `second` while the transaction of `first` is open. That ends when `second` waits for it, or
/// has been answered.
async fn beside_open<T>(
    observer: &Session,
    first: &Session,
    end: &str,
    second: impl Future<Output = Result<T>>,
) -> Result<T> {
    let waits = observer.wait_for_a_blocked_session();
    match select(pin!(second), pin!(waits)).await {
        Either::Left((answer, _)) => {
            first.run(end).await?;
            answer
        }
        Either::Right((waits, second)) => {
            waits?;
            first.run(end).await?;
            second.await
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_is_not_assigned_to_an_instance_that_is_ending() -> Result<()> {
    for end in all_ends() {
        let (database, session) = Database::with_region(0).await?;
        session.host("i-1", 2).await?;
        let sessions = database.sessions(2).await?;
        sessions[0].run("BEGIN").await?;
        sessions[0].run(end).await?;
        let assign = sessions[1].assign("ann", "1");
        let answer = beside_open(&session, &sessions[0], "COMMIT", assign).await?;
        // An instance that drains keeps its users. Its agent does not learn that it drains before the
        // assign has ended.
        let drained_by_hand = end == BY_HAND[0];
        if !drained_by_hand {
            assert_eq!(answer.outcome(), "NO_INSTANCE_AVAILABLE", "{end}");
            assert_eq!(stranded(&session).await?, 0, "{end}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn user_is_assigned_when_the_end_of_an_instance_is_rolled_back() -> Result<()> {
    for end in all_ends() {
        let (database, session) = Database::with_region(0).await?;
        session.host("i-1", 2).await?;
        let sessions = database.sessions(2).await?;
        sessions[0].run("BEGIN").await?;
        sessions[0].run(end).await?;
        let assign = sessions[1].assign("ann", "1");
        beside_open(&session, &sessions[0], "ROLLBACK", assign).await?;
        // A search that does not wait for the end comes again.
        let answer = session.assign("ann", "1").await?;
        assert_ne!(answer.slot(), "", "{end}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pass_does_not_end_an_instance_beside_an_open_assign() -> Result<()> {
    for end in BY_PASS {
        let (database, session) = Database::with_region(0).await?;
        session.host("i-1", 2).await?;
        let sessions = database.sessions(2).await?;
        open_assign(&sessions[0], "ann").await?;
        beside_open(&session, &sessions[0], "COMMIT", sessions[1].run(end)).await?;
        let row = session.row("SELECT status FROM instances").await?;
        assert_eq!(text(&row, "status"), "ACTIVE", "{end}");
        let again = session.assign("ann", "1").await?;
        assert_eq!(again.outcome(), "ALREADY_ASSIGNED", "{end}");
    }
    Ok(())
}

/// An operator takes the instance from its user. Their next request gets another one.
#[tokio::test(flavor = "multi_thread")]
async fn user_of_an_instance_that_was_ended_by_hand_gets_another_one() -> Result<()> {
    for end in BY_HAND {
        let (database, session) = Database::with_region(0).await?;
        session.host("i-1", 2).await?;
        let sessions = database.sessions(2).await?;
        open_assign(&sessions[0], "ann").await?;
        beside_open(&session, &sessions[0], "COMMIT", sessions[1].run(end)).await?;
        session.host("i-2", 1).await?;
        assert_eq!(session.assign("ann", "1").await?.instance(), "i-2", "{end}");
    }
    Ok(())
}

/// The whole way of an instance from its last user to the deletion of its row.
#[tokio::test(flavor = "multi_thread")]
async fn removal_step_by_step_stops_at_an_open_assign() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let sessions = database.sessions(1).await?;
    open_assign(&sessions[0], "ann").await?;
    for step in [
        "drain_instances('REGION', 1, '[\"i-1\"]', 'SURPLUS')",
        "terminate_instances('REGION', 1, '[\"i-1\"]', 'EMPTY')",
        "remove_instances('REGION', 1, '[\"i-1\"]')",
    ] {
        let outcomes = session.outcomes(&step.replace("REGION", REGION)).await?;
        assert_ne!(outcomes, ["i-1=DONE"], "{step}");
    }
    sessions[0].run("COMMIT").await?;
    assert_eq!(stranded(&session).await?, 0);
    Ok(())
}

/// An agent powers off by what `own_instance` says. After that, its instance gets no user any more, though
/// the drain was one that a pass may take back.
#[tokio::test]
async fn drain_that_its_agent_was_told_of_is_not_taken_back() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session.host("i-2", 1).await?;
    session
        .run("UPDATE heartbeats SET beat_at = now() - interval '5 seconds'")
        .await?;
    let both = r#"["i-1", "i-2"]"#;
    let drain = format!("drain_instances('{REGION}', 1, '{both}', 'SURPLUS')");
    assert_eq!(session.outcomes(&drain).await?, ["i-1=DONE", "i-2=DONE"]);
    let claims = claims_of("i-1");
    let own = session
        .row(&format!("SELECT * FROM own_instance('i-1', '{claims}')"))
        .await?;
    assert_eq!(own["status"], "DRAINING");
    let reopen = format!("reopen_instances('{REGION}', 1, '{both}')");
    let outcomes = session.outcomes(&reopen).await?;
    assert_eq!(outcomes, ["i-1=WRONG_STATE", "i-2=DONE"]);
    Ok(())
}
