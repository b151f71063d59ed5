//! Hundreds of users at once, of whom most wait in line.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::{join, try_join_all};
use local_stack::line_order::LineOrder;
use local_stack::random::Random;
use scaling_tests::database::{Assigned, Database, REGION, Session, SlotRequest, claims_of, text};
use tokio::time::Instant;

const WEST: &str = "us-west-2";

/// Longer than a test takes: users leave the line only where a test lets them.
const LINE: Duration = Duration::from_secs(300);

/// The users of a region, and what they saw.
struct Crowd {
    /// One connection for each of some users.
    connections: Vec<Session>,
    /// The region's `line_seconds`.
    line: Duration,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    orders: BTreeMap<String, LineOrder>,
    /// The slot that each served user has.
    served: BTreeMap<String, Assigned>,
    /// All slots that were given.
    slots: BTreeSet<String>,
}

impl Crowd {
    async fn new(database: &Database, connections: usize) -> Result<Self> {
        Ok(Self {
            connections: database.sessions(connections).await?,
            line: LINE,
            seen: Mutex::default(),
        })
    }

    /// Lets all users request a slot at once. Returns the answers in the order of the requests.
    async fn ask(&self, requests: &[SlotRequest]) -> Result<Vec<Assigned>> {
        let workers = self
            .connections
            .iter()
            .enumerate()
            .map(async |(number, session)| {
                let mut answers = vec![];
                let own = requests.iter().enumerate().skip(number);
                for (index, request) in own.step_by(self.connections.len()) {
                    let sent = Instant::now();
                    let answer = session.request_slot(request).await?;
                    self.note(request, sent, &answer)?;
                    answers.push((index, answer));
                }
                anyhow::Ok(answers)
            });
        let mut answers = try_join_all(workers).await?.concat();
        answers.sort_by_key(|(index, _)| *index);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    fn note(&self, request: &SlotRequest, sent: Instant, answer: &Assigned) -> Result<()> {
        let answered = Instant::now();
        let user = &request.user;
        let mut seen = self.seen();
        let (at, slot) = (text(&answer.0, "region"), answer.slot());
        for region in &request.regions {
            let order = seen.orders.entry(region.clone());
            let order = order.or_insert_with(|| LineOrder::new(self.line));
            match answer.outcome().as_str() {
                "NO_INSTANCE_AVAILABLE" => order.refused(user, sent, answered),
                "ASSIGNED" if *region == at => {
                    let (least, most) = order.served(user, sent, answered);
                    let waited = answer.0["waited_seconds"].as_f64().unwrap_or(-1.0);
                    ensure!(
                        (least.as_secs_f64()..=most.as_secs_f64()).contains(&waited),
                        "{user} waited {least:?} to {most:?}: {answer:?}"
                    );
                }
                _ => order.left(user),
            }
        }
        if slot.is_empty() {
            return Ok(());
        }
        ensure!(answer.outcome() == "ASSIGNED", "{user}: {answer:?}");
        ensure!(seen.slots.insert(slot), "{user}: given twice: {answer:?}");
        let before = seen.served.insert(user.clone(), answer.clone());
        ensure!(before.is_none(), "{user} was served twice: {answer:?}");
        Ok(())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if somebody was overtaken who was still asking.
    fn check_order(&self) {
        for (region, order) in &self.seen().orders {
            assert_eq!(order.overtaken(), [], "{region}");
        }
    }

    fn is_served(&self, user: &str) -> bool {
        self.seen().served.contains_key(user)
    }
}

/// A region with this many instances of five slots, without the rules about short sessions.
async fn fleet(session: &Session, instances: usize) -> Result<()> {
    session
        .run(
            "UPDATE regions SET line_seconds = 300, quick_end_seconds = 0,
                 replacements_per_minute = 0",
        )
        .await?;
    for instance in 0..instances {
        session.host(&format!("i-{instance:02}"), 5).await?;
    }
    Ok(())
}

fn requests(name: &str, users: usize) -> Vec<SlotRequest> {
    (0..users)
        .map(|number| SlotRequest::new(&format!("{name}-{number:03}"), "1"))
        .collect()
}

fn count(answers: &[Assigned], outcome: &str) -> usize {
    answers
        .iter()
        .filter(|answer| answer.outcome() == outcome)
        .count()
}

async fn free_slots(session: &Session) -> Result<usize> {
    let free = session
        .count("SELECT FROM slots WHERE status = 'WAITING'")
        .await?;
    Ok(usize::try_from(free)?)
}

/// The users in line, in their order.
async fn line(session: &Session) -> Result<Vec<String>> {
    let asking = format!("region = '{REGION}' AND last_at > now() - interval '300 seconds'");
    line_of(session, &asking).await
}

async fn line_of(session: &Session, condition: &str) -> Result<Vec<String>> {
    let rows = session
        .rows(&format!(
            "SELECT user_id FROM waiting_users WHERE {condition} ORDER BY first_at, user_id"
        ))
        .await?;
    Ok(rows.iter().map(|row| text(row, "user_id")).collect())
}

/// Makes the calls of an agent whose user's session runs and ends.
async fn play_out(agent: &Session, user: &str, got: &Assigned) -> Result<()> {
    let (slot, claims) = (got.slot(), claims_of(&got.instance()));
    for (call, expected) in [
        (
            format!("claim_slot('{slot}', '{user}', '1', '{claims}')"),
            "CLAIMED",
        ),
        (
            format!("report_slot('{slot}', 'RUNNING', '{claims}')"),
            "REPORTED",
        ),
        (
            format!("report_slot('{slot}', 'DYING', '{claims}')"),
            "REPORTED",
        ),
        (format!("replace_slot('{slot}', '{claims}')"), "REPLACED"),
    ] {
        let outcome = agent.outcome(&call).await?;
        ensure!(outcome == expected, "{call}: {outcome}");
    }
    Ok(())
}

/// Lets the sessions end, at once on all agents.
async fn end_sessions(agents: &[Session], ending: &[(String, Assigned)]) -> Result<()> {
    let agents = agents.iter().enumerate().map(async |(number, agent)| {
        for (user, got) in ending.iter().skip(number).step_by(agents.len()) {
            play_out(agent, user, got).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(agents).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_users_fill_a_hundred_slots_and_the_others_stand_in_line() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    fleet(&session, 20).await?;
    let crowd = Crowd::new(&database, 300).await?;
    let mut users = requests("user", 600);
    let answers = crowd.ask(&users).await?;
    assert_eq!(count(&answers, "ASSIGNED"), 100);
    assert_eq!(count(&answers, "NO_INSTANCE_AVAILABLE"), 500);
    assert_eq!(free_slots(&session).await?, 0);

    users.retain(|request| !crowd.is_served(&request.user));
    let answers = crowd.ask(&users).await?;
    let mut places: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.0["place"].as_i64())
        .collect();
    places.sort_unstable();
    assert!(places.into_iter().eq(1..=500), "each place once");

    // As many as slots come are served, and they are the first.
    for instance in 20..40 {
        session.host(&format!("i-{instance:02}"), 5).await?;
    }
    let first: BTreeSet<_> = line(&session).await?.into_iter().take(100).collect();
    users.extend(requests("newcomer", 100));
    let answers = crowd.ask(&users).await?;
    assert_eq!(count(&answers, "ASSIGNED"), 100);
    assert!(first.iter().all(|user| crowd.is_served(user)));
    assert_eq!(free_slots(&session).await?, 0);
    crowd.check_order();
    Ok(())
}

/// As many free slots as are looked at in one step, and one more or less: nobody finds none while others
/// take theirs.
#[tokio::test(flavor = "multi_thread")]
async fn each_user_gets_a_slot_when_there_are_as_many() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    fleet(&session, 20).await?;
    session.host("i-20", 1).await?;
    for (round, users) in [99, 100, 101, 100, 100, 100].into_iter().enumerate() {
        let surplus = format!(
            "DELETE FROM slots WHERE id IN (SELECT id FROM slots ORDER BY instance_id DESC
                 LIMIT greatest(0, (SELECT count(*) FROM slots) - {users}))"
        );
        session.run(&surplus).await?;
        let missing = usize::try_from(session.count("SELECT FROM slots").await?)?;
        for _ in missing..users {
            session
                .run("INSERT INTO slots (instance_id) VALUES ('i-20')")
                .await?;
        }
        let crowd = Crowd::new(&database, 101).await?;
        let answers = crowd
            .ask(&requests(&format!("user-{round}"), users))
            .await?;
        assert_eq!(count(&answers, "ASSIGNED"), users, "round {round}");
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
async fn newcomers_at_once_leave_a_slot_for_each_user_in_line() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    fleet(&session, 0).await?;
    for round in 0..4 {
        let crowd = Crowd::new(&database, 100).await?;
        let in_line = requests(&format!("user-{round}"), 20);
        crowd.ask(&in_line).await?;
        for instance in 0..8 {
            session.host(&format!("i-{round}-{instance}"), 5).await?;
        }
        let mut newcomers = requests(&format!("newcomer-{round}"), 100);
        let served = count(&crowd.ask(&newcomers).await?, "ASSIGNED");
        assert!(served <= 20, "round {round}: {served} of 40 slots");
        let answers = crowd.ask(&in_line).await?;
        assert_eq!(count(&answers, "ASSIGNED"), 20, "round {round}");
        // Those who were refused while others counted come again.
        while free_slots(&session).await? > 0 {
            newcomers.retain(|request| !crowd.is_served(&request.user));
            let served = count(&crowd.ask(&newcomers).await?, "ASSIGNED");
            assert!(served > 0, "round {round}: free slots stay free");
        }
        crowd.check_order();
        session.run("DELETE FROM waiting_users").await?;
    }
    Ok(())
}

/// How many slots are freed in a round, at least and at most.
const BATCH: (usize, usize) = (10, 30);

#[tokio::test(flavor = "multi_thread")]
async fn line_is_served_in_order_while_slots_come_and_newcomers_arrive() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    fleet(&session, 20).await?;
    let crowd = Crowd::new(&database, 150).await?;
    let agents = database.sessions(8).await?;
    let mut random = Random::new(1, "line");
    crowd.ask(&requests("holder", 100)).await?;
    let mut asking = requests("user", 200);
    crowd.ask(&asking).await?;
    let mut ended = BTreeSet::new();
    let mut stopped = 0;
    for round in 0.. {
        assert!(round < 40, "{} users are still in line", asking.len());
        asking.retain(|request| !crowd.is_served(&request.user));
        if asking.is_empty() {
            break;
        }
        // Some stop asking, also of the first in line.
        if round < 5 {
            for place in [asking.len() / 2, 0] {
                let user = asking.remove(place).user;
                session
                    .run(&format!(
                        "UPDATE waiting_users SET last_at = last_at - interval '301 seconds'
                         WHERE user_id = '{user}'"
                    ))
                    .await?;
                stopped += 1;
            }
            asking.extend(requests(&format!("newcomer-{round}"), 20));
        }
        // Sessions end while everybody asks.
        let batch = BATCH.0 + random.below(BATCH.1 - BATCH.0);
        let running = crowd.seen().served.clone();
        let ending: Vec<_> = running
            .into_iter()
            .filter(|(user, _)| !ended.contains(user))
            .take(batch)
            .collect();
        ended.extend(ending.iter().map(|(user, _)| user.clone()));
        let (freed, answers) = join(end_sessions(&agents, &ending), crowd.ask(&asking)).await;
        freed?;
        let during = count(&answers?, "ASSIGNED");

        // Now nothing else happens: the free slots are those of the first in line.
        asking.retain(|request| !crowd.is_served(&request.user));
        let free = free_slots(&session).await?;
        let first: Vec<_> = line(&session).await?.into_iter().take(free).collect();
        let settled = count(&crowd.ask(&asking).await?, "ASSIGNED");
        assert_eq!(settled, free.min(asking.len()), "round {round}");
        assert_eq!(
            during + free,
            ending.len(),
            "round {round}: a slot was lost"
        );
        for user in &first {
            assert!(
                crowd.is_served(user),
                "round {round}: {user} was not served"
            );
        }
        crowd.check_order();
    }
    let served = crowd.seen().served.len();
    assert_eq!(
        served + stopped,
        100 + 200 + 5 * 20,
        "everybody who went on asking"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_behind_users_who_stopped_asking() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    fleet(&session, 0).await?;
    session.run("UPDATE regions SET line_seconds = 5").await?;
    let mut crowd = Crowd::new(&database, 100).await?;
    crowd.line = Duration::from_secs(5);
    let mut users = requests("user", 200);
    crowd.ask(&users).await?;
    let mut number = 0;
    users.retain(|_| {
        number += 1;
        number % 2 == 0
    });
    // The others go on asking.
    let stopped = Instant::now();
    while stopped.elapsed() < Duration::from_millis(5_500) {
        crowd.ask(&users).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for instance in 0..10 {
        session.host(&format!("i-{instance:02}"), 10).await?;
    }
    let answers = crowd.ask(&users).await?;
    assert_eq!(count(&answers, "ASSIGNED"), 100);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_in_several_lines_are_served_once_and_in_each_line_in_order() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.add_region(WEST, 0).await?;
    fleet(&session, 0).await?;
    let crowd = Crowd::new(&database, 150).await?;
    let wishes: [&[&str]; 4] = [&[REGION, WEST], &[WEST, REGION], &[REGION], &[WEST]];
    let mut users = requests("user", 200);
    for (request, wish) in users.iter_mut().zip(wishes.iter().cycle()) {
        request.regions = wish.iter().copied().map(str::to_owned).collect();
    }
    crowd.ask(&users).await?;
    assert_eq!(session.count("SELECT FROM waiting_users").await?, 300);
    for round in 0..10 {
        let grow = async {
            for region in [REGION, WEST] {
                let id = format!("i-{region}-{round}");
                session.launch(region, &id, 10).await?;
                session.register(&id).await?;
            }
            anyhow::Ok(())
        };
        let (grown, answers) = join(grow, crowd.ask(&users)).await;
        grown?;
        answers?;
        users.retain(|request| !crowd.is_served(&request.user));
        crowd.check_order();
    }
    // Whoever is still in line asks until no slot is left for them.
    while count(&crowd.ask(&users).await?, "ASSIGNED") > 0 {
        users.retain(|request| !crowd.is_served(&request.user));
    }
    crowd.check_order();
    for request in &users {
        let regions = request.regions.join("', '");
        let free =
            format!("SELECT FROM slots WHERE status = 'WAITING' AND region IN ('{regions}')");
        assert_eq!(session.count(&free).await?, 0, "{request:?}");
    }
    assert!(crowd.seen().served.len() >= 150, "{}", users.len());
    let lines: BTreeSet<_> = line_of(&session, "true").await?.into_iter().collect();
    let left: BTreeSet<_> = users.into_iter().map(|request| request.user).collect();
    assert_eq!(lines, left, "who is served is in no line any more");
    let twice = "SELECT user_id FROM slots WHERE status = 'ALLOCATED'
        GROUP BY user_id HAVING count(*) > 1";
    assert_eq!(session.count(twice).await?, 0);
    Ok(())
}

/// One instance bars many users, who stand first in line.
#[tokio::test(flavor = "multi_thread")]
async fn barred_users_at_the_head_of_the_line_keep_no_slot_free() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    fleet(&session, 20).await?;
    let crowd = Crowd::new(&database, 100).await?;
    let barred = requests("barred", 100);
    crowd.ask(&barred).await?;
    // Each had the slot for three periods without connecting.
    session
        .run(
            "UPDATE slots SET first_allocated_at = now() - interval '271 seconds',
                 allocated_at = now() - interval '91 seconds' WHERE status = 'ALLOCATED'",
        )
        .await?;
    let released = session
        .outcomes(&format!("release_unclaimed('{REGION}', 1)"))
        .await?;
    assert_eq!(released.len(), 100);
    // All instances bar them, not only their own.
    session
        .run(
            "INSERT INTO internal.failed_sessions
                 (user_id, instance_id, claimed, failed_at, barred_until)
             SELECT f.user_id, i.id, false, now(), max(f.barred_until)
             FROM internal.failed_sessions f CROSS JOIN instances i GROUP BY 1, 2;
             UPDATE slots SET free_from = NULL",
        )
        .await?;
    let again: Vec<_> = (0..100)
        .map(|number| SlotRequest::new(&format!("barred-{number:03}"), "2"))
        .collect();
    let others = Crowd::new(&database, 100).await?;
    let refused = others.ask(&again).await?;
    assert_eq!(count(&refused, "NO_INSTANCE_AVAILABLE"), 100);
    let (refused, served) = join(others.ask(&again), others.ask(&requests("user", 100))).await;
    assert_eq!(count(&refused?, "NO_INSTANCE_AVAILABLE"), 100);
    assert_eq!(count(&served?, "ASSIGNED"), 100);
    Ok(())
}
