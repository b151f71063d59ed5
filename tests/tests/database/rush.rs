//! Hundreds of users at once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use futures::future::try_join_all;
use scaling_tests::database::{Assigned, Database, REGION, Session, claims_of, text};

/// The number of repetitions of a rush that could fail only by chance.
const ROUNDS: usize = 25;

/// Requests a slot for each session's user, all at once.
async fn rush(sessions: &[Session], session_id: &str) -> Result<Vec<Assigned>> {
    let requests =
        sessions
            .iter()
            .enumerate()
            .map(|(user, session)| async move {
                session.assign(&format!("user-{user}"), session_id).await
            });
    try_join_all(requests).await
}

fn tally(answers: &[Assigned]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for answer in answers {
        *tally.entry(answer.outcome()).or_default() += 1;
    }
    tally
}

async fn occupied(session: &Session) -> Result<i64> {
    session
        .count("SELECT FROM slots WHERE status = 'ALLOCATED'")
        .await
}

async fn free_all(session: &Session) -> Result<()> {
    session
        .run(
            "UPDATE slots SET status = 'WAITING', user_id = NULL, session_id = NULL,
              allocated_at = NULL; DELETE FROM waiting_users; DELETE FROM region_wakeups",
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_users_on_forty_slots_fill_all_of_them() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    for instance in 0..10 {
        session.host(&format!("i-{instance}"), 4).await?;
    }
    let sessions = database.sessions(60).await?;
    for round in 0..ROUNDS {
        let answers = rush(&sessions, "1").await?;
        let expected = BTreeMap::from([
            ("ASSIGNED".into(), 40),
            ("NO_INSTANCE_AVAILABLE".into(), 20),
        ]);
        assert_eq!(tally(&answers), expected, "round {round}");
        let slots: BTreeSet<_> = answers
            .iter()
            .map(Assigned::slot)
            .filter(|slot| !slot.is_empty())
            .collect();
        assert_eq!(slots.len(), 40, "round {round}: a slot was given twice");
        assert_eq!(occupied(&session).await?, 40);
        free_all(&session).await?;
    }
    Ok(())
}

/// The instance that an assign finds, which is undone.
async fn would_get(session: &Session) -> Result<String> {
    session.run("BEGIN").await?;
    let assigned = session.assign("alice", "1").await?;
    session.run("ROLLBACK").await?;
    assert_eq!(assigned.outcome(), "ASSIGNED");
    Ok(assigned.instance())
}

#[tokio::test]
async fn assigns_beside_another_one_spread_over_the_fullest_instances() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    // They begin where windows may begin, and the last one is emptier.
    let fullest = ["i-03", "i-05", "i-09", "i-0d"];
    for instance in fullest {
        session.host(instance, 1).await?;
    }
    session.host("i-0e", 4).await?;
    let other = &database.sessions(1).await?[0];
    for _ in 0..ROUNDS {
        assert_eq!(would_get(&session).await?, "i-03", "nobody else assigns");
    }
    other.run("BEGIN").await?;
    assert_eq!(other.assign("bob", "1").await?.instance(), "i-03");
    let mut found = BTreeSet::new();
    for _ in 0..4 * ROUNDS {
        found.insert(would_get(&session).await?);
    }
    assert_eq!(
        found,
        fullest[1..].iter().map(|id| (*id).to_owned()).collect()
    );
    // The only free slot is before all windows but the first.
    session
        .run("DELETE FROM slots WHERE instance_id NOT IN ('i-03', 'i-05')")
        .await?;
    for _ in 0..ROUNDS {
        assert_eq!(would_get(&session).await?, "i-05");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_users_fill_one_instance() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 250).await?;
    let sessions = database.sessions(300).await?;
    let answers = rush(&sessions, "1").await?;
    assert_eq!(tally(&answers).get("ASSIGNED"), Some(&250));
    assert_eq!(occupied(&session).await?, 250);
    assert_eq!(session.count("SELECT FROM waiting_users").await?, 50);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn request_sent_many_times_at_once_gets_one_slot() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 100).await?;
    let sessions = database.sessions(100).await?;
    for round in 0..ROUNDS {
        let user = format!("user-{round}");
        let answers =
            try_join_all(sessions.iter().map(|session| session.assign(&user, "1"))).await?;
        let slots: BTreeSet<_> = answers.iter().map(Assigned::slot).collect();
        assert_eq!(slots.len(), 1, "{user}");
        let expected = BTreeMap::from([("ASSIGNED".into(), 1), ("ALREADY_ASSIGNED".into(), 99)]);
        assert_eq!(tally(&answers), expected);
    }
    assert_eq!(occupied(&session).await?, i64::try_from(ROUNDS)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn user_requesting_many_sessions_at_once_gets_the_limit() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 100).await?;
    let sessions = database.sessions(50).await?;
    for round in 0..ROUNDS {
        let user = format!("user-{round}");
        let numbers: Vec<_> = (0..sessions.len())
            .map(|number| number.to_string())
            .collect();
        let requests = sessions
            .iter()
            .zip(&numbers)
            .map(|(session, number)| session.assign(&user, number));
        let expected = BTreeMap::from([("ASSIGNED".into(), 3), ("USER_ALREADY_ACTIVE".into(), 47)]);
        assert_eq!(tally(&try_join_all(requests).await?), expected);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn slot_locked_by_a_failed_request_is_free_again() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.wait_for_locks().await?;
    session.host("i-1", 1).await?;
    let sessions = database.sessions(2).await?;
    for _ in 0..ROUNDS {
        sessions[0].run("BEGIN").await?;
        assert_eq!(
            sessions[0].assign("alice", "1").await?.outcome(),
            "ASSIGNED"
        );
        let second = sessions[1].assign("bob", "1");
        let undo = async {
            session.wait_for_a_blocked_session().await?;
            sessions[0].run("ROLLBACK").await
        };
        let (second, ()) = futures::future::try_join(second, undo).await?;
        assert_eq!(second.outcome(), "ASSIGNED", "the only slot was free again");
        free_all(&session).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_locked_slot_is_bounded() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let sessions = database.sessions(2).await?;
    sessions[0].run("BEGIN").await?;
    sessions[0].assign("alice", "1").await?;
    let refused = sessions[1].assign("bob", "1").await?;
    assert_eq!(
        refused.outcome(),
        "NO_INSTANCE_AVAILABLE",
        "while the other is undecided"
    );
    sessions[0].run("COMMIT").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn thousand_assigns_wake_a_region_a_few_times() -> Result<()> {
    let (database, session) = Database::with_region(2_000).await?;
    for instance in 0..10 {
        session.host(&format!("i-{instance}"), 100).await?;
    }
    let sessions = database.sessions(100).await?;
    let started = std::time::Instant::now();
    for number in 0..10 {
        let answers = try_join_all(
            sessions
                .iter()
                .enumerate()
                .map(|(user, session)| async move {
                    session.assign(&format!("user-{number}-{user}"), "1").await
                }),
        )
        .await?;
        assert_eq!(tally(&answers).get("ASSIGNED"), Some(&100));
    }
    let buckets = started.elapsed().as_secs() / 2 + 2;
    let rows = session.count("SELECT FROM region_wakeups").await?;
    assert!(
        rows >= 1 && u64::try_from(rows)? <= buckets,
        "{rows} wake-ups in {buckets} buckets"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_calls_at_once_neither_deadlock_nor_give_a_slot_twice() -> Result<()> {
    let (database, session) = Database::with_region(5).await?;
    for instance in 0..12 {
        session.host(&format!("i-{instance:02}"), 4).await?;
    }
    let sessions = database.sessions(150).await?;
    let workers = sessions
        .iter()
        .enumerate()
        .map(|(worker, session)| async move {
            for turn in 0..8 {
                act(session, worker, turn).await?;
            }
            anyhow::Ok(())
        });
    // A deadlock or any other error ends this.
    try_join_all(workers).await?;
    let overfull = "SELECT FROM instances i WHERE i.capacity
                    < (SELECT count(*) FROM slots s WHERE s.instance_id = i.id)";
    assert_eq!(session.count(overfull).await?, 0);
    let drained_while_occupied = "SELECT FROM slots s JOIN instances i ON i.id = s.instance_id
        WHERE i.status = 'DRAINING' AND s.status <> 'WAITING'";
    assert_eq!(session.count(drained_while_occupied).await?, 0);
    Ok(())
}

/// Runs one of the calls that users, agents and a pass make, in turn.
async fn act(session: &Session, worker: usize, turn: usize) -> Result<()> {
    let instance = format!("i-{:02}", (worker + turn) % 12);
    let others = format!("[\"{instance}\", \"i-{:02}\", \"i-11\"]", worker % 12);
    match (worker + turn * 7) % 10 {
        0 => session
            .outcomes(&format!("release_unclaimed('{REGION}', 1)"))
            .await
            .map(drop),
        1 => {
            session
                .run(
                    "UPDATE slots SET allocated_at = now() - interval '91 seconds'
                      WHERE id IN (SELECT id FROM slots WHERE status = 'ALLOCATED'
                                   ORDER BY id LIMIT 3 FOR UPDATE SKIP LOCKED)",
                )
                .await
        }
        2 if turn > 5 => {
            let call = format!("drain_instances('{REGION}', 1, '{others}', 'SURPLUS')");
            session.outcomes(&call).await.map(drop)
        }
        3 => {
            let call = format!("note_missing('{REGION}', 1, '{others}', '[\"i-03\"]')");
            session.outcomes(&call).await.map(drop)
        }
        4 => {
            let call = format!("heartbeat('{instance}', '{}')", claims_of(&instance));
            session.outcome(&call).await.map(drop)
        }
        5 => play_out(session, &instance).await,
        _ => session
            .assign(&format!("user-{worker}"), &turn.to_string())
            .await
            .map(drop),
    }
}

/// Takes a slot through its life as the agent does, as far as concurrent calls allow it.
async fn play_out(session: &Session, instance: &str) -> Result<()> {
    let held = session
        .rows(&format!(
            "SELECT id, user_id, session_id FROM slots
             WHERE instance_id = '{instance}' AND status = 'ALLOCATED' LIMIT 1"
        ))
        .await?;
    let Some(row) = held.first() else {
        return Ok(());
    };
    let (slot, claims) = (text(row, "id"), claims_of(instance));
    let (user, number) = (text(row, "user_id"), text(row, "session_id"));
    session
        .outcome(&format!(
            "claim_slot('{slot}', '{user}', '{number}', '{claims}')"
        ))
        .await?;
    for status in ["RUNNING", "DYING"] {
        session
            .outcome(&format!("report_slot('{slot}', '{status}', '{claims}')"))
            .await?;
    }
    session
        .outcome(&format!("replace_slot('{slot}', '{claims}')"))
        .await?;
    Ok(())
}
