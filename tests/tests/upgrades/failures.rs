//! Upgrades that fail: the old image stays, nothing of the new one does, and the reason is
//! reported.

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::plans::alerts_to;
use scaling_tests::wait::eventually;
use serde_json::json;

use crate::fleet::{Fleet, NEW, OLD, Seen, TARGET};

/// For instances that never come up.
const BOOT_SECONDS: u32 = 6;

pub(crate) async fn failures_leave_the_old_image(deployed: &Deployed) {
    never_comes_up(deployed).await;
    has_no_room(deployed).await;
}

/// No instance of the new image ever becomes `ACTIVE`. A second attempt does, and is cancelled by
/// hand.
async fn never_comes_up(deployed: &Deployed) {
    let fleet = Fleet::of(deployed, "us-west-1");
    let region = &fleet.region;
    fleet.publish(OLD).await;
    fleet.filled(json!({})).await;
    let sound = region.machines().await;
    region.set(&json!({"boot_seconds": BOOT_SECONDS})).await;
    let no_boot = json!({"on": {"region": region.name}, "effect": "no_boot"});
    deployed.set_faults(&json!({"instances": [no_boot]})).await;
    let report = fleet.ask(&fleet.image(2), NEW).await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    assert_eq!(region.machines().await.len(), sound.len() + 2);

    let pass = async || (region.scheduled().await, fleet.state(2).await.unwrap());
    let (report, seen) =
        eventually("it failed", SOON, pass, |(_, seen)| seen.state == "FAILED").await;
    assert!(alerts_to(&report["plan"], "upgrade_dying"), "{report:#}");
    assert_reason(&seen, "no other is healthy: the old image stays");
    deployed.set_faults(&json!({})).await;
    assert_only_the_old_image_is_left(&fleet, &sound).await;

    // Requesting the same image again is a new attempt, and an operator's cancellation is final.
    // Its instances did not come up: without this, what they were launched from rests for minutes.
    deployed.forget_refusals().await;
    region.set(&json!({"boot_seconds": 600})).await;
    fleet.ask(&fleet.image(2), NEW).await;
    let pass = async || {
        region.scheduled().await;
        fleet.state(2).await.unwrap()
    };
    let warm = |seen: &Seen| seen.free == TARGET;
    let seen = eventually("it is warm", SOON, pass, warm).await;
    assert_eq!((seen.state.as_str(), seen.reason), ("WARMING", None));
    let cancelled = "UPDATE images SET state = 'FAILED', reason = 'cancelled by me'
                     WHERE region = $1 AND image_id = $2";
    let image = fleet.image(2);
    deployed
        .sql
        .execute(cancelled, &[&region.name, &image])
        .await
        .expect(cancelled);
    assert_only_the_old_image_is_left(&fleet, &sound).await;
    assert_reason(&fleet.state(2).await.unwrap(), "cancelled by me");
}

/// At the maximum, the answer itself refuses. With a surge, what fits is warmed and swapped.
async fn has_no_room(deployed: &Deployed) {
    let fleet = Fleet::of(deployed, "us-west-2");
    let region = &fleet.region;
    fleet
        .filled(json!({"max_instances": 2, "swap_when_warm": true, "bake_seconds": 2}))
        .await;
    let sound = region.machines().await;
    let report = fleet.ask(&fleet.image(2), NEW).await;
    assert!(
        alerts_to(&report["plan"], "no_room_for_upgrade"),
        "{report:#}"
    );
    assert_reason(
        &fleet.state(2).await.unwrap(),
        "no room for an instance of it",
    );
    assert_only_the_old_image_is_left(&fleet, &sound).await;

    region.set(&json!({"upgrade_surge": 1})).await;
    fleet.ask(&fleet.image(2), NEW).await;
    assert_eq!(region.machines().await.len(), 3);
    fleet.until(2, "CURRENT").await;
    fleet.until(1, "RETIRED").await;
    let pass = async || {
        region.scheduled().await;
        (fleet.state(1).await.unwrap(), fleet.state(2).await.unwrap())
    };
    let done =
        |(old, new): &(Seen, Seen)| old.instances == 0 && new.instances == 2 && new.free == TARGET;
    eventually("the new image has the whole maximum", SOON, pass, done).await;
    region.settle().await;
    assert_eq!(region.machines().await, region.rows().await);
}

fn assert_reason(seen: &Seen, words: &str) {
    assert_eq!(seen.state, "FAILED", "{seen:?}");
    let reason = seen.reason.as_deref().unwrap_or_default();
    assert!(reason.contains(words), "{seen:?}");
}

/// Asserts that nothing of the new image is left and that the old image's machines are the ones
/// from before.
async fn assert_only_the_old_image_is_left(fleet: &Fleet<'_>, sound: &[String]) {
    fleet.region.settle().await;
    fleet.region.assert_invariants().await;
    assert_eq!(fleet.region.machines().await, sound);
    assert_eq!(fleet.state(1).await.unwrap().state, "CURRENT");
    assert_eq!(fleet.state(2).await.unwrap().instances, 0);
}
