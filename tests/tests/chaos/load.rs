//! Load and faults at the same time, until there was enough of both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use local_stack::random::Random;
use scaling_tests::deployed::Deployed;

use crate::aws_log::AwsLog;
use crate::evidence::Calls;
use crate::hunt::{Bag, Game, Hunt};
use crate::passes::Reconciler;
use crate::prey::Herd;
use crate::users::Users;
use crate::weather;

/// So many invocations are cut short at the least, and so many processes are paused.
pub(crate) const KILLS: usize = 300;
pub(crate) const PAUSES: usize = 30;

/// Between two looks at what there was so far.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) struct Chaos<'a> {
    pub(crate) deployed: &'a Deployed,
    pub(crate) users: &'a Users<'a>,
    pub(crate) passes: &'a Reconciler,
    pub(crate) seed: u64,
    /// How long it lasts at the least. If there is too little in three times as long, it is over.
    pub(crate) time: Duration,
}

impl Chaos<'_> {
    pub(crate) async fn happens(&self, calls: &mut Calls, log: &mut AwsLog) -> Bag {
        let stop = AtomicBool::new(false);
        let (bag, ()) = tokio::join!(self.hunt(calls, log, &stop), self.load(&stop));
        bag
    }

    async fn hunt(&self, calls: &mut Calls, log: &mut AwsLog, stop: &AtomicBool) -> Bag {
        let game = Game {
            rest_ms: (50, 230),
            pauses: 20,
            pauses_after: self.time / 3,
        };
        let hunt = Hunt::begin(Herd::of(&self.deployed.stack), game, self.dice("hunter", 0));
        let began = Instant::now();
        let mut enough = false;
        while began.elapsed() < self.time || (!enough && began.elapsed() < 3 * self.time) {
            tokio::time::sleep(LOOK).await;
            calls.gather(self.deployed).await;
            log.read_on();
            enough = log.cut_short >= KILLS && hunt.bag().long_pauses() >= PAUSES;
        }
        stop.store(true, Ordering::Relaxed);
        // Nobody stays paused, so that every invocation comes to its end.
        hunt.end()
    }

    async fn load(&self, stop: &AtomicBool) {
        tokio::join!(
            join_all((0..5).map(|it| self.users.request_slots(self.dice("user", it), stop))),
            join_all((0..7).map(|it| self.passes.for_some(self.dice("some", it), stop))),
            self.passes.for_all(self.dice("all", 0), stop),
            weather::turns(self.deployed, self.dice("weather", 0), stop),
        );
    }

    fn dice(&self, who: &str, number: usize) -> Random {
        Random::new(self.seed, &format!("{who} {number}"))
    }
}
