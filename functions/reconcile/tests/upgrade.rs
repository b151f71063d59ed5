//! Image upgrades from the event to the rows and the launch.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use reconcile::handle;
use serde_json::{Value, json};
use shared::model::ImageState;
use testing::{World, instance};

/// A region with a full buffer on `ami-1`.
fn world() -> World {
    World::with(["i-1", "i-2"].map(instance))
}

async fn upgrade(world: &World, client_sha: &str, images: Value) -> Vec<Value> {
    let event = json!({"image_upgrade": {"client_sha": client_sha, "images": images}});
    let response = handle(&world.reconciler(), event, "test").await.unwrap();
    let response = serde_json::to_value(response).unwrap();
    response["regions"].as_array().unwrap().clone()
}

fn state(world: &World, image: &str) -> Option<ImageState> {
    let rows = world.database.rows();
    let key = (World::region(), image.into());
    rows.tables.images.get(&key).map(|image| image.state)
}

fn launched(world: &World) -> Vec<String> {
    let host = world.host.state();
    let images = host.launches.iter().map(|(_, request)| &request.image_id);
    images.map(ToString::to_string).collect()
}

const NEW: &str = "ami-01000000000000002";

#[tokio::test]
async fn new_image_is_warmed_at_once_and_a_repeated_request_changes_nothing() {
    let world = world();
    let reports = upgrade(&world, "new", json!({"us-east-1": NEW})).await;
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0]["outcome"], "done", "{reports:#?}");
    let first = &reports[0]["results"][0];
    assert_eq!(first["step"], format!("upgrade to {NEW}"));
    assert_eq!(first["result"], "requested");
    assert_eq!(state(&world, NEW), Some(ImageState::Warming));
    assert_eq!(launched(&world), [NEW; 2]);

    let reports = upgrade(&world, "new", json!({"us-east-1": NEW})).await;
    let first = &reports[0]["results"][0];
    assert_eq!(first["result"], "it is warming or current already");
    assert_eq!(launched(&world), [NEW; 2]);
}

#[tokio::test]
async fn error_in_one_region_does_not_affect_others() {
    let world = world();
    let images = json!({
        "ap-east-9": "ami-01000000000000009",
        "us-east-1": NEW,
    });
    let reports = upgrade(&world, "new", images).await;
    assert_eq!(reports[0]["outcome"], "failed");
    let error = reports[0]["error"].as_str().unwrap();
    assert!(error.contains("ap-east-9"), "{error}");
    assert_eq!(reports[1]["outcome"], "done", "{reports:#?}");
    assert_eq!(state(&world, NEW), Some(ImageState::Warming));
}

#[tokio::test]
async fn value_that_is_not_an_image_refuses_its_region_only() {
    for not_an_image in [
        json!(null),
        json!(""),
        json!(7),
        json!(["ami-01000000000000009"]),
    ] {
        let world = world();
        let images = json!({"eu-west-1": not_an_image, "us-east-1": NEW});
        let reports = upgrade(&world, "new", images).await;
        assert_eq!(reports[0]["outcome"], "failed", "{reports:#?}");
        let error = reports[0]["error"].as_str().unwrap();
        let says = format!("`image_upgrade.images.eu-west-1`: {not_an_image} is not an image's id");
        assert!(error.contains(&says), "{error}");
        assert_eq!(reports[1]["outcome"], "done", "{reports:#?}");
        assert_eq!(state(&world, NEW), Some(ImageState::Warming));
    }
}

#[tokio::test]
async fn image_that_cannot_be_launched_is_rejected_before_any_write() {
    let world = world();
    let unknown = "ami-01000000000000009";
    world.host.state().unknown_images.insert(unknown.into());
    let known_as_another = "ami-1";
    for (image, sha, says) in [
        (
            unknown,
            "new",
            "EC2 has no image ami-01000000000000009 in us-east-1",
        ),
        ("ami-xyz", "new", "is not an image's id"),
        (known_as_another, "new", "is not an image's id"),
        ("", "new", "is not an image's id"),
    ] {
        let reports = upgrade(&world, sha, json!({"us-east-1": image})).await;
        let error = reports[0]["error"].as_str().unwrap();
        assert!(error.contains(says), "{image}: {error}");
        assert_eq!(reports[0]["outcome"], "failed");
    }
    assert_eq!(world.database.rows().tables.images.len(), 1);
    assert!(launched(&world).is_empty());
}

#[tokio::test]
async fn image_with_another_commit_is_rejected() {
    let world = world();
    upgrade(&world, "new", json!({"us-east-1": NEW})).await;
    let reports = upgrade(&world, "other", json!({"us-east-1": NEW})).await;
    let error = reports[0]["error"].as_str().unwrap();
    assert!(error.contains("another client_sha"), "{error}");
    assert_eq!(state(&world, NEW), Some(ImageState::Warming));
}

#[tokio::test]
async fn upgrade_during_another_pass_is_left_to_that_pass() {
    let world = world();
    let passes = world.reconciler();
    let now = passes.clock.now();
    let lease = std::time::Duration::from_secs(50);
    let holder = shared::ids::Owner::new("another".to_owned());
    let region = World::region();
    let held = passes.lock.acquire(&region, &holder, now, lease);
    held.await.unwrap();
    let reports = upgrade(&world, "new", json!({"us-east-1": NEW})).await;
    assert_eq!(reports[0]["outcome"], "busy", "{reports:#?}");
    assert_eq!(reports[0]["results"][0]["result"], "requested");
    assert_eq!(state(&world, NEW), Some(ImageState::Warming));
    assert!(passes.lock.has_wake_mark(&region).await.unwrap());
}
