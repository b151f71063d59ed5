//! Kills function processes in the middle of their work, and pauses some for longer than the
//! leases that they may hold.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use local_stack::random::Random;
use nix::sys::signal::Signal;

use crate::now_ms;
use crate::prey::{Herd, Prey};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(8);
/// How long somebody who works is waited for, before it is looked again who is there.
const PATIENCE: Duration = Duration::from_millis(200);
/// So many are paused at a time: the load must go on meanwhile.
const MOST_PAUSED: usize = 6;
/// `LeaseSeconds` and the margin after which another may take the lock.
const LEASE_MS: i64 = 5_000 + 2_000;

/// Longer than anybody is paused.
const FOR_EVER: Duration = Duration::from_secs(600);

/// Somebody who was stopped, and went on later.
#[derive(Clone, Debug)]
pub(crate) struct Pause {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

/// What was done so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bag {
    /// By function.
    pub(crate) kills: BTreeMap<String, usize>,
    /// Those that are over.
    pub(crate) pauses: Vec<Pause>,
}

impl Bag {
    pub(crate) fn killed(&self) -> usize {
        self.kills.values().sum()
    }

    /// Pauses that outlasted any lease.
    pub(crate) fn long_pauses(&self) -> usize {
        let lasted = |pause: &&Pause| pause.to_ms - pause.from_ms > LEASE_MS;
        self.pauses.iter().filter(lasted).count()
    }
}

impl fmt::Display for Bag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kills, pauses) = (self.killed(), self.long_pauses());
        write!(f, "{kills} kills {:?}, {pauses} pauses", self.kills)
    }
}

/// How it is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Game {
    /// Between two strikes, at the least and at the most.
    pub(crate) rest_ms: (u64, u64),
    /// So many strikes of a hundred are pauses, from then on.
    pub(crate) pauses: usize,
    pub(crate) pauses_after: Duration,
}

/// A hunter in a thread of its own. Dropping it lets go on whoever is paused.
pub(crate) struct Hunt {
    stop: Arc<AtomicBool>,
    bag: Arc<std::sync::Mutex<Bag>>,
    thread: Option<JoinHandle<()>>,
}

impl Hunt {
    pub(crate) fn begin(herd: Herd, game: Game, dice: Random) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let bag = Arc::default();
        let hunter = Hunter {
            herd,
            game,
            dice,
            began: Instant::now(),
            paused: Vec::new(),
            bag: Arc::clone(&bag),
        };
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new().name("hunter".to_owned());
        let thread = thread.spawn(move || hunter.hunt(&told)).expect("a thread");
        Self {
            stop,
            bag,
            thread: Some(thread),
        }
    }

    pub(crate) fn bag(&self) -> Bag {
        self.bag.lock().unwrap().clone()
    }

    /// Ends it; nobody is paused any more.
    pub(crate) fn end(mut self) -> Bag {
        self.join().expect("the hunter ends in order");
        self.bag()
    }

    fn join(&mut self) -> thread::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Hunt {
    fn drop(&mut self) {
        // Whoever drops it before its end fails already.
        let _ = self.join();
    }
}

struct Paused {
    prey: Prey,
    from_ms: i64,
    until: Instant,
}

struct Hunter {
    herd: Herd,
    game: Game,
    dice: Random,
    began: Instant,
    paused: Vec<Paused>,
    bag: Arc<std::sync::Mutex<Bag>>,
}

impl Hunter {
    fn hunt(mut self, stop: &AtomicBool) {
        let mut strike = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if Instant::now() >= strike && self.strike() {
                let (least, most) = self.game.rest_ms;
                strike = Instant::now() + self.dice.millis(least, most);
            }
            self.let_go(Instant::now());
            thread::sleep(LOOK);
        }
    }

    /// At somebody in the middle of an invocation.
    fn strike(&mut self) -> bool {
        let mut herd = self.herd.living();
        herd.retain(|prey| !self.paused.iter().any(|paused| paused.prey.is(prey)));
        let from = Instant::now() + self.dice.millis(0, 40);
        while from.elapsed() < PATIENCE {
            thread::sleep(LOOK);
            let working: Vec<_> = herd.iter_mut().filter_map(Prey::has_worked).collect();
            if Instant::now() < from || working.is_empty() {
                continue;
            }
            let prey = self.dice.pick(&working);
            if prey.has_started() {
                return self.kill_or_pause(prey.clone());
            }
        }
        false
    }

    fn kill_or_pause(&mut self, prey: Prey) -> bool {
        // Whoever assigns users holds no lock.
        let may_pause = self.began.elapsed() >= self.game.pauses_after
            && self.paused.len() < MOST_PAUSED
            && prey.function != "assign-user";
        if may_pause && self.dice.chance(self.game.pauses) {
            self.pause(prey)
        } else {
            self.kill(&prey)
        }
    }

    fn kill(&mut self, prey: &Prey) -> bool {
        let killed = self.herd.signal(prey, Signal::SIGKILL);
        if killed {
            let mut bag = self.bag.lock().unwrap();
            *bag.kills.entry(prey.function.clone()).or_default() += 1;
        }
        killed
    }

    fn pause(&mut self, prey: Prey) -> bool {
        let from_ms = now_ms();
        let stopped = self.herd.signal(&prey, Signal::SIGSTOP);
        if stopped {
            // Long enough after its lease that somebody else has had its region meanwhile.
            let time =
                Duration::from_millis(LEASE_MS.unsigned_abs()) + self.dice.millis(500, 7_000);
            self.paused.push(Paused {
                prey,
                from_ms,
                until: Instant::now() + time,
            });
        }
        stopped
    }

    /// Lets those go on whose time is up by then. The pause is over just before they do.
    fn let_go(&mut self, by: Instant) {
        let herd = &self.herd;
        let bag = &self.bag;
        self.paused.retain(|paused| {
            let goes_on = paused.until <= by;
            if goes_on {
                let to_ms = now_ms();
                if herd.signal(&paused.prey, Signal::SIGCONT) {
                    let from_ms = paused.from_ms;
                    bag.lock().unwrap().pauses.push(Pause { from_ms, to_ms });
                }
            }
            !goes_on
        });
    }
}

impl Drop for Hunter {
    fn drop(&mut self) {
        self.let_go(Instant::now() + FOR_EVER);
    }
}
