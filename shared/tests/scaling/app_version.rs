//! The app version and the images that serve it: what refuses users while the buffer is full.

use shared::model::ImageState;
use shared::scaling::{Reason, Snapshot, algorithm};
use testing::{NOW, image, instance, snapshot};

/// `ami-1` is current with a full buffer, and the app version names this client.
fn naming(client_sha: &str) -> Snapshot {
    let mut snapshot = snapshot([instance("i-1"), instance("i-2")]);
    snapshot.app_sha = Some(client_sha.into());
    snapshot
}

/// What the plan says of the app version, and whether an operator is alerted.
fn said(snapshot: &Snapshot) -> Vec<(Reason, bool)> {
    let plan = algorithm("default").unwrap().decide(snapshot, NOW);
    let notes = plan.notes.into_iter().filter(|note| {
        matches!(
            note.reason,
            Reason::NoImage
                | Reason::AppVersionUnknown { .. }
                | Reason::AppVersionNotServed { .. }
                | Reason::AppVersionWarms { .. }
        )
    });
    notes.map(|note| (note.reason, note.alert)).collect()
}

#[test]
fn app_version_that_an_image_serves_is_not_reported() {
    assert_eq!(said(&naming("sha-of-ami-1")), []);
    let mut baking = naming("sha-of-ami-2");
    baking.images.push(image("ami-2", ImageState::Baking));
    assert_eq!(said(&baking), []);
    let mut without = naming("");
    without.app_sha = None;
    assert_eq!(said(&without), []);
}

#[test]
fn app_version_without_an_image_is_alerted() {
    let client_sha = "a-typo".into();
    let unknown = (Reason::AppVersionUnknown { client_sha }, true);
    assert_eq!(said(&naming("a-typo")), [unknown]);
}

#[test]
fn app_version_of_an_image_that_is_not_served_any_more_is_alerted() {
    for state in [ImageState::Retired, ImageState::Failed] {
        let mut snapshot = naming("sha-of-ami-2");
        snapshot.images.push(image("ami-2", state));
        let not_served = Reason::AppVersionNotServed {
            image: "ami-2".into(),
            state,
            client_sha: "sha-of-ami-2".into(),
        };
        assert_eq!(said(&snapshot), [(not_served, true)]);
    }
}

#[test]
fn app_version_of_an_image_that_warms_is_noted() {
    let mut snapshot = naming("sha-of-ami-2");
    snapshot.images.push(image("ami-2", ImageState::Warming));
    let warms = Reason::AppVersionWarms {
        image: "ami-2".into(),
        client_sha: "sha-of-ami-2".into(),
    };
    assert_eq!(said(&snapshot), [(warms, false)]);
}

#[test]
fn region_without_a_served_image_is_alerted_unless_one_warms() {
    let mut snapshot = naming("sha-of-ami-1");
    snapshot.images[0].state = ImageState::Retired;
    assert_eq!(said(&snapshot), [(Reason::NoImage, true)]);
    snapshot.images.push(image("ami-2", ImageState::Warming));
    assert_eq!(said(&snapshot), []);
    snapshot.images.clear();
    assert_eq!(said(&snapshot), [(Reason::NoImage, true)]);
}

#[test]
fn paused_region_is_reported_and_a_disabled_one_is_not() {
    for images in [vec![image("ami-1", ImageState::Current)], vec![]] {
        let mut snapshot = naming("a-typo");
        snapshot.images = images;
        snapshot.settings.paused = true;
        assert_eq!(said(&snapshot).len(), 1);
        snapshot.settings.enabled = false;
        assert_eq!(said(&snapshot), []);
    }
}
