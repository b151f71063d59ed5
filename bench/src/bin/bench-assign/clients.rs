//! The clients: connections that send one statement after the other, all of them in this thread.
//!
//! They see every answer, which `pgbench` does not: it would measure a wrong answer as a fast one.
//! It is also not among the programs that the project's setup asks for.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use scaling_bench::Samples;
use tokio::sync::Notify;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

use crate::fleet::{ENVIRONMENT, REGION, SHA};
use crate::processor;
use crate::slots::Slots;

const ASSIGN: &str = "SELECT outcome, slot_id FROM assign_slot($1, $2, $3, $4, 3, $5, false)";

/// What an assign has to write at least: one slot, by its id.
const FLOOR: &str = "UPDATE slots SET status = 'ALLOCATED', user_id = $1, session_id = $2,
    allocated_at = clock_timestamp(), first_allocated_at = clock_timestamp() WHERE id = $3";

/// As a pass releases slots.
const GIVE_BACK: &str = "UPDATE slots SET status = 'WAITING', user_id = NULL, session_id = NULL,
    allocated_at = NULL WHERE id = ANY ($1)";

/// Sessions end as often as they begin, so that the share of free slots stays. They end together in
/// one transaction when this many have begun, so that their ends cost little beside the rest.
const ENDS: usize = 50;

/// So many sessions more may have begun than ended. It is the same for all cases, and little beside what
/// begins in a turn: otherwise the quicker side would leave more of its ends to the time after its turn.
const LAG: usize = 4 * ENDS;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// New users get a slot.
    Assign,
    /// The floor: a free slot, chosen at random by the client, is given to a new user.
    Update,
    /// The floor where no slot is free: a slot is given to another user.
    UpdateOccupied,
    /// New users are refused.
    RefuseNewcomers,
    /// Two users for each client, who are refused again and again.
    RefuseAgain,
}

/// What the clients know of the slots.
#[derive(Debug, Default)]
pub(crate) struct World {
    free: RefCell<Slots>,
    occupied: RefCell<Slots>,
    begun: Cell<usize>,
    sessions_begin: Notify,
    /// Users wait outside while fewer slots are free ([`LAG`]). So their share stays, even if the disk
    /// stalls just when sessions end.
    reserve: Cell<usize>,
    sessions_ended: Notify,
    next_user: Cell<u64>,
    pub(crate) wrong: Wrong,
}

/// Answers that must not be.
#[derive(Debug, Default)]
pub(crate) struct Wrong {
    pub(crate) given_twice: Cell<u64>,
    pub(crate) free_refused: Cell<u64>,
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

impl World {
    pub(crate) fn set(&self, (free, occupied): (Slots, Slots)) {
        self.reserve.set(free.len().saturating_sub(LAG));
        self.free.replace(free);
        self.occupied.replace(occupied);
        self.begun.set(0);
    }

    pub(crate) fn free(&self) -> usize {
        self.free.borrow().len()
    }

    pub(crate) fn occupied(&self) -> usize {
        self.occupied.borrow().len()
    }

    fn new_user(&self) -> String {
        self.next_user.set(self.next_user.get() + 1);
        format!("user-{}", self.next_user.get())
    }

    async fn enough_free(&self) {
        while self.free() < self.reserve.get() {
            self.sessions_ended.notified().await;
        }
    }

    /// A user has a slot now.
    fn begins(&self, slot: Uuid) {
        self.free.borrow_mut().remove(slot);
        if !self.occupied.borrow_mut().insert(slot) {
            count(&self.wrong.given_twice);
        }
        self.begun.set(self.begun.get() + 1);
        if self.begun.get() >= ENDS {
            self.sessions_begin.notify_one();
        }
    }
}

pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .context("connect to PostgreSQL")?;
    // An error of the connection is also returned by the client, where it is reported.
    tokio::spawn(connection);
    // A fleet takes longer to make than any statement of the service.
    client.batch_execute("SET statement_timeout = 0").await?;
    Ok(client)
}

/// One of several clients.
#[derive(Debug)]
pub(crate) struct Worker {
    number: usize,
    /// The server's process of this connection.
    process: u32,
    sql: Client,
    assign: Statement,
    update: Statement,
    regions: serde_json::Value,
}

impl Worker {
    pub(crate) async fn start(url: &str, number: usize) -> Result<Self> {
        let sql = connect(url).await?;
        let process: i32 = sql.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        Ok(Self {
            number,
            process: u32::try_from(process)?,
            assign: sql.prepare(ASSIGN).await?,
            update: sql.prepare(FLOOR).await?,
            regions: serde_json::json!([REGION]),
            sql,
        })
    }

    /// Returns when the request was answered, with its time.
    async fn once(&self, work: Work, turn: usize, world: &World) -> Result<Duration> {
        if matches!(work, Work::Assign | Work::Update) {
            world.enough_free().await;
        }
        let user = match work {
            Work::RefuseAgain => format!("again-{}-{}", self.number, turn % 2),
            _ => world.new_user(),
        };
        match work {
            Work::Update | Work::UpdateOccupied => self.update(work, &user, world).await,
            _ => self.assign(work, &user, world).await,
        }
    }

    async fn update(&self, work: Work, user: &str, world: &World) -> Result<Duration> {
        let slot = if work == Work::Update {
            world.free.borrow_mut().take_any()
        } else {
            world.occupied.borrow().any()
        };
        let slot = slot.context("no slot is left to update")?;
        let started = Instant::now();
        let rows = self
            .sql
            .execute(&self.update, &[&user, &"session", &slot])
            .await?;
        let took = started.elapsed();
        ensure!(rows == 1, "the floor's update changed {rows} rows");
        if work == Work::Update {
            world.begins(slot);
        }
        Ok(took)
    }

    async fn assign(&self, work: Work, user: &str, world: &World) -> Result<Duration> {
        let started = Instant::now();
        let (outcome, slot) = self.request(user).await?;
        let took = started.elapsed();
        match (work, outcome.as_str(), slot) {
            (Work::Assign, "ASSIGNED", Some(slot)) => world.begins(slot),
            (Work::Assign, "NO_INSTANCE_AVAILABLE", None) => count(&world.wrong.free_refused),
            (_, "NO_INSTANCE_AVAILABLE", None) => {}
            (_, outcome, slot) => bail!("{work:?}: assign_slot answered {outcome}, {slot:?}"),
        }
        Ok(took)
    }

    async fn request(&self, user: &str) -> Result<(String, Option<Uuid>)> {
        let row = self
            .sql
            .query_one(
                &self.assign,
                &[&user, &"session", &self.regions, &SHA, &ENVIRONMENT],
            )
            .await?;
        Ok((row.get(0), row.get(1)))
    }
}

/// Many transactions of one kind.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) times: Samples,
    took: Duration,
    /// The processor time of the connections' processes in the server.
    processor: Duration,
}

impl Run {
    /// Transactions a second.
    pub(crate) fn rate(&self) -> f64 {
        self.times.count() as f64 / self.took.as_secs_f64()
    }

    /// The server's processor time for each transaction. On a busy machine it says more than a rate.
    pub(crate) fn processor(&self) -> Duration {
        self.processor / u32::try_from(self.times.count().max(1)).unwrap_or(u32::MAX)
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.processor += other.processor;
        self.times.extend(other.times);
        self.took += other.took;
    }
}

/// Lets all workers do the same for some time. Meanwhile `ends` gives slots back.
pub(crate) async fn run(
    workers: &[Worker],
    ends: &Client,
    work: Work,
    time: Duration,
    world: &World,
) -> Result<Run> {
    let processes: Vec<u32> = workers.iter().map(|worker| worker.process).collect();
    let processor = processor::time(&processes)?;
    let started = Instant::now();
    let each = workers.iter().map(async |worker| {
        let mut times = Samples::default();
        let mut turn = 0;
        while started.elapsed() < time {
            times.push(worker.once(work, turn, world).await?);
            turn += 1;
        }
        anyhow::Ok(times)
    });
    let all = async {
        let times = try_join_all(each).await?;
        let times = times.into_iter().flatten().collect();
        anyhow::Ok(Run {
            times,
            took: started.elapsed(),
            ..Run::default()
        })
    };
    // The transaction that ends sessions is not cut off: the slots must be known.
    let done = Cell::new(false);
    let all = async {
        let run = all.await;
        done.set(true);
        world.sessions_begin.notify_one();
        run
    };
    let (mut run, ()) = futures::try_join!(all, end_sessions(ends, &done, world))?;
    run.processor = processor::time(&processes)?.saturating_sub(processor);
    Ok(run)
}

/// Ends as many sessions as have begun, of any users, until `done`.
async fn end_sessions(ends: &Client, done: &Cell<bool>, world: &World) -> Result<()> {
    loop {
        world.sessions_begin.notified().await;
        let begun = world.begun.take();
        let slots: Vec<Uuid> = (0..begun)
            .filter_map(|_| world.occupied.borrow_mut().take_any())
            .collect();
        if !slots.is_empty() {
            ends.execute(GIVE_BACK, &[&slots])
                .await
                .context("end sessions")?;
        }
        for slot in slots {
            // It may be given to another user before this is known here.
            if !world.occupied.borrow().contains(slot) {
                world.free.borrow_mut().insert(slot);
            }
        }
        world.sessions_ended.notify_waiters();
        if done.get() {
            return Ok(());
        }
    }
}

/// `users` request a slot each, all through the workers. Returns how many got one.
pub(crate) async fn rush(workers: &[Worker], users: usize) -> Result<usize> {
    let next = Cell::new(0);
    let given = RefCell::new(HashSet::new());
    let each = workers.iter().map(async |worker| {
        let mut got = 0;
        while next.get() < users {
            let user = format!("rush-{}", next.replace(next.get() + 1));
            match worker.request(&user).await? {
                (_, Some(slot)) => {
                    ensure!(given.borrow_mut().insert(slot), "{slot} was given twice");
                    got += 1;
                }
                (outcome, None) => ensure!(
                    outcome == "NO_INSTANCE_AVAILABLE",
                    "assign_slot answered {outcome}"
                ),
            }
        }
        anyhow::Ok(got)
    });
    Ok(try_join_all(each).await?.into_iter().sum())
}
