//! Passes that move an image on: the row, what follows in the same pass, and what is told.

use jiff::SignedDuration;

use shared::assign::AppVersion;
use shared::model::{Image, ImageState, Instance, InstanceStatus};
use shared::report::PassOutcome;
use testing::{ENVIRONMENT, NOW, World, image, instance};

/// `ami-1` is current with its buffer; `ami-2` warms since a minute, with these instances.
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

fn named(world: &World) {
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
async fn a_warm_image_that_is_named_is_current_in_one_pass_and_nothing_else_changes() {
    let world = warming([instance("i-3"), instance("i-4")]);
    named(&world);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:#?}");
    assert_eq!(states(&world), [ImageState::Baking, ImageState::Current]);
    assert_eq!(report.rounds, 2, "what follows is decided at once");
    let plan = report.plan.unwrap();
    assert!(plan.is_empty(), "both buffers are full: {plan}");
    assert!(world.host.state().launches.is_empty());
    assert!(world.handed_over.all().is_empty());
}

#[tokio::test]
async fn an_upgrade_that_fails_is_drained_in_the_same_pass_and_told_once() {
    let dead = |id| Instance {
        status: InstanceStatus::PreConnection,
        active_at: None,
        beat_at: None,
        slots: shared::model::SlotCounts::default(),
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
    let told = alerts
        .iter()
        .filter(|alert| alert.contains("the old image stays"));
    assert_eq!(told.count(), 1, "{alerts:#?}");
    let terminated = &world.host.state().terminated;
    assert!(terminated.contains(&"i-3".into()), "{terminated:?}");
}
