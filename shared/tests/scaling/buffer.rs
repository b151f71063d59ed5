//! Golden plans of the buffer: how many instances are launched, and which are drained.

use shared::model::{Image, ImageState, Instance, SlotCounts};
use testing::{at, image, instance, snapshot};

use crate::support::{assert_plan, draining, occupied};

#[test]
fn empty_region_is_filled() {
    assert_plan(
        &snapshot([]),
        "target 4, free 0, starting 0, waiting 0, occupied 0, live 0 of 10
        - launch from ami-1: 2 x c5.large in subnet-a, or 2 x c5.large in subnet-b: free 0 and starting 0 are below target 4 + waiting 0",
    );
}

#[test]
fn full_buffer_has_no_steps() {
    assert_plan(
        &snapshot([instance("i-1"), instance("i-2")]),
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 2 of 10
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn half_an_instance_short_launches_one_and_half_too_much_drains_none() {
    let mut snapshot = snapshot([occupied("i-1", 1), instance("i-2")]);
    assert_plan(
        &snapshot,
        "target 4, free 3, starting 0, waiting 0, occupied 1, live 2 of 10
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 3 and starting 0 are below target 4 + waiting 0",
    );
    snapshot.settings.target_free = 2;
    assert_plan(
        &snapshot,
        "target 2, free 3, starting 0, waiting 0, occupied 1, live 2 of 10
        · free 3 and starting 0 meet the target of 2",
    );
}

#[test]
fn surplus_drains_the_oldest_empty_instance() {
    let old = Instance {
        launched_at: at(-7200),
        ..instance("i-9")
    };
    assert_plan(
        &snapshot([occupied("i-1", 1), instance("i-2"), old, instance("i-3")]),
        "target 4, free 7, starting 0, waiting 0, occupied 1, live 4 of 10
        - drain i-9: free 7 meets the target of 4 without it
        · free 7 and starting 0 meet the target of 4",
    );
}

/// Somebody deleted the rows of its slots, or they cool down.
#[test]
fn instance_without_slots_is_drained_once_the_others_meet_the_target() {
    let bare = Instance {
        slots: SlotCounts::default(),
        ..instance("i-1")
    };
    let mut snapshot = snapshot([bare, instance("i-2"), instance("i-3")]);
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 3 of 10
        - drain i-1: free 4 meets the target of 4 without it
        · free 4 and starting 0 meet the target of 4",
    );
    snapshot.settings.target_free = 5;
    assert_plan(
        &snapshot,
        "target 5, free 4, starting 0, waiting 0, occupied 0, live 3 of 10
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 4 and starting 0 are below target 5 + waiting 0",
    );
}

#[test]
fn instance_that_a_full_baking_buffer_needs_does_not_use_up_the_step() {
    let baking = |id: &str| Instance {
        image_id: "ami-0".into(),
        ..instance(id)
    };
    // The baking image is drained first, but it has no surplus.
    let mut snapshot = snapshot([
        baking("i-0"),
        baking("i-1"),
        instance("i-2"),
        instance("i-3"),
        instance("i-4"),
    ]);
    snapshot.images.push(Image {
        since: at(-600),
        ..image("ami-0", ImageState::Baking)
    });
    snapshot.settings.scale_down_step = 1;
    assert_plan(
        &snapshot,
        "target 4, free 6, starting 0, waiting 0, occupied 0, live 5 of 10
        ami-0 BAKING: demand 4, free 4, starting 0
        - drain i-2: free 6 meets the target of 4 without it
        · ami-0 is kept for a rollback until 2026-01-01T12:20:00Z
        · free 6 and starting 0 meet the target of 4",
    );
}

#[test]
fn waiting_users_add_to_demand() {
    let mut snapshot = snapshot([instance("i-1"), instance("i-2")]);
    snapshot.waiting = 3;
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 3, occupied 0, live 2 of 10
        - launch from ami-1: 2 x c5.large in subnet-a, or 2 x c5.large in subnet-b: free 4 and starting 0 are below target 4 + waiting 3",
    );
}

#[test]
fn launch_above_scale_up_step_is_cut_to_the_step() {
    let mut snapshot = snapshot([]);
    snapshot.settings.scale_up_step = 1;
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 0, live 0 of 10
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 0 and starting 0 are below target 4 + waiting 0
        · 2 instances are needed, but one pass launches at most 1 (scale_up_step)",
    );
}

#[test]
fn launch_above_maximum_is_cut_and_alerted() {
    let mut snapshot = snapshot([occupied("i-1", 2), occupied("i-2", 2)]);
    snapshot.settings.max_instances = 3;
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 4, live 2 of 3
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 0 and starting 0 are below target 4 + waiting 0
        ! 4 slots are missing, but 2 of at most 3 instances are live (max_instances)",
    );
}

#[test]
fn image_without_row_is_not_treated_as_retired() {
    let mut snapshot = snapshot([instance("i-1"), instance("i-2")]);
    snapshot.images = vec![image("ami-9", ImageState::Current)];
    snapshot.settings.target_free = 0;
    assert_plan(
        &snapshot,
        "target 0, free 0, starting 0, waiting 0, occupied 0, live 2 of 10
        · free 0 and starting 0 meet the target of 0
        ! i-1: image ami-1 has no row in table `images`: the instance is kept, and not counted as free
        ! i-2: image ami-1 has no row in table `images`: the instance is kept, and not counted as free",
    );
}

#[test]
fn draining_instance_reduces_the_excess_over_maximum() {
    let mut snapshot = snapshot([draining("i-1", 5), instance("i-2"), instance("i-3")]);
    snapshot.settings.max_instances = 2;
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 3 of 2
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn retired_image_is_drained_once_empty_and_warming_one_is_kept() {
    let on = |id: &str, image: &str, users| Instance {
        image_id: image.into(),
        ..occupied(id, users)
    };
    let mut snapshot = snapshot([
        instance("i-1"),
        instance("i-2"),
        on("i-3", "ami-0", 0),
        on("i-4", "ami-0", 1),
        on("i-5", "ami-2", 0),
    ]);
    snapshot.images.push(image("ami-0", ImageState::Retired));
    snapshot.images.push(image("ami-2", ImageState::Warming));
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 1, live 5 of 10
        ami-2 WARMING: demand 4, free 2, starting 0
        - launch from ami-2: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 2 and starting 0 of this WARMING image are below target 4
        - drain i-3: image ami-0 is no longer served
        · upgrade to ami-2: free 2 of 4, starting 0
        · free 4 and starting 0 meet the target of 4
        · i-4: kept: 1 user on an image that is no longer served",
    );
}

#[test]
fn disabled_region_drains_its_buffer() {
    let mut snapshot = snapshot([instance("i-1"), occupied("i-2", 1)]);
    snapshot.settings.enabled = false;
    assert_plan(
        &snapshot,
        "target 0, free 3, starting 0, waiting 0, occupied 1, live 2 of 10
        - drain i-1: free 3 meets the target of 0 without it
        · free 3 and starting 0 meet the target of 0",
    );
}

#[test]
fn lowered_maximum_drains_only_empty_instances() {
    let mut snapshot = snapshot([occupied("i-1", 1), instance("i-2"), occupied("i-3", 2)]);
    snapshot.settings.max_instances = 2;
    assert_plan(
        &snapshot,
        "target 4, free 3, starting 0, waiting 0, occupied 3, live 3 of 2
        - drain i-2: 3 live instances exceed the maximum of 2 (max_instances)
        ! 1 slots are missing, but 3 of at most 2 instances are live (max_instances)",
    );
}
