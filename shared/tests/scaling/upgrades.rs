//! Image upgrades: each move of an image to its next state, and what prevents it.

use jiff::SignedDuration;
use shared::model::{
    Image, ImageState, Instance, InstanceStatus, Intent, MachineState, SpotNotice,
};
use shared::scaling::{Action, Snapshot, algorithm};
use testing::{NOW, at, image, instance, snapshot};

use crate::support::{assert_plan, booting, intent, occupied, silent, violations};

/// `ami-1` is current with its buffer, `ami-2` has warmed for ten minutes with these instances, and
/// the app version still names the old clients.
fn warming(instances: impl IntoIterator<Item = Instance>) -> Snapshot {
    let own = [instance("i-1"), instance("i-2")];
    let new = instances.into_iter().map(|row| Instance {
        image_id: "ami-2".into(),
        ..row
    });
    let mut snapshot = snapshot(own.into_iter().chain(new));
    snapshot.images.push(ami_2(600, ImageState::Warming));
    snapshot.app_sha = Some("sha-of-ami-1".into());
    snapshot
}

/// `ami-2` is current with its buffer, and `ami-1` has baked for ten minutes with its own.
fn baking() -> Snapshot {
    let mut snapshot = warming([instance("i-3"), instance("i-4")]);
    snapshot.images[0].state = ImageState::Baking;
    snapshot.images[0].since = at(-600);
    snapshot.images[1].state = ImageState::Current;
    name_ami_2(&mut snapshot);
    snapshot
}

fn ami_2(seconds: i64, state: ImageState) -> Image {
    Image {
        since: at(-seconds),
        ..image("ami-2", state)
    }
}

fn name_ami_2(snapshot: &mut Snapshot) {
    snapshot.app_sha = Some("sha-of-ami-2".into());
}

fn take_down(snapshot: &mut Snapshot, id: &str) {
    let machine = snapshot.machines.get_mut(&id.into()).unwrap();
    machine.state = MachineState::Terminated;
}

/// The plan's image moves with their reasons, or its notes about the upgrade if there are none.
fn moves(snapshot: &Snapshot) -> Vec<String> {
    let plan = algorithm("default").unwrap().decide(snapshot, NOW);
    assert_eq!(violations(snapshot, &plan, NOW), []);
    let is_move = |action: &Action| matches!(action, Action::MoveImage { .. });
    let moves = plan.steps.iter().filter(|step| is_move(&step.action));
    let moves: Vec<_> = moves.map(ToString::to_string).collect();
    let notes = plan.notes.iter().map(|note| note.reason.to_string());
    let about = |note: &String| note.starts_with("upgrade to") || note.contains("rollback");
    if moves.is_empty() {
        notes.filter(about).collect()
    } else {
        moves
    }
}

type Change = fn(&mut Snapshot);

/// Each row: a case, its change to the base snapshot, and the expected moves or notes.
#[track_caller]
fn assert_table(base: &Snapshot, rows: &[(&str, Change, &[&str])]) {
    for (case, change, expected) in rows {
        let mut snapshot = base.clone();
        change(&mut snapshot);
        assert_eq!(moves(&snapshot), *expected, "{case}");
    }
}

#[test]
fn warming_image_becomes_current_once_warm_and_named() {
    let warm = warming([instance("i-3"), instance("i-4")]);
    assert_table(
        &warm,
        &[
            (
                "warm, and not named yet",
                |_| {},
                &["upgrade to ami-2: warm, waiting for the app version to name sha-of-ami-2"],
            ),
            (
                "warm and named",
                name_ami_2,
                &[
                    "move ami-2 from WARMING to CURRENT: warm (free 4), and the app version names its client_sha",
                ],
            ),
            (
                "warm, and the region swaps without an app version",
                |s| s.settings.upgrades.swap_when_warm = true,
                &[
                    "move ami-2 from WARMING to CURRENT: warm (free 4), and the region has swap_when_warm",
                ],
            ),
            (
                "named, and not warm: a slot is missing",
                |s| {
                    name_ami_2(s);
                    let row = s.instances.get_mut(&"i-4".into()).unwrap();
                    row.slots.waiting = 1;
                },
                &["upgrade to ami-2: free 3 of 4, starting 0"],
            ),
            (
                "named, and an instance is silent: not free",
                |s| {
                    name_ami_2(s);
                    let row = s.instances.get_mut(&"i-4".into()).unwrap();
                    row.beat_at = Some(at(-100));
                },
                &["upgrade to ami-2: free 2 of 4, starting 0"],
            ),
            (
                "named, and EC2 is about to take one: not free",
                |s| {
                    name_ami_2(s);
                    let row = s.instances.get_mut(&"i-4".into()).unwrap();
                    row.notice = Some(SpotNotice::Interruption);
                },
                &["upgrade to ami-2: free 2 of 4, starting 0"],
            ),
            (
                "there is no app version",
                |s| s.app_sha = None,
                &["upgrade to ami-2: warm, waiting for the app version to name sha-of-ami-2"],
            ),
            (
                "nothing to warm in a disabled region",
                |s| {
                    s.settings.enabled = false;
                    name_ami_2(s);
                    s.instances
                        .retain(|_, row| row.image_id.as_str() != "ami-2");
                    s.machines.retain(|id, _| s.instances.contains_key(id));
                },
                &[
                    "move ami-2 from WARMING to CURRENT: warm (free 0), and the app version names its client_sha",
                ],
            ),
            (
                "the region is paused",
                |s| {
                    name_ami_2(s);
                    s.settings.paused = true;
                },
                &[],
            ),
        ],
    );
}

#[test]
fn warming_image_fails_if_its_instances_die_or_its_deadline_passes() {
    let young = warming([booting("i-3", 60), booting("i-4", 60)]);
    assert_table(
        &young,
        &[
            (
                "all still boot",
                name_ami_2,
                &["upgrade to ami-2: free 0 of 4, starting 4"],
            ),
            (
                "one did not come up in its boot time, and none is healthy",
                |s| s.instances.get_mut(&"i-3".into()).unwrap().launched_at = at(-600),
                &[
                    "move ami-2 from WARMING to FAILED: i-3 of this image did not become ACTIVE or was lost, and no other is healthy: the old image stays",
                ],
            ),
            (
                "one did not come up, and another is healthy",
                |s| {
                    s.instances.get_mut(&"i-3".into()).unwrap().launched_at = at(-600);
                    let healthy = Instance {
                        image_id: "ami-2".into(),
                        ..instance("i-4")
                    };
                    s.instances.insert(healthy.id.clone(), healthy);
                },
                &["upgrade to ami-2: free 2 of 4, starting 0"],
            ),
            (
                "one died early, and the other may still come up",
                |s| take_down(s, "i-3"),
                &["upgrade to ami-2: free 0 of 4, starting 2"],
            ),
            (
                "all died early",
                |s| {
                    take_down(s, "i-3");
                    take_down(s, "i-4");
                },
                &[
                    "move ami-2 from WARMING to FAILED: i-3 of this image did not become ACTIVE or was lost, and no other is healthy: the old image stays",
                ],
            ),
            (
                "all were taken by EC2 after a notice: not the image's fault",
                |s| {
                    for id in ["i-3", "i-4"] {
                        take_down(s, id);
                        let row = s.instances.get_mut(&id.into()).unwrap();
                        row.notice = Some(SpotNotice::Interruption);
                    }
                },
                &["upgrade to ami-2: free 0 of 4, starting 0"],
            ),
            (
                "past the deadline, and not warm",
                |s| s.images[1].since = at(-9000),
                &[
                    "move ami-2 from WARMING to FAILED: only free 0 of 4 after 9000 s (upgrade_seconds): the old image stays",
                ],
            ),
            (
                "a moment before the deadline",
                |s| s.images[1].since = at(-8999),
                &["upgrade to ami-2: free 0 of 4, starting 4"],
            ),
        ],
    );
    let lost = warming([silent("i-3", 700), silent("i-4", 700)]);
    assert_eq!(
        moves(&lost),
        [
            "move ami-2 from WARMING to FAILED: i-3 of this image did not become ACTIVE or was lost, and no other is healthy: the old image stays"
        ]
    );
}

#[test]
fn warm_image_at_its_deadline_fails_unless_named() {
    let mut warm = warming([instance("i-3"), instance("i-4")]);
    warm.images[1].since = at(-9000);
    assert_table(
        &warm,
        &[
            (
                "warm, and never named",
                |_| {},
                &[
                    "move ami-2 from WARMING to FAILED: warm, but no app version named sha-of-ami-2 within 9000 s (upgrade_seconds): the old image stays",
                ],
            ),
            (
                "warm and named at the deadline",
                name_ami_2,
                &[
                    "move ami-2 from WARMING to CURRENT: warm (free 4), and the app version names its client_sha",
                ],
            ),
        ],
    );
}

#[test]
fn upgrade_without_room_fails_unless_room_is_coming() {
    let none = warming([]);
    assert_table(
        &none,
        &[
            (
                "no room at all",
                |s| s.settings.max_instances = 2,
                &[
                    "move ami-2 from WARMING to FAILED: no room for an instance of it: 2 of at most 2 instances are live (max_instances + upgrade_surge): the old image stays",
                ],
            ),
            (
                "a surge makes room",
                |s| {
                    s.settings.max_instances = 2;
                    s.settings.upgrades.surge = 1;
                },
                &["upgrade to ami-2: free 0 of 4, starting 0"],
            ),
            (
                "no room, but an instance is draining",
                |s| {
                    s.settings.max_instances = 2;
                    s.instances.get_mut(&"i-2".into()).unwrap().status = InstanceStatus::Draining;
                },
                &["upgrade to ami-2: free 0 of 4, starting 0"],
            ),
            (
                "its own open launch takes the room",
                |s| {
                    s.settings.max_instances = 3;
                    let mut open = intent(1, 20);
                    open.request.image_id = "ami-2".into();
                    s.open_intents = vec![Intent { ..open }];
                },
                &["upgrade to ami-2: free 0 of 4, starting 2"],
            ),
        ],
    );
}

#[test]
fn upgrade_with_little_room_is_warm_with_what_fits() {
    let mut some = warming([instance("i-3")]);
    some.settings.max_instances = 3;
    name_ami_2(&mut some);
    assert_table(
        &some,
        &[
            (
                "what fits is warm",
                |_| {},
                &[
                    "move ami-2 from WARMING to CURRENT: warm (free 2), and the app version names its client_sha",
                ],
            ),
            (
                "what fits still boots",
                |s| {
                    let row = Instance {
                        image_id: "ami-2".into(),
                        ..booting("i-3", 60)
                    };
                    s.instances.insert(row.id.clone(), row);
                },
                &["upgrade to ami-2: free 0 of 4, starting 2"],
            ),
        ],
    );
}

#[test]
fn baking_image_can_be_rolled_back_to_and_is_then_retired() {
    assert_table(
        &baking(),
        &[
            (
                "it bakes",
                |_| {},
                &["ami-1 is kept for a rollback until 2026-01-01T12:20:00Z"],
            ),
            (
                "the app version is rolled back",
                |s| s.app_sha = Some("sha-of-ami-1".into()),
                &["move ami-1 from BAKING to CURRENT: the app version names its client_sha again"],
            ),
            (
                "the app version is rolled back at the last moment",
                |s| {
                    s.app_sha = Some("sha-of-ami-1".into());
                    s.images[0].since = at(-1800);
                },
                &["move ami-1 from BAKING to CURRENT: the app version names its client_sha again"],
            ),
            (
                "it has baked for long enough",
                |s| s.images[0].since = at(-1800),
                &["move ami-1 from BAKING to RETIRED: replaced 1800 s ago (bake_seconds)"],
            ),
            (
                "a moment before",
                |s| s.images[0].since = at(-1799),
                &["ami-1 is kept for a rollback until 2026-01-01T12:00:01Z"],
            ),
            (
                "a region that swaps without an app version does not roll back by itself",
                |s| {
                    s.settings.upgrades.swap_when_warm = true;
                    s.app_sha = Some("sha-of-ami-1".into());
                },
                &["ami-1 is kept for a rollback until 2026-01-01T12:20:00Z"],
            ),
            (
                "both images were built from one commit: the app version does not decide",
                |s| s.images[0].client_sha = "sha-of-ami-2".into(),
                &["ami-1 is kept for a rollback until 2026-01-01T12:20:00Z"],
            ),
            (
                "there is no current image: nothing retires",
                |s| {
                    s.images[1].state = ImageState::Failed;
                    s.images[0].since = at(-9000);
                },
                &[],
            ),
        ],
    );
}

#[test]
fn first_image_becomes_current_once_an_instance_is_active() {
    let mut first = warming([instance("i-3"), booting("i-4", 60)]);
    first.images.remove(0);
    first
        .instances
        .retain(|_, row| row.image_id.as_str() == "ami-2");
    first
        .machines
        .retain(|id, _| first.instances.contains_key(id));
    assert_table(
        &first,
        &[
            (
                "one is ACTIVE",
                |_| {},
                &[
                    "move ami-2 from WARMING to CURRENT: the region's first image, and an instance of it is ACTIVE or none is needed",
                ],
            ),
            (
                "none is",
                |s| {
                    let row = Instance {
                        image_id: "ami-2".into(),
                        ..booting("i-3", 60)
                    };
                    s.instances.insert(row.id.clone(), row);
                },
                &["upgrade to ami-2: free 0 of 4, starting 4"],
            ),
            (
                "the region needs no instances",
                |s| {
                    s.settings.target_free = 0;
                    s.instances.clear();
                    s.machines.clear();
                },
                &[
                    "move ami-2 from WARMING to CURRENT: the region's first image, and an instance of it is ACTIVE or none is needed",
                ],
            ),
        ],
    );
}

#[test]
fn current_and_baking_image_are_filled_separately() {
    let mut snapshot = baking();
    for id in ["i-2", "i-4"] {
        let row = snapshot.instances.get_mut(&id.into()).unwrap();
        (row.slots.waiting, row.slots.occupied) = (0, 2);
    }
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 4, live 4 of 10
        ami-1 BAKING: demand 4, free 2, starting 0
        - launch from ami-2: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 2 and starting 0 are below target 4 + waiting 0
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 2 and starting 0 of this BAKING image are below target 4
        · ami-1 is kept for a rollback until 2026-01-01T12:20:00Z",
    );
}

#[test]
fn maximum_gives_room_to_users_before_warming_and_baking_images() {
    let mut snapshot = warming([instance("i-3"), booting("i-4", 60)]);
    snapshot.settings.max_instances = 4;
    let row = snapshot.instances.get_mut(&"i-2".into()).unwrap();
    (row.slots.waiting, row.slots.occupied) = (0, 2);
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 2, live 4 of 4
        ami-2 WARMING: demand 4, free 2, starting 2
        - drain i-3: at max_instances: a more important image needs the room of this WARMING one
        · upgrade to ami-2: free 2 of 4, starting 2
        ! 2 slots are missing, but 4 of at most 4 instances are live (max_instances)",
    );

    let mut snapshot = baking();
    snapshot.settings.max_instances = 4;
    let row = snapshot.instances.get_mut(&"i-4".into()).unwrap();
    (row.slots.waiting, row.slots.occupied) = (0, 2);
    // Each image would have half of its buffer: the baking one keeps its instances.
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 2, live 4 of 4
        ami-1 BAKING: demand 4, free 4, starting 0
        · ami-1 is kept for a rollback until 2026-01-01T12:20:00Z
        ! 2 slots are missing, but 4 of at most 4 instances are live (max_instances)",
    );
    let row = snapshot.instances.get_mut(&"i-3".into()).unwrap();
    (row.slots.waiting, row.slots.occupied) = (0, 2);
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 4, live 4 of 4
        ami-1 BAKING: demand 4, free 4, starting 0
        - drain i-1: at max_instances: a more important image needs the room of this BAKING one
        · ami-1 is kept for a rollback until 2026-01-01T12:20:00Z
        ! 4 slots are missing, but 4 of at most 4 instances are live (max_instances)",
    );

    // A draining instance will make room: no other one is drained.
    let mut next = snapshot.clone();
    let row = next.instances.get_mut(&"i-1".into()).unwrap();
    (row.status, row.draining_since) = (InstanceStatus::Draining, Some(at(-10)));
    assert_plan(
        &next,
        "target 4, free 0, starting 0, waiting 0, occupied 4, live 4 of 4
        ami-1 BAKING: demand 4, free 2, starting 0
        · ami-1 is kept for a rollback until 2026-01-01T12:20:00Z
        ! 4 slots are missing, but 4 of at most 4 instances are live (max_instances)",
    );
}

/// The invariant that protects a warming image has to count free slots as the buffer does.
/// Otherwise the plan breaks it, and the pass does nothing.
#[test]
fn unusable_slots_count_as_missing_for_the_protection_of_warming_images() {
    let mut base = warming([instance("i-3"), instance("i-4")]);
    base.settings.max_instances = 4;
    let cases: [(&str, Change); 3] = [
        ("silent", |s| {
            let row = s.instances.get_mut(&"i-2".into()).unwrap();
            row.beat_at = Some(at(-100));
        }),
        ("down at EC2", |s| take_down(s, "i-2")),
        ("about to be taken", |s| {
            let row = s.instances.get_mut(&"i-2".into()).unwrap();
            row.notice = Some(SpotNotice::Rebalance);
        }),
    ];
    for (case, change) in cases {
        let mut snapshot = base.clone();
        change(&mut snapshot);
        assert!(snapshot.is_short_of_slots(NOW), "{case}");
        let plan = algorithm("default").unwrap().decide(&snapshot, NOW);
        assert_eq!(violations(&snapshot, &plan, NOW), [], "{case}");
    }
    assert!(!base.is_short_of_slots(NOW));
}

#[test]
fn surge_lasts_until_the_last_instance_of_the_old_image_is_gone() {
    let mut snapshot = baking();
    snapshot.settings.max_instances = 2;
    snapshot.settings.upgrades.surge = 2;
    snapshot.images[0].state = ImageState::Retired;
    for (id, image) in [("i-1", "ami-1"), ("i-2", "ami-1")] {
        let row = Instance {
            image_id: image.into(),
            ..occupied(id, 1)
        };
        snapshot.instances.insert(row.id.clone(), row);
    }
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 2, live 4 of 4
        · free 4 and starting 0 meet the target of 4
        · i-1: kept: 1 user on an image that is no longer served
        · i-2: kept: 1 user on an image that is no longer served",
    );
}

#[test]
fn users_on_retired_image_are_alerted_after_the_limit_if_set() {
    let mut snapshot = baking();
    snapshot.images[0].state = ImageState::Retired;
    snapshot.images[0].since = at(-7200);
    let row = Instance {
        image_id: "ami-1".into(),
        ..occupied("i-1", 1)
    };
    snapshot.instances.insert(row.id.clone(), row);
    let alerts = |snapshot: &Snapshot| {
        let plan = algorithm("default").unwrap().decide(snapshot, NOW);
        let alerts = plan.notes.iter().filter(|note| note.alert);
        alerts
            .map(|note| note.reason.to_string())
            .collect::<Vec<_>>()
    };
    assert!(alerts(&snapshot).is_empty());
    snapshot.settings.upgrades.old_image = Some(SignedDuration::from_hours(2));
    assert_eq!(
        alerts(&snapshot),
        ["1 user still on ami-1, retired 7200 s ago (old_image_seconds)"]
    );
}
