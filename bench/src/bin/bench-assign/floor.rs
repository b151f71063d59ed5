//! `assign_slot` against the floor: one slot that is updated by its id.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use scaling_bench::{Cell, Comparison, Quantity, Row, Section};
use serde::Serialize;
use tokio_postgres::Client;

use crate::clients::{Run, Work, Worker, World, connect, run, rush};
use crate::fleet::{self, Fleet};

const SLOTS: u32 = 40_000;
/// Slots of each instance.
const CAPACITIES: [u32; 3] = [1, 4, 50];
/// Free slots, in percent.
const SHARES: [u32; 2] = [1, 10];
const CLIENTS: [usize; 3] = [1, 8, 32];

/// What is compared takes turns, because a machine is not equally fast all the time.
const TURNS: usize = 3;
const TURN: Duration = Duration::from_millis(1_000);
/// Unmeasured, before the turns: a connection plans a statement anew after `ANALYZE`.
const WARM_UP: Duration = Duration::from_millis(300);

const RATE_GOAL: f64 = 0.5;
const P95_GOAL: f64 = 3.0;
/// At the floor's rate, within what two measurements of the same thing differ by.
const REFUSED_GOAL: f64 = 0.95;

/// More users than slots, in a rush.
const RUSH: (usize, usize) = (600, 100);

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) comparison: Comparison,
    pub(crate) refusals: Comparison,
    pub(crate) checks: Section,
}

/// Measures the cases whose names contain `only`.
pub(crate) async fn measure(url: &str, only: &str) -> Result<Report> {
    let sql = connect(url).await?;
    fleet::ensure_unused(&sql).await?;
    let mut bench = Bench {
        ends: connect(url).await?,
        workers: Vec::new(),
        world: World::default(),
        sql,
    };
    for number in 0..CLIENTS.into_iter().max().unwrap_or_default() {
        bench.workers.push(Worker::start(url, number).await?);
    }
    let (mut assigned, mut refused, mut rushes) = (Vec::new(), Vec::new(), Vec::new());
    for capacity in CAPACITIES {
        let fleet = Fleet {
            slots: SLOTS,
            capacity,
        };
        fleet::create(&bench.sql, fleet).await?;
        for share in SHARES {
            for clients in CLIENTS {
                let case = format!("{capacity} per instance, {share} % free, {}", name(clients));
                if case.contains(only) {
                    let row = bench.assign(share, clients).await;
                    assigned.push(done(case, row)?);
                }
            }
        }
        for clients in CLIENTS {
            let case = format!("{capacity} per instance, {}", name(clients));
            if case.contains(only) {
                let row = bench.refuse(clients).await;
                refused.push(done(case, row)?);
            }
        }
        rushes.push(bench.rush(capacity).await?);
    }
    let (settings, disk) = (settings(&bench.sql).await?, disk(&bench.sql).await?);
    Ok(Report {
        comparison: Comparison {
            title: format!("assign against the floor{disk}"),
            method: format!(
                "`assign_slot` beside the floor: the same write, of one slot that the client names by \
                 its id. {SLOTS} slots; {settings}. The clients are one thread of a release build. \
                 Assign and floor take turns of {} s, {TURNS} each. Sessions end as often as they \
                 begin, at random places, so that the share of free slots stays; the region's target \
                 is half of them. *CPU* is the server's processor time for each transaction.",
                TURN.as_secs_f64()
            ),
            columns: [
                "assign",
                "floor",
                "ratio of rates",
                "assign p50",
                "assign p95",
                "floor p50",
                "floor p95",
                "ratio of p95",
                "assign CPU",
                "floor CPU",
            ]
            .map(str::to_owned)
            .to_vec(),
            rows: assigned,
        },
        refusals: Comparison {
            title: format!("refusals against the floor{disk}"),
            method:
                "No slot is free. *Again*: two users for each client, who ask again and again. \
                     *New*: another user each time, so that the line grows."
                    .to_owned(),
            columns: [
                "again",
                "new",
                "floor",
                "again to floor",
                "new to floor",
                "again p95",
                "new p95",
                "floor p95",
                "again CPU",
                "new CPU",
                "floor CPU",
            ]
            .map(str::to_owned)
            .to_vec(),
            rows: refused,
        },
        checks: bench.checks(&disk, rushes),
    })
}

struct Bench {
    sql: Client,
    ends: Client,
    workers: Vec<Worker>,
    world: World,
}

impl Bench {
    async fn assign(&self, share: u32, clients: usize) -> Result<Vec<Cell>> {
        let free = usize::try_from(SLOTS * share / 100)?;
        self.set_free(free).await?;
        let [assign, floor] = self.turns(clients, [Work::Assign, Work::Update]).await?;
        self.compare_with_database().await?;
        let mut p95 = ratio(p95(&assign), p95(&floor));
        if clients == CLIENTS[2] {
            p95 = p95.at_most(Quantity::Ratio(P95_GOAL));
        }
        let rates = Quantity::Ratio(assign.rate() / floor.rate());
        Ok(vec![
            Cell::new(Quantity::PerSecond(assign.rate())),
            Cell::new(Quantity::PerSecond(floor.rate())),
            Cell::new(rates).at_least(Quantity::Ratio(RATE_GOAL)),
            Cell::new(Quantity::Time(assign.times.median())),
            Cell::new(Quantity::Time(self::p95(&assign))),
            Cell::new(Quantity::Time(floor.times.median())),
            Cell::new(Quantity::Time(self::p95(&floor))),
            p95,
            Cell::new(Quantity::Time(assign.processor())),
            Cell::new(Quantity::Time(floor.processor())),
        ])
    }

    async fn refuse(&self, clients: usize) -> Result<Vec<Cell>> {
        self.set_free(0).await?;
        let work = [
            Work::RefuseAgain,
            Work::UpdateOccupied,
            Work::RefuseNewcomers,
        ];
        let [again, floor, new] = self.turns(clients, work).await?;
        let to_floor = |refused: &Run| {
            let rates = Quantity::Ratio(refused.rate() / floor.rate());
            Cell::new(rates).at_least(Quantity::Ratio(REFUSED_GOAL))
        };
        Ok(vec![
            Cell::new(Quantity::PerSecond(again.rate())),
            Cell::new(Quantity::PerSecond(new.rate())),
            Cell::new(Quantity::PerSecond(floor.rate())),
            to_floor(&again),
            to_floor(&new),
            Cell::new(Quantity::Time(p95(&again))),
            Cell::new(Quantity::Time(p95(&new))),
            Cell::new(Quantity::Time(p95(&floor))),
            Cell::new(Quantity::Time(again.processor())),
            Cell::new(Quantity::Time(new.processor())),
            Cell::new(Quantity::Time(floor.processor())),
        ])
    }

    /// Does each work in turn, several times.
    async fn turns<const N: usize>(&self, clients: usize, work: [Work; N]) -> Result<[Run; N]> {
        let workers = self.workers.get(..clients).context("too few workers")?;
        let mut runs: [Run; N] = std::array::from_fn(|_| Run::default());
        for work in work {
            run(workers, &self.ends, work, WARM_UP, &self.world).await?;
        }
        for _ in 0..TURNS {
            for (work, sum) in work.into_iter().zip(&mut runs) {
                sum.add(run(workers, &self.ends, work, TURN, &self.world).await?);
            }
            // Whoever waits has left before the next turn.
            self.sql.batch_execute("DELETE FROM waiting_users").await?;
        }
        Ok(runs)
    }

    async fn rush(&self, capacity: u32) -> Result<Row> {
        let (users, free) = RUSH;
        self.set_free(free).await?;
        let got = rush(&self.workers, users).await?;
        let wrong = u64::try_from(got.abs_diff(free))?;
        let name =
            format!("{users} users on {free} free slots, {capacity} per instance: difference");
        Ok(Row::single(name, Quantity::Count(wrong))
            .samples(users)
            .at_most(Quantity::Count(0)))
    }

    async fn set_free(&self, free: usize) -> Result<()> {
        fleet::set_free(&self.sql, free).await?;
        self.world.set(fleet::read(&self.sql).await?);
        Ok(())
    }

    /// Whether the clients were told what is stored.
    async fn compare_with_database(&self) -> Result<()> {
        let (free, occupied) = fleet::read(&self.sql).await?;
        let stored = (free.len(), occupied.len());
        let told = (self.world.free(), self.world.occupied());
        ensure!(
            stored == told,
            "free and occupied slots: {stored:?} are stored, the clients know {told:?}"
        );
        Ok(())
    }

    fn checks(&self, disk: &str, rushes: Vec<Row>) -> Section {
        let wrong = &self.world.wrong;
        let none = |name: &str, count: &std::cell::Cell<u64>| {
            Row::single(name, Quantity::Count(count.get())).at_most(Quantity::Count(0))
        };
        let mut rows = vec![
            none("slots given twice", &wrong.given_twice),
            none("users refused while slots were free", &wrong.free_refused),
        ];
        rows.extend(rushes);
        Section {
            title: format!("assign against the floor{disk}: answers"),
            method: "Every answer of the measurements above was checked.".to_owned(),
            rows,
        }
    }
}

/// A sign of progress: all cases together take minutes.
fn done(case: String, row: Result<Vec<Cell>>) -> Result<(String, Vec<Cell>)> {
    let row = row.with_context(|| case.clone())?;
    let cells: Vec<_> = row.iter().map(Cell::to_string).collect();
    eprintln!("{case}: {}", cells.join(", "));
    Ok((case, row))
}

fn p95(run: &Run) -> Duration {
    run.times.percentile(95)
}

fn ratio(time: Duration, floor: Duration) -> Cell {
    Cell::new(Quantity::Ratio(time.as_secs_f64() / floor.as_secs_f64()))
}

fn name(clients: usize) -> String {
    match clients {
        1 => "1 client".to_owned(),
        _ => format!("{clients} clients"),
    }
}

/// The server's version, and the settings that decide how durable a commit is.
async fn settings(sql: &Client) -> Result<String> {
    let row = sql
        .query_one(
            "SELECT format('PostgreSQL %s, fsync %s, synchronous_commit %s, shared_buffers %s',
                 current_setting('server_version'), current_setting('fsync'),
                 current_setting('synchronous_commit'), current_setting('shared_buffers'))",
            &[],
        )
        .await?;
    Ok(row.get(0))
}

/// For titles: what a commit waits for beside the machine's own disk.
async fn disk(sql: &Client) -> Result<String> {
    let delay = sql.query_one("SHOW commit_delay", &[]).await?;
    let delay: String = delay.get(0);
    Ok(match delay.as_str() {
        "0" => String::new(),
        delay => format!(", a commit waits {delay} µs more"),
    })
}
