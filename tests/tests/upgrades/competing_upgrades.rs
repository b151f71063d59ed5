//! A region's first image, a second upgrade during a first, and users who stay on an old image.

use futures::future::join;
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::plans::alerts_to;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::fleet::{Fleet, NEW, OLD, TARGET};

pub(crate) async fn newer_upgrade_wins(deployed: &Deployed) {
    let fleet = Fleet::of(deployed, "eu-west-1");
    let region = &fleet.region;
    // A user with a slot keeps it.
    deployed
        .set_pace(&json!({"agent": {"session_ms": 3_600_000}}))
        .await;
    fleet.insert(json!({"bake_seconds": 2})).await;
    // A region's first image needs no app version.
    fleet.ask(&fleet.image(1), OLD).await;
    fleet.until(1, "CURRENT").await;
    region.filled_to(TARGET).await;
    let request = json!({"regions": [region.name], "client_commit_hash": OLD, "session_id": "1"});
    let answer = deployed.assign("ann", &request).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    // Until the app version names it, no image becomes current, however quickly it is warm.
    fleet.publish(OLD).await;
    let (second, third) = (fleet.image(2), fleet.image(3));
    join(fleet.ask(&second, NEW), fleet.ask(&third, NEW)).await;
    let images = fleet.images().await;
    let warming: Vec<_> = images
        .values()
        .filter(|seen| seen.state == "WARMING")
        .collect();
    assert_eq!(
        warming.len(),
        1,
        "two at once: one of them wins, {images:?}"
    );

    // The last request wins, however far the other upgrade is.
    fleet.ask(&fleet.image(2), NEW).await;
    fleet.ask(&fleet.image(3), NEW).await;
    let failed = fleet.state(2).await.unwrap();
    assert_eq!(failed.state, "FAILED");
    let newer = format!("a newer upgrade was asked for, to {}", fleet.image(3));
    assert_eq!(failed.reason, Some(newer));
    fleet.publish(NEW).await;
    fleet.until(3, "CURRENT").await;
    fleet.until(1, "RETIRED").await;
    region.settle().await;
    let images = fleet.images().await;
    assert_eq!(
        images[&fleet.image(2)].instances,
        0,
        "nothing is protected for ever"
    );
    assert_eq!(images[&fleet.image(3)].free, TARGET);
    // The instance with the user stays, and is reported after the bound.
    assert_eq!(images[&fleet.image(1)].occupied, 1, "{images:?}");
    assert_eq!(images[&fleet.image(1)].instances, 1, "{images:?}");
    let report = region.scheduled().await;
    assert!(
        !alerts_to(&report["plan"], "users_on_retired_image"),
        "{report:#}"
    );
    region.set(&json!({"old_image_seconds": 1})).await;
    let pass = async || region.scheduled().await;
    let reported = |report: &Value| alerts_to(&report["plan"], "users_on_retired_image");
    eventually(
        "the user on the old image is reported",
        SOON,
        pass,
        reported,
    )
    .await;
    region.assert_invariants().await;
}
