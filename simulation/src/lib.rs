//! Many random schedules of the whole service, with faults: nothing may be lost or leaked.
//!
//! The functions' own code (`reconcile::handle`, `HasuraEvents::handle`,
//! `instance_state_change::handle`, and with them [`shared::pass`] and the real algorithms) runs
//! over the stateful fakes of [`testing`]: a database, a lock table, EC2, a clock. A run therefore
//! takes milliseconds, its seed repeats it, and what a cloud does rarely can happen often.
//!
//! # A run
//!
//! A seed draws a [`scenario`] (regions, settings, number of users) and a [`fault_schedule`] (which
//! faults, how often). Then everything happens in the order of its time:
//!
//! | what | where |
//! |---|---|
//! | A process is a future. Each call that leaves it waits at a [yield point](yield_points) before its effect, and at another one after it. | [`ports`], `processes` |
//! | The fault schedule decides how long it waits there, and whether it dies, gets no answer, sends its request late, or is paused. | [`fault_schedule`], [`faults`] |
//! | Processes are stepped one at a time: no runtime, no threads, no real time. | [`executor`], [`queue`] |
//! | The world changes: the schedule, users, sessions, host agents, EC2's conditions, operators, new images, events. | `events`, `users`, `host_agents`, [`agents`], `environment`, [`builds`], `releases`, `event_delivery`, [`hasura_events`], `ec2_events` |
//! | The wrapper around a port records the effects of each call. | [`effects`] |
//! | After each step, the invariants of the design are checked. | [`checks`] |
//! | After the faults, the system has to converge within a number of passes. | [`convergence`] |
//!
//! A request does not depend on its sender: one that is late, or whose sender has died, still has
//! its effect. The fence and the client tokens exist for this.
//!
//! # Tests
//!
//! - `tests/seeds.rs`: a fixed set of seeds, and those in `regressions.txt` that once found a bug.
//!   `make simulate SEEDS=100000` runs more of them.
//! - `tests/crash_points.rs`: each kind of invocation dies at each of its yield points
//!   ([`crash_points`]).
//! - `tests/broken.rs`: every check can fail. [`broken`] puts a defect behind the yield points, and
//!   its check has to find it.
//!
//! # When a seed fails
//!
//! The test prints the last steps and the command that prints them again:
//! `make simulate SEED=7 ARGS="--lines 1000"`. A line has the step, the time since the start, the
//! process, and its call, with the fault that hit it. An indented line is an effect of the call:
//!
//! ```text
//!   3642   4:03.646 p573 launch After: crash after
//!   4152   4:50.246 p707   IntentsClosed(Lease { … version: 7 … }, [LaunchId("u196")])
//! ```
//!
//! Find the root cause, fix it with a unit test of its own, and add the seed to `regressions.txt`.
//!
//! # Limits
//!
//! The simulation plays host agents and clients; their own code has tests of its own. So have the
//! adapters behind the ports: other tests compare PostgreSQL, DynamoDB and EC2 with the fakes. A
//! call of a port is one request here, where an adapter may need several.

pub mod agents;
pub mod broken;
pub mod builds;
pub mod checks;
pub mod convergence;
pub mod crash_points;
mod ec2_events;
pub mod effects;
pub mod empty_listing;
mod endings;
mod environment;
mod event_delivery;
mod events;
pub mod executor;
pub mod fault_schedule;
pub mod faults;
pub mod hand_overs;
pub mod hasura_events;
mod host_agents;
pub mod ports;
mod processes;
pub mod queue;
pub mod random;
pub mod regressions;
mod releases;
pub mod run;
pub mod scenario;
mod scheduled;
pub mod simulation;
pub mod trace;
mod users;
pub mod world;
pub mod yield_points;

/// Runs within a tokio runtime that drives nothing. A function that sets a timeout needs a runtime
/// to create it; the timeout never fires, because a simulation has its own time.
///
/// # Panics
/// When the machine cannot create a runtime.
pub fn with_timers<T>(run: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    #[expect(
        clippy::expect_used,
        reason = "a tool without its runtime can only end"
    )]
    let runtime = runtime.expect("create a tokio runtime");
    let _entered = runtime.enter();
    run()
}
