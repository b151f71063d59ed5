//! Load and faults at the same time, until there were enough of both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use local_stack::random::Random;
use scaling_tests::deployed::Deployed;

use crate::aws_log::AwsLog;
use crate::evidence::Calls;
use crate::faults;
use crate::passes::PassLoad;
use crate::process_faults::{Plan, ProcessFaults, Tally};
use crate::processes::FunctionProcesses;
use crate::users::Users;

/// The least invocations that must be cut short, the least pauses, and the least passes that go on
/// after another has taken their lock. On a busy machine few paused passes are in the middle.
const KILLS: usize = 300;
const PAUSES: usize = 30;
const LOCKS_LOST: usize = 1;

/// Between two checks of the counts.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) struct Chaos<'a> {
    pub(crate) deployed: &'a Deployed,
    pub(crate) users: &'a Users<'a>,
    pub(crate) passes: &'a PassLoad,
    pub(crate) seed: u64,
    /// The shortest duration. After six times as long it ends even with too few faults.
    pub(crate) time: Duration,
}

impl Chaos<'_> {
    pub(crate) async fn happens(&self, calls: &mut Calls, log: &mut AwsLog) -> Tally {
        let stop = AtomicBool::new(false);
        let (tally, ()) = tokio::join!(self.disturb_processes(calls, log, &stop), self.load(&stop));
        tally
    }

    async fn disturb_processes(
        &self,
        calls: &mut Calls,
        log: &mut AwsLog,
        stop: &AtomicBool,
    ) -> Tally {
        let plan = Plan {
            rest_ms: (50, 230),
            pauses: 20,
            pauses_after: self.time / 3,
        };
        let faults = ProcessFaults::begin(
            FunctionProcesses::of(&self.deployed.stack),
            plan,
            self.random("processes", 0),
        );
        let began = Instant::now();
        let mut enough = false;
        while began.elapsed() < self.time || (!enough && began.elapsed() < 6 * self.time) {
            tokio::time::sleep(LOOK).await;
            calls.gather(self.deployed).await;
            log.read_on();
            enough = self.were_enough(&faults.tally(), log);
        }
        stop.store(true, Ordering::Relaxed);
        // No process stays paused, so that every invocation ends.
        faults.end()
    }

    /// Whether there were enough faults for the checks to mean something.
    pub(crate) fn were_enough(&self, tally: &Tally, log: &AwsLog) -> bool {
        log.cut_short >= KILLS
            && tally.long_pauses() >= PAUSES
            && self.locks_lost(log) >= LOCKS_LOST
    }

    /// Passes whose writes were rejected, because another had taken their lock.
    pub(crate) fn locks_lost(&self, log: &AwsLog) -> usize {
        log.locks_lost + self.passes.locks_lost()
    }

    async fn load(&self, stop: &AtomicBool) {
        tokio::join!(
            join_all((0..5).map(|it| self.users.request_slots(self.random("user", it), stop))),
            join_all((0..7).map(|it| self.passes.for_some(self.random("some", it), stop))),
            self.passes.for_all(self.random("all", 0), stop),
            faults::change_ec2_faults(self.deployed, self.random("weather", 0), stop),
        );
    }

    fn random(&self, who: &str, number: usize) -> Random {
        Random::new(self.seed, &format!("{who} {number}"))
    }
}
