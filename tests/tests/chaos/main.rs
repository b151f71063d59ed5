//! The deployed stack with thirty regions under load and with timeouts of seconds, while its
//! function processes are killed at random moments some hundreds of times, and others are paused
//! for longer than their leases. Afterwards everything settles, and EC2's ledger, PostgreSQL and
//! DynamoDB are compared: with each other, and over their whole history with the invariants.
//!
//! In the first third processes are only killed, after that also paused. Random choices come from
//! one seed, but not the moment at which each takes effect, so a run cannot be repeated exactly.
//! Variables of a run:
//!
//! - `CHAOS_SEED`: another seed than [`SEED`];
//! - `CHAOS_SECONDS`: its duration without start and settling (default [`SECONDS`]). It is longer
//!   if there were not enough kills and pauses by then.
//!
//! A long run, with its figures:
//!
//! ```text
//! CHAOS_SECONDS=1800 CHAOS_SEED=7 cargo test --workspace --test chaos -- --nocapture
//! ```
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod aws_log;
mod checks;
mod evidence;
mod faults;
mod load;
mod passes;
mod process_faults;
mod processes;
mod regions;
mod settle;
mod users;

use std::time::{Duration, Instant};

use local_stack::options::StackOptions;
use scaling_tests::deployed::Deployed;
use serde_json::Value;
use shared::clock::Clock;
use startup::SystemClock;

use aws_log::AwsLog;
use checks::live::Live;
use checks::stores::{self, Store};
use evidence::{Calls, Evidence, install_audit};
use load::Chaos;
use passes::PassLoad;
use regions::{MAX_INSTANCES, World};
use settle::settle;
use users::Users;

const SEED: u64 = 20_261_121;
const SECONDS: u64 = 75;

/// The least number of times that each region's lock must be taken.
const PASSES_EACH: i64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_killed_or_paused_at_any_moment_break_no_invariant() {
    let seed = setting("CHAOS_SEED", SEED);
    let time = Duration::from_secs(setting("CHAOS_SECONDS", SECONDS));
    println!("CHAOS_SEED={seed} CHAOS_SECONDS={}", time.as_secs());
    let deployed = thirty_regions().await;
    faults::disturb_database_events(&deployed, seed).await;
    deployed.deliver_events().await;

    let (users, passes) = (Users::of(&deployed), PassLoad::of(&deployed));
    let (mut calls, mut log) = (Calls::default(), AwsLog::of(&deployed.stack));
    let chaos = Chaos {
        deployed: &deployed,
        users: &users,
        passes: &passes,
        seed,
        time,
    };
    let began = Instant::now();
    let tally = tokio::select! {
        tally = chaos.happens(&mut calls, &mut log) => tally,
        part = deployed.stack.failed() => panic!("{part}"),
    };
    let lasted = began.elapsed().as_secs_f32();
    println!("{lasted:.0} s: {tally}, {log}");
    println!("outcomes of passes: {:?}", passes.tally());
    println!("answers to users: {:?}", users.answers());
    faults::clear_faults(&deployed).await;
    println!("settled by {}", settle(&deployed, &users).await);

    let evidence = Evidence::read(&deployed, calls, tally.pauses.clone(), users.answered()).await;
    let store = Store::read(&deployed).await;
    let live = Live::in_all_regions(&evidence, MAX_INSTANCES);
    log.read_on();
    let events = deployed.control_events("GET", "", &Value::Null).await;
    let locks_lost = chaos.locks_lost(&log);
    println!("{store}, {locks_lost} writes of earlier holders rejected");
    println!("{evidence}, {live}");
    println!("events of the database: {}", events["events"]);

    let mut violations = evidence.violations(&store.closed);
    violations.extend(live.violations);
    violations.extend(store.violations(&evidence, PASSES_EACH));
    violations.extend(stores::violations(&deployed, &evidence).await);
    assert!(
        violations.is_empty(),
        "with CHAOS_SEED={seed}: {violations:#?}"
    );
    assert!(
        chaos.were_enough(&tally, &log),
        "too few kills, pauses, or holders that lost their lock"
    );
    deployed.stack.stop();
}

/// Deploys and sets up the stack, and records changes from now on.
async fn thirty_regions() -> Deployed {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let file = world.write(folder.path());
    let deployed = Deployed::start("chaos", |options| {
        options.ec2.world = Some(file);
        in_seconds(options);
    })
    .await;
    install_audit(&deployed).await;
    world.set_up(&deployed).await;
    deployed
}

/// Reduces every duration to seconds or less. Agents poll rarely, since many of them run on one
/// machine.
fn in_seconds(options: &mut StackOptions) {
    let parameters = [
        ("PassBudgetSeconds", "2"),
        ("Ec2CallSeconds", "1"),
        ("LeaseSeconds", "5"),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    options.parameters = parameters.into();
    options.ec2.pending_ms = Some(300);
    options.ec2.shutting_down_ms = Some(300);
    options.ec2.listing_lag_ms = Some(200);
    options.ec2.agent_boot_ms = Some(100);
    options.ec2.agent_connect_ms = Some(200);
    options.ec2.agent_session_ms = Some(3_000);
    options.ec2.agent_heartbeat_ms = Some(8_000);
    options.ec2.agent_poll_ms = Some(5_000);
}

#[expect(
    clippy::disallowed_methods,
    reason = "these are the test's own settings"
)]
fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value
            .parse()
            .unwrap_or_else(|_| panic!("{name} should be a number, not {value:?}")),
        Err(_) => default,
    }
}

/// In milliseconds since 1970, as in EC2's ledger.
fn now_ms() -> i64 {
    SystemClock.now().as_millisecond()
}
