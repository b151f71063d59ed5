//! Passes that move an image to its next state: the row, the next round of the same pass, and the
//! alerts.

use jiff::SignedDuration;
use shared::assign::AppVersion;
use shared::model::{Image, ImageState, Instance, InstanceStatus, SlotCounts};
use shared::report::PassOutcome;
use testing::{ENVIRONMENT, NOW, World, image, instance};

/// `ami-1` is current with its buffer. `ami-2` has warmed for a minute, with these instances.
fn warming(instances: [Instance; 2]) -> World {
    let old = [instance("i-1"), instance("i-2")];
    let new = instances.map(|row| Instance {
        image_id: "ami-2".into(),
        ..row
    });
    let world = World::with(old.into_iter().chain(new));
    let image = Image {
        since: NOW - SignedDuration::from_mins(1),
        ..image("ami-2", ImageState::Warming)
    };
    let region = World::region();
    world.database.rows().tables.add_image(&region, image);
    world
}

fn name_ami_2(world: &World) {
    let app = AppVersion {
        version: "2".to_owned(),
        client_sha: "sha-of-ami-2".into(),
    };
    let tables = &mut world.database.rows().tables;
    tables.app_versions.insert(ENVIRONMENT.to_owned(), app);
}

fn states(world: &World) -> Vec<ImageState> {
    let rows = world.database.rows();
    rows.tables
        .images
        .values()
        .map(|image| image.state)
        .collect()
}

#[tokio::test]
async fn warm_and_named_image_becomes_current_in_one_pass_and_nothing_else_changes() {
    let world = warming([instance("i-3"), instance("i-4")]);
    name_ami_2(&world);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:#?}");
    assert_eq!(states(&world), [ImageState::Baking, ImageState::Current]);
    assert_eq!(report.rounds, 2, "the rest is decided in a second round");
    let plan = report.plan.unwrap();
    assert!(plan.is_empty(), "both buffers are full: {plan}");
    assert!(world.host.state().launches.is_empty());
    assert!(world.handed_over.all().is_empty());
}

#[tokio::test]
async fn failed_upgrade_is_cleaned_up_in_the_same_pass_and_alerted_once() {
    let dead = |id| Instance {
        status: InstanceStatus::PreConnection,
        active_at: None,
        beat_at: None,
        slots: SlotCounts::default(),
        ..instance(id)
    };
    let world = warming([dead("i-3"), dead("i-4")]);
    let report = world.pass().await;
    assert_eq!(states(&world), [ImageState::Current, ImageState::Failed]);
    let rows = &world.database.rows().tables.image_reasons;
    let reason = &rows[&(World::region(), "ami-2".into())];
    assert!(reason.contains("the old image stays"), "{reason}");
    assert_eq!(report.rounds, 2);
    let alerts = world.alerts.all();
    let failures = alerts
        .iter()
        .filter(|alert| alert.contains("the old image stays"));
    assert_eq!(failures.count(), 1, "{alerts:#?}");
    let terminated = &world.host.state().terminated;
    assert!(terminated.contains(&"i-3".into()), "{terminated:?}");
}
