//! Rows that an agent holds while a pass runs.

use shared::model::{InstanceStatus, MachineState, SlotCounts};
use shared::report::PassOutcome;
use testing::{World, instance};

/// Two instances whose machines have ended. The agent of the first one still holds its row.
fn world(max_instances: u32) -> World {
    let world = World::with([instance("i-1"), instance("i-2")]);
    for id in ["i-1", "i-2"] {
        world.host.set_state(&id.into(), MachineState::Terminated);
    }
    {
        let tables = &mut world.database.rows().tables;
        tables.held.insert("i-1".into());
        let settings = tables.settings_mut(&World::region()).unwrap();
        settings.max_instances = max_instances;
    }
    world
}

fn launched(world: &World) -> usize {
    let rows = world.database.rows();
    let all = rows.tables.instances.values();
    all.filter(|row| row.status == InstanceStatus::PreConnection)
        .count()
}

fn row_exists(world: &World, id: &str) -> bool {
    let rows = world.database.rows();
    rows.tables.instances.contains_key(&id.into())
}

fn release(world: &World) {
    world.database.rows().tables.held.clear();
}

#[tokio::test]
async fn held_row_keeps_nothing_else_from_the_pass() {
    let world = world(10);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:?}");
    let busy = |id: &str| {
        report
            .results
            .iter()
            .any(|result| result.step.ends_with(id) && result.result.contains("next pass"))
    };
    assert!(busy("i-1") && !busy("i-2"), "{report:?}");
    assert!(row_exists(&world, "i-1") && !row_exists(&world, "i-2"));
    assert_eq!(launched(&world), 2, "the whole buffer");

    release(&world);
    world.pass().await;
    assert!(!row_exists(&world, "i-1"));
    assert_eq!(launched(&world), 2);
}

#[tokio::test]
async fn held_row_takes_its_own_place_under_the_maximum() {
    let world = world(2);
    world.pass().await;
    assert_eq!(launched(&world), 1);

    release(&world);
    world.pass().await;
    assert_eq!(launched(&world), 2);
}

#[tokio::test]
async fn held_instance_is_not_terminated_at_ec2_before_its_row_says_so() {
    let booting = shared::model::Instance {
        status: InstanceStatus::PreConnection,
        active_at: None,
        beat_at: None,
        slots: SlotCounts::default(),
        ..instance("i-1")
    };
    let world = World::with([booting]);
    world.database.rows().tables.held.insert("i-1".into());
    world.pass().await;
    assert!(world.host.state().terminated.is_empty());

    release(&world);
    world.pass().await;
    assert_eq!(world.host.state().terminated, ["i-1".into()]);
}
