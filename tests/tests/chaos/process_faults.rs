//! Kills function processes while they work, and pauses some for longer than the leases that they
//! may hold.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use local_stack::random::Random;
use nix::sys::signal::Signal;

use crate::now_ms;
use crate::processes::{FunctionProcess, FunctionProcesses};

/// Between two polls.
const LOOK: Duration = Duration::from_millis(8);
/// How long one attempt waits for a process that works, before it lists the processes again.
const PATIENCE: Duration = Duration::from_millis(200);
/// The most processes that are paused at the same time: the load must continue.
const MOST_PAUSED: usize = 6;
/// `LeaseSeconds`, and the margin after which another may acquire the lock.
const LEASE_MS: i64 = 5_000 + 2_000;

/// Longer than any pause.
const FOR_EVER: Duration = Duration::from_secs(600);

/// A pause of a process.
#[derive(Clone, Debug)]
pub(crate) struct Pause {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

/// What was done so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// By function.
    pub(crate) kills: BTreeMap<String, usize>,
    /// The pauses that are over.
    pub(crate) pauses: Vec<Pause>,
}

impl Tally {
    pub(crate) fn killed(&self) -> usize {
        self.kills.values().sum()
    }

    /// Pauses that outlasted any lease.
    pub(crate) fn long_pauses(&self) -> usize {
        let lasted = |pause: &&Pause| pause.to_ms - pause.from_ms > LEASE_MS;
        self.pauses.iter().filter(lasted).count()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kills, pauses) = (self.killed(), self.long_pauses());
        write!(f, "{kills} kills {:?}, {pauses} pauses", self.kills)
    }
}

/// How processes are killed and paused.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Shortest and longest time between two faults.
    pub(crate) rest_ms: (u64, u64),
    /// The percentage of faults that are pauses, from `pauses_after` on.
    pub(crate) pauses: usize,
    pub(crate) pauses_after: Duration,
}

/// A thread of its own that kills and pauses. Dropping it continues every paused process.
pub(crate) struct ProcessFaults {
    stop: Arc<AtomicBool>,
    tally: Arc<std::sync::Mutex<Tally>>,
    thread: Option<JoinHandle<()>>,
}

impl ProcessFaults {
    pub(crate) fn begin(processes: FunctionProcesses, plan: Plan, random: Random) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::default();
        let worker = Worker {
            processes,
            plan,
            random,
            began: Instant::now(),
            paused: Vec::new(),
            tally: Arc::clone(&tally),
        };
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("process faults".to_owned());
        let thread = thread
            .spawn(move || worker.run(&stopped))
            .expect("a thread");
        Self {
            stop,
            tally,
            thread: Some(thread),
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Ends the thread. No process is paused afterwards.
    pub(crate) fn end(mut self) -> Tally {
        self.join().expect("the worker ends in order");
        self.tally()
    }

    fn join(&mut self) -> thread::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for ProcessFaults {
    fn drop(&mut self) {
        // A drop before the end means that the test already fails.
        let _ = self.join();
    }
}

struct Paused {
    process: FunctionProcess,
    from_ms: i64,
    until: Instant,
}

struct Worker {
    processes: FunctionProcesses,
    plan: Plan,
    random: Random,
    began: Instant,
    paused: Vec<Paused>,
    tally: Arc<std::sync::Mutex<Tally>>,
}

impl Worker {
    fn run(mut self, stop: &AtomicBool) {
        let mut strike = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if Instant::now() >= strike && self.strike() {
                let (least, most) = self.plan.rest_ms;
                strike = Instant::now() + self.random.millis(least, most);
            }
            self.let_go(Instant::now());
            thread::sleep(LOOK);
        }
    }

    /// Kills or pauses a process during an invocation.
    fn strike(&mut self) -> bool {
        let mut processes = self.processes.living();
        processes.retain(|process| !self.paused.iter().any(|paused| paused.process.is(process)));
        let from = Instant::now() + self.random.millis(0, 40);
        while from.elapsed() < PATIENCE {
            thread::sleep(LOOK);
            let working: Vec<_> = processes
                .iter_mut()
                .filter_map(FunctionProcess::has_worked)
                .collect();
            if Instant::now() < from || working.is_empty() {
                continue;
            }
            let process = self.random.pick(&working);
            if process.has_started() {
                return self.kill_or_pause(process.clone());
            }
        }
        false
    }

    fn kill_or_pause(&mut self, process: FunctionProcess) -> bool {
        // `assign-user` holds no lock.
        let may_pause = self.began.elapsed() >= self.plan.pauses_after
            && self.paused.len() < MOST_PAUSED
            && process.function != "assign-user";
        if may_pause && self.random.chance(self.plan.pauses) {
            self.pause(process)
        } else {
            self.kill(&process)
        }
    }

    fn kill(&mut self, process: &FunctionProcess) -> bool {
        let killed = self.processes.signal(process, Signal::SIGKILL);
        if killed {
            let mut tally = self.tally.lock().unwrap();
            *tally.kills.entry(process.function.clone()).or_default() += 1;
        }
        killed
    }

    fn pause(&mut self, process: FunctionProcess) -> bool {
        let from_ms = now_ms();
        let stopped = self.processes.signal(&process, Signal::SIGSTOP);
        if stopped {
            // So long after the lease that another holder has had the region in between.
            let time =
                Duration::from_millis(LEASE_MS.unsigned_abs()) + self.random.millis(500, 7_000);
            self.paused.push(Paused {
                process,
                from_ms,
                until: Instant::now() + time,
            });
        }
        stopped
    }

    /// Continues the processes whose pause ends by `by`. The recorded end is just before that.
    fn let_go(&mut self, by: Instant) {
        let processes = &self.processes;
        let tally = &self.tally;
        self.paused.retain(|paused| {
            let goes_on = paused.until <= by;
            if goes_on {
                let to_ms = now_ms();
                if processes.signal(&paused.process, Signal::SIGCONT) {
                    let from_ms = paused.from_ms;
                    tally.lock().unwrap().pauses.push(Pause { from_ms, to_ms });
                }
            }
            !goes_on
        });
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.let_go(Instant::now() + FOR_EVER);
    }
}
