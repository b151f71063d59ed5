//! Nothing lost, nothing leaked: the proof by many runs.
//!
//! The functions' own code (`reconcile::handle`, `HasuraEvents::handle`,
//! `instance_state_change::handle`, and with them [`shared::pass`] and the real algorithms) runs
//! over the stateful fakes of [`testing`]: a database, a lock table, EC2, a clock. Nothing
//! of it is real but the code. So a run takes milliseconds, can be had again from its seed, and
//! everything that a cloud does rarely can happen often.
//!
//! # How a run goes
//!
//! A seed draws a [`scenario`] (regions, settings, how many users) and a [`plan`] (which faults,
//! how often). Then things happen in the order in which they are due:
//!
//! | what | where |
//! |---|---|
//! | a process is a future; each call that leaves it stands at a [`gate`] before its effect and at one after it | [`ports`], `processes` |
//! | the plan says how long it stands there, and whether it dies, gets no answer, sends its request late, or is paused | [`plan`], [`faults`] |
//! | processes are stepped one at a time, by hand: no runtime, no threads, no real time | [`executor`], [`queue`] |
//! | schedules, users, sessions, host agents, EC2's moods, operators, new images, events | `happenings`, `users`, `weather`, [`rollouts`], `releases`, [`events`], `ec2_events`, [`agents`] |
//! | what a call did is told by the wrapper around its port | [`facts`] |
//! | after each step the rules of the design's list "What always holds" are checked | [`checks`] |
//! | when the storm is over, all has to come to rest in so many passes | [`settle`] |
//!
//! A request is not tied to its sender: one that is late, or whose sender died, arrives all the
//! same. That is what the fence and the client tokens are for.
//!
//! # What proves what
//!
//! - `tests/seeds.rs`: a fixed set of seeds, and those in `regressions.txt` that found something.
//!   `make simulate SEEDS=100000` runs as many as there is time for.
//! - `tests/crash_points.rs`: each kind of invocation dies at each of its gates ([`crash_points`]).
//! - `tests/broken.rs`: each check can fail. [`broken`] puts something wrong behind the gates, and
//!   the check that is there for it has to find it.
//!
//! # When a seed fails
//!
//! The test prints the last steps and the command that shows them again:
//! `make simulate SEED=7 ARGS="--lines 1000"`. A line has the step, the time since the start, the
//! process, and the call with what befell it; what is indented is what it did:
//!
//! ```text
//!   3642   4:03.646 p573 launch After: crash after
//!   4152   4:50.246 p707   Closed(Lease { … version: 7 … }, LaunchId("u196"))
//! ```
//!
//! Find the root cause, mend it with a unit test of its own, and keep the seed in
//! `regressions.txt`.
//!
//! # What is not here
//!
//! Host agents and clients are played by the simulation; their own code has tests of its own. So
//! have the adapters behind the ports: that Postgres, DynamoDB and EC2 do what the fakes do is
//! tested against them. A call of a port is one request here, where an adapter may need several.

pub mod agents;
pub mod blind;
pub mod broken;
pub mod checks;
pub mod crash_points;
pub mod dice;
mod due;
mod ec2_events;
pub mod events;
pub mod executor;
pub mod facts;
pub mod faults;
pub mod gate;
mod happenings;
pub mod plan;
pub mod ports;
mod processes;
pub mod queue;
pub mod regressions;
mod releases;
pub mod rollouts;
pub mod run;
pub mod scenario;
pub mod settle;
pub mod simulation;
pub mod trace;
mod users;
mod weather;
pub mod world;

/// Runs within a tokio runtime that drives nothing: a time-out that a function sets needs one to
/// be made, and never fires, since the time of a simulation is its own.
///
/// # Panics
/// When the machine has no room for a runtime.
pub fn with_timers<T>(run: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    #[expect(
        clippy::expect_used,
        reason = "a tool without its runtime can only end"
    )]
    let runtime = runtime.expect("a runtime");
    let _entered = runtime.enter();
    run()
}
