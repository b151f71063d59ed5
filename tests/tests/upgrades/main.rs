//! Image upgrades on one deployed stack, requested as a deploy pipeline does: under constant
//! assigning by clients of both versions, and failing in every documented way.
//!
//! The schedule is off: each theme runs its passes by hand or by the schedule's event, and the
//! database's events are delivered. Each theme has a region of its own.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod clients;
mod competing_upgrades;
mod failures;
mod fleet;
mod story;
mod wrong_requests;

use std::fs;
use std::path::PathBuf;

use ec2_emulator::world::DEFAULT_WORLD;
use futures::future::{FutureExt as _, LocalBoxFuture};
use scaling_tests::deployed::{Deployed, set_fast_ec2};
use scaling_tests::themes;
use serde_json::{Value, json};
use tempfile::TempDir;

#[tokio::test]
async fn upgrade_replaces_images_without_downtime_or_fails_safely() {
    let folder = tempfile::tempdir().unwrap();
    let deployed = Deployed::start("upgrades", |options| {
        options.ec2.world = Some(write_world(&folder));
        set_fast_ec2(options);
        options.ec2.agent_session_ms = Some(story::SESSION_MS);
        options.ec2.agent_poll_ms = Some(500);
    })
    .await;
    deployed.deliver_events().await;

    let here = &deployed;
    let themes: [(&str, LocalBoxFuture<'_, ()>); 4] = [
        ("story", story::under_constant_assigning(here).boxed_local()),
        (
            "failures",
            failures::failures_leave_the_old_image(here).boxed_local(),
        ),
        (
            "wrong requests",
            wrong_requests::wrong_requests_change_nothing(here).boxed_local(),
        ),
        (
            "competing upgrades",
            competing_upgrades::newer_upgrade_wins(here).boxed_local(),
        ),
    ];
    themes::run(themes).await;
    deployed.stack.stop();
}

/// The default world, with a third image for hosts in each region.
fn write_world(folder: &TempDir) -> PathBuf {
    let mut world: Value = serde_json::from_str(DEFAULT_WORLD).unwrap();
    for region in world["regions"].as_object_mut().unwrap().values_mut() {
        let images = region["images"].as_array_mut().unwrap();
        let second = images[1]["id"].as_str().unwrap();
        let third = format!("{}3", &second[..second.len() - 1]);
        images.push(json!({"id": third, "name": "host-3"}));
    }
    let file = folder.path().join("world.json");
    fs::write(&file, world.to_string()).unwrap();
    file
}
