//! One request for a slot against the seven that Whist's service makes, over the same engine.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use scaling_bench::{Cell, Comparison, Quantity, Row, Samples, Section};
use serde::Serialize;
use tokio_postgres::Client;

use crate::assigners::{Request, Way, assign, take};
use crate::clients::connect;
use crate::fleet::{self, Fleet};
use crate::http::Connection;
use crate::{processor, proxy};

/// What the proxy adds to each request.
const DELAYS: [u64; 3] = [0, 5, 20];

/// The numbers of users at once, and how often they come.
const USERS: [(usize, usize); 4] = [(1, 20), (8, 6), (64, 2), (256, 1)];

/// Connections of the warm-up, and of the users who request more than they may have. It is more than
/// the engine has to PostgreSQL.
const FEW: usize = 64;

/// After `ANALYZE`, each of the engine's connections plans its statements anew. The engine chooses the
/// connection, so that it takes some rounds until all have done so.
const WARM_UPS: usize = 4;

/// The delay that the goals are for.
const GOAL_DELAY: u64 = 20;
const P50_GOAL: f64 = 1.0 / 7.0;
const RATE_GOAL: f64 = 6.0;

/// More free slots than users, so that nobody has to be refused.
const FREE: usize = 1_024;
const FLEET: Fleet = Fleet {
    slots: 4_000,
    capacity: 4,
};

/// A copy of the fleet for the seven requests.
const COPY: &str = "
    DELETE FROM seven_mandelboxes;
    DELETE FROM seven_instances;
    DELETE FROM seven_images;
    INSERT INTO seven_images SELECT region, image_id, client_sha, now() FROM images;
    INSERT INTO seven_instances
    SELECT i.id, i.region, i.image_id, i.client_sha, i.ip_addr, i.status,
        (SELECT count(*) FROM slots s WHERE s.instance_id = i.id AND s.status = 'WAITING'), now()
    FROM instances i;
    INSERT INTO seven_mandelboxes
    SELECT id, instance_id, user_id, session_id, status, now() FROM slots;";

/// What autovacuum does within a minute.
const TIDY: &str = "VACUUM (ANALYZE) slots, instances, heartbeats, waiting_users, region_wakeups,
    regions, images, seven_images, seven_instances, seven_mandelboxes";

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) speed: Comparison,
    pub(crate) answers: Comparison,
    pub(crate) cost: Section,
}

/// The engine, and how to call it.
pub(crate) struct Engine {
    /// Host and port.
    pub(crate) address: String,
    pub(crate) process: u32,
    pub(crate) admin_secret: String,
    /// The token of `assign-user`.
    pub(crate) token: String,
}

impl Engine {
    fn as_admin(&self) -> String {
        format!("x-hasura-admin-secret: {}", self.admin_secret)
    }
}

/// What one way did in one case.
#[derive(Debug, Default)]
struct Outcome {
    /// Of the users who got a slot.
    times: Samples,
    took: Duration,
    given_twice: u64,
    over_limit: u64,
    refused: u64,
    /// The engine's processor time.
    processor: Duration,
}

impl Outcome {
    fn rate(&self) -> f64 {
        self.times.count() as f64 / self.took.as_secs_f64()
    }

    fn summary(&self) -> String {
        let p50 = Quantity::Time(self.times.median());
        let p99 = Quantity::Time(self.times.percentile(99));
        let rate = Quantity::PerSecond(self.rate());
        format!("p50 {p50}, p99 {p99}, {rate}")
    }
}

pub(crate) async fn measure(url: &str, engine: &Engine) -> Result<Report> {
    let sql = connect(url).await?;
    fleet::ensure_unused(&sql).await?;
    fleet::create(&sql, FLEET).await?;
    let (mut speed, mut answers, mut cost) = (Vec::new(), Vec::new(), Vec::new());
    for delay in DELAYS {
        let proxy = proxy::start(&engine.address, Duration::from_millis(delay)).await?;
        for (users, times) in USERS {
            let case = format!("{delay} ms, {users} at once");
            let mut outcomes = Vec::new();
            for way in [Way::One, Way::Seven] {
                let outcome = bursts(&sql, engine, &proxy, way, users, times).await;
                outcomes.push(outcome.with_context(|| format!("{case}: {way:?}"))?);
            }
            let [one, seven] = &outcomes[..] else {
                continue;
            };
            // A sign of progress: all cases together take minutes.
            eprintln!("{case}: {} and {}", one.summary(), seven.summary());
            let write = single_writes(&sql, engine, &proxy, users, times).await;
            let write = write.with_context(|| format!("{case}: a single write"))?;
            speed.push((case.clone(), speed_row(delay, one, seven, &write)));
            answers.push((case.clone(), answers_row(one, seven)));
            if delay == GOAL_DELAY {
                cost.extend(cost_rows(&case, one, seven)?);
            }
        }
    }
    let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Ok(Report {
        speed: Comparison {
            title: "assign against seven requests".to_owned(),
            method: format!(
                "The same engine (postrust in place of Hasura, a release build, 50 connections) and \
                 the same PostgreSQL, which waits for its disk, answer both. A proxy holds each \
                 request back for 0, 5 or {GOAL_DELAY} ms. All users start at once, each on a \
                 connection of their own that is open already; the engine's statements are prepared. \
                 Times \
                 and rates are those of the users who get a slot, even if another user has it. {} slots on instances with {}, {FREE} \
                 of them free, on empty instances: more than users. *Seven*: the user's mandelboxes, \
                 the latest image, the region's latest image, its instances with capacity, the \
                 instance's waiting mandelboxes, an update of the mandelbox by its id, one of the \
                 instance; they have tables of their own, because they need a column with the \
                 remaining capacity. *A write* is the sixth of them alone, with an id that the client \
                 knows: less than that, no request that gives a slot can do.",
                FLEET.slots, FLEET.capacity
            ),
            columns: columns(&[
                "one p50",
                "seven p50",
                "ratio",
                "a write p50",
                "a write to seven",
                "one p99",
                "seven p99",
                "one",
                "seven",
                "ratio of rates",
            ]),
            rows: speed,
        },
        answers: Comparison {
            title: "assign against seven requests: wrong answers".to_owned(),
            method: "Of the same requests. An error of the engine, such as a timeout, counts as a refusal. \
                     For *over their limit*, 32 users who may have one slot each then \
                     request two at the same time."
                .to_owned(),
            columns: columns(&[
                "one: slots given twice",
                "users over their limit",
                "refused while slots were free",
                "seven: slots given twice",
                "users over their limit (seven)",
                "refused while slots were free (seven)",
            ]),
            rows: answers,
        },
        cost: Section {
            title: "assign against seven requests: the engine".to_owned(),
            method:
                "The engine's processor time for each user who gets a slot, which bounds the rates where it is \
                     busy all the time."
                    .to_owned(),
            rows: cost,
        },
    })
}

fn speed_row(delay: u64, one: &Outcome, seven: &Outcome, write: &Samples) -> Vec<Cell> {
    let to_seven = |times: &Samples| {
        let ratio = times.median().as_secs_f64() / seven.times.median().as_secs_f64();
        Cell::new(Quantity::Ratio(ratio))
    };
    let mut p50 = to_seven(&one.times);
    let mut rates = Cell::new(Quantity::Ratio(one.rate() / seven.rate()));
    if delay == GOAL_DELAY {
        p50 = p50.at_most(Quantity::Ratio(P50_GOAL));
        rates = rates.at_least(Quantity::Ratio(RATE_GOAL));
    }
    let time = |time| Cell::new(Quantity::Time(time));
    vec![
        time(one.times.median()),
        time(seven.times.median()),
        p50,
        time(write.median()),
        to_seven(write),
        time(one.times.percentile(99)),
        time(seven.times.percentile(99)),
        Cell::new(Quantity::PerSecond(one.rate())),
        Cell::new(Quantity::PerSecond(seven.rate())),
        rates,
    ]
}

fn answers_row(one: &Outcome, seven: &Outcome) -> Vec<Cell> {
    let none = |count| Cell::new(Quantity::Count(count)).at_most(Quantity::Count(0));
    let count = |count| Cell::new(Quantity::Count(count));
    vec![
        none(one.given_twice),
        none(one.over_limit),
        none(one.refused),
        count(seven.given_twice),
        count(seven.over_limit),
        count(seven.refused),
    ]
}

fn cost_rows(case: &str, one: &Outcome, seven: &Outcome) -> Result<Vec<Row>> {
    let row = |name: &str, outcome: &Outcome| {
        let each = outcome.processor / u32::try_from(outcome.times.count().max(1))?;
        let busy = outcome.processor.as_secs_f64() / outcome.took.as_secs_f64();
        let each = Row::single(format!("{case}: {name}"), Quantity::Time(each));
        let busy = Row::single("- cores in use", Quantity::Ratio(busy));
        anyhow::Ok([each.samples(outcome.times.count()), busy])
    };
    Ok([row("one", one)?, row("seven", seven)?].concat())
}

/// `users` at once, several times, and then users who ask for more than they may have.
async fn bursts(
    sql: &Client,
    engine: &Engine,
    address: &str,
    way: Way,
    users: usize,
    times: usize,
) -> Result<Outcome> {
    restore(sql).await?;
    sql.batch_execute(TIDY).await.context("vacuum")?;
    let authorization = match way {
        // As deployed: a token with a role, which may send this document and no other.
        Way::One => format!("authorization: Bearer {}", engine.token),
        Way::Seven => engine.as_admin(),
    };
    let mut connections = open(address, &authorization, users).await?;
    let few = connections.get_mut(..FEW).context("too few connections")?;
    for round in 0..WARM_UPS {
        burst(way, few, |n| request(format!("warm-up-{round}-{n}"), 0, 3)).await?;
    }
    restore(sql).await?;

    let mut outcome = Outcome::default();
    let mut given = HashSet::new();
    for time in 0..times {
        let connections = connections
            .get_mut(..users)
            .context("too few connections")?;
        let before = processor::time(&[engine.process])?;
        let started = Instant::now();
        let request = |n| request(format!("user-{time}-{n}"), 0, 3);
        let answers = burst(way, connections, request).await?;
        outcome.took += started.elapsed();
        outcome.processor += processor::time(&[engine.process])?.saturating_sub(before);
        for (_, slot, took) in answers {
            let Some(slot) = slot else {
                outcome.refused += 1;
                continue;
            };
            outcome.times.push(took);
            outcome.given_twice += u64::from(!given.insert(slot));
        }
    }

    restore(sql).await?;
    // Two requests of each user at the same time.
    let pair = |n: usize| request(format!("pair-{}", n / 2), n % 2, 1);
    let few = connections.get_mut(..FEW).context("too few connections")?;
    let mut slots: HashMap<String, u64> = HashMap::new();
    for (user, slot, _) in burst(way, few, pair).await? {
        *slots.entry(user).or_default() += u64::from(slot.is_some());
    }
    outcome.over_limit = slots.values().map(|count| count.saturating_sub(1)).sum();
    outcome.refused += u64::try_from(slots.values().filter(|count| **count == 0).count())?;
    Ok(outcome)
}

/// The times of users who know the slot that they get, as many and as often as in [`bursts`].
async fn single_writes(
    sql: &Client,
    engine: &Engine,
    address: &str,
    users: usize,
    times: usize,
) -> Result<Samples> {
    restore(sql).await?;
    sql.batch_execute(TIDY).await.context("vacuum")?;
    let slots = "SELECT id::text FROM seven_mandelboxes WHERE status = 'WAITING'";
    let rows = sql.query(slots, &[]).await?;
    let slots: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut connections = open(address, &engine.as_admin(), users).await?;
    let write = async |connections: &mut [Connection], round: usize| {
        let each = connections.iter_mut().zip(&slots).enumerate();
        let each = each.map(async |(n, (connection, slot))| {
            let request = request(format!("user-{round}-{n}"), 0, 3);
            let started = Instant::now();
            ensure!(
                take(connection, slot, &request).await?,
                "{slot} was not written"
            );
            Ok(started.elapsed())
        });
        try_join_all(each).await
    };
    for round in 0..WARM_UPS {
        write(&mut connections, round).await?;
    }
    let connections = connections
        .get_mut(..users)
        .context("too few connections")?;
    let mut samples = Samples::default();
    for round in 0..times {
        samples.extend(write(connections, round).await?.into_iter().collect());
    }
    Ok(samples)
}

async fn open(address: &str, authorization: &str, users: usize) -> Result<Vec<Connection>> {
    let opened = (0..users.max(FEW)).map(|_| Connection::open(address, authorization));
    try_join_all(opened).await
}

fn request(user: String, session: usize, limit: usize) -> Request {
    Request {
        user,
        session: format!("session-{session}"),
        limit,
    }
}

/// Each connection makes one request. Returns the users, their slots, and the times.
async fn burst(
    way: Way,
    connections: &mut [Connection],
    request: impl Fn(usize) -> Request,
) -> Result<Vec<(String, Option<String>, Duration)>> {
    let each = connections.iter_mut().enumerate().map(|(n, connection)| {
        let request = request(n);
        async move {
            let started = Instant::now();
            let slot = assign(way, connection, &request).await?;
            anyhow::Ok((request.user, slot, started.elapsed()))
        }
    });
    try_join_all(each).await
}

/// All rows as at the beginning, for both.
async fn restore(sql: &Client) -> Result<()> {
    fleet::empty_instances(sql, FLEET, FREE).await?;
    sql.batch_execute(COPY).await.context("copy the fleet")
}
