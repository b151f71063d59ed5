//! The whole story with everything that goes wrong in it, on one deployed stack, asserted from
//! outside: what is promised is kept in every fault, each is reported as it should be, and when
//! it is over the region comes to rest where it should.
//!
//! The schedule is off and the database's events are delivered: what is launched without a pass
//! by hand is launched by events. Each theme has a region of its own; at its end, the region is
//! left alone, with everything in it as it was.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod events;
mod world;

use std::time::Instant;

use scaling_tests::deployed::Deployed;

#[tokio::test]
async fn every_fault_is_survived_with_the_promises_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployed = Deployed::start("faults", |options| {
        options.ec2.world = Some(world::write(&folder));
        options.ec2.pending_ms = Some(200);
        options.ec2.shutting_down_ms = Some(200);
        options.ec2.listing_lag_ms = Some(200);
        options.ec2.agent_boot_ms = Some(50);
        options.ec2.agent_connect_ms = Some(100);
        // Whoever has a slot keeps it.
        options.ec2.agent_session_ms = Some(3_600_000);
        options.ec2.agent_heartbeat_ms = Some(2_000);
        options.ec2.agent_poll_ms = Some(1_000);
    })
    .await;
    deployed.deliver_events().await;

    scene("events", events::change_nothing_by_their_ways(&deployed)).await;
    deployed.stack.stop();
}

/// Says which of the themes it was, and how long each takes.
async fn scene(theme: &str, happens: impl Future<Output = ()>) {
    let started = Instant::now();
    println!("-- {theme}");
    happens.await;
    println!("-- {theme}: {:.1} s", started.elapsed().as_secs_f32());
}
