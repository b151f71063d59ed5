//! The algorithm `replica` on the deployed stack. Replicas answer on loopback addresses of their
//! own; assertions are on EC2's ledger, DynamoDB and the reports.
//!
//! The schedule is off and no event wakes a region of replicas: a test decides when a pass runs.
//! Each theme has a region of its own.
//! theme has a region of its own.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod addresses;
mod concurrent_schedulers;
mod crashes;
mod errors;
mod filling;
mod fleet;
mod limits;
mod reports;
mod silence;
mod trimming;
mod world;

use futures::future::{FutureExt as _, LocalBoxFuture};
use scaling_tests::deployed::Deployed;
use scaling_tests::themes;

use crate::world::PACE;

#[tokio::test]
async fn replicas_are_kept_available() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployed = Deployed::start("replicas", |options| {
        options.ec2.world = Some(world::REGIONS.write(folder.path(), world::content));
        options.ec2.pending_ms = Some(PACE.pending_ms);
        options.ec2.shutting_down_ms = Some(PACE.shutting_down_ms);
        options.ec2.listing_lag_ms = Some(PACE.listing_lag_ms);
    })
    .await;
    let here = &deployed;
    let themes: [(&str, LocalBoxFuture<'_, ()>); 9] = [
        (
            "filling",
            filling::creates_the_minimum_once(here).boxed_local(),
        ),
        ("reports", reports::list_each_replica(here).boxed_local()),
        ("errors", errors::are_deleted(here).boxed_local()),
        ("silence", silence::is_tolerated(here).boxed_local()),
        (
            "trimming",
            trimming::removes_idle_replicas(here).boxed_local(),
        ),
        ("limits", limits::are_kept(here).boxed_local()),
        (
            "concurrent schedulers",
            concurrent_schedulers::launch_once(here).boxed_local(),
        ),
        ("crashes", crashes::launch_once(here).boxed_local()),
        (
            "addresses",
            addresses::stay_on_healthy_replicas(here).boxed_local(),
        ),
    ];
    themes::run(themes).await;
    deployed.stack.stop();
}
