//! The forecast: what users in line are told, and whether the region can launch.

use jiff::SignedDuration;
use shared::ids::ClientSha;
use shared::model::{CapacityPool, ImageState, Instance, Line, Outlook};
use shared::scaling::{Plan, Snapshot, algorithm, outlook};
use shared::settings::Selector;
use testing::{NOW, at, image, instance, refusal, snapshot};

use crate::support::{booting, intent, occupied};

const SHA: &str = "sha-of-ami-1";

fn sha() -> ClientSha {
    SHA.into()
}

/// A line in which `ends` sessions have ended within `seconds`.
fn line(users: u32, ends: u32, seconds: i64) -> Line {
    Line {
        client_sha: sha(),
        users,
        session_ends: ends,
        ends_since: at(-seconds),
    }
}

/// A full instance whose boot took this long. The last ones registered last.
fn booted_in(n: i64, seconds: i64) -> Instance {
    Instance {
        launched_at: at(n - 1000 - seconds),
        active_at: Some(at(n - 1000)),
        ..occupied(&format!("i-{n:03}"), 2)
    }
}

fn plan(snapshot: &Snapshot) -> Plan {
    algorithm("default").unwrap().decide(snapshot, NOW)
}

/// What a pass notes that has launched this many instances.
fn noted(snapshot: &Snapshot, launched: u32) -> Option<Outlook> {
    outlook(snapshot, &plan(snapshot), launched, NOW)
}

/// The steps of the forecast for users of `ami-1`, in seconds from now.
fn steps(snapshot: &Snapshot, launched: u32) -> Vec<(i64, u32)> {
    let noted = noted(snapshot, launched).unwrap();
    assert_eq!(noted.made_at, NOW);
    let of_sha = noted.forecasts.iter().find(|it| it.client_sha == sha());
    let steps = of_sha.iter().flat_map(|forecast| &forecast.steps);
    steps
        .map(|step| (step.at.duration_since(NOW).as_secs(), step.slots))
        .collect()
}

fn no_capacity_seconds(snapshot: &Snapshot, launched: u32) -> Option<i64> {
    let until = noted(snapshot, launched).unwrap().no_capacity_until?;
    Some(until.duration_since(NOW).as_secs())
}

/// One user in line, all slots taken, room for more instances.
fn short() -> Snapshot {
    let mut snapshot = snapshot([booted_in(1, 60)]);
    snapshot.settings.target_free = 0;
    snapshot.lines = vec![line(1, 0, 300)];
    snapshot.waiting = 1;
    snapshot
}

#[test]
fn nothing_is_noted_while_slots_are_free_and_nobody_is_in_line() {
    assert_eq!(noted(&snapshot([instance("i-1")]), 0), None);
    let mut starting = snapshot([instance("i-1"), booting("i-2", 10)]);
    starting.settings.target_free = 2;
    assert_eq!(noted(&starting, 0), None);
}

#[test]
fn region_at_rest_without_free_slots_notes_nothing() {
    let mut full = snapshot([occupied("i-1", 2)]);
    full.settings.target_free = 0;
    assert_eq!(noted(&full, 0), None);
}

#[test]
fn starting_instances_are_forecast_before_anybody_is_refused() {
    let mut full = snapshot([booted_in(1, 60), booting("i-2", 20)]);
    full.settings.target_free = 0;
    assert_eq!(steps(&full, 0), [(40, 2)]);
}

#[test]
fn disabled_region_notes_nothing() {
    let mut disabled = short();
    disabled.settings.enabled = false;
    assert_eq!(noted(&disabled, 0), None);
}

#[test]
fn nothing_is_expected_before_a_boot_was_measured() {
    let mut first = snapshot([booting("i-1", 20)]);
    first.lines = vec![line(3, 0, 300)];
    let noted = noted(&first, 0).unwrap();
    assert_eq!(noted.forecasts, []);
}

#[test]
fn instance_is_expected_at_the_upper_quartile_of_the_last_boots() {
    // The last twenty take 11 to 30 seconds, those before them an hour.
    let old = (1..=5).map(|n| booted_in(n, 3600));
    let new = (6..=25).map(|n| booted_in(n, n + 5));
    let mut region = snapshot(old.chain(new).chain([booting("i-999", 5)]));
    region.lines = vec![line(1, 0, 300)];
    region.settings.max_instances = 26;
    assert_eq!(steps(&region, 0), [(25 - 5, 2)]);
}

#[test]
fn boots_of_another_type_are_used_only_if_the_type_was_not_measured() {
    let of_type = |instance: Instance, kind: &str| Instance {
        pool: Some(CapacityPool {
            spot: false,
            instance_type: kind.to_owned(),
            subnet_id: "subnet-a".to_owned(),
        }),
        ..instance
    };
    let measured = [
        of_type(booted_in(1, 30), "c5.large"),
        of_type(booted_in(2, 90), "c5.4xlarge"),
    ];
    for (kind, seconds) in [("c5.large", 30), ("c5.4xlarge", 90), ("m6i.large", 90)] {
        let starting = of_type(booting("i-9", 10), kind);
        let mut region = snapshot(measured.iter().cloned().chain([starting]));
        region.lines = vec![line(1, 0, 300)];
        assert_eq!(steps(&region, 0), [(seconds - 10, 2)], "{kind}");
    }
}

#[test]
fn late_instance_is_expected_after_as_long_as_it_is_late() {
    for (age, expected) in [(59, 1), (60, 6), (61, 6), (90, 30), (180, 120)] {
        let mut region = snapshot([booted_in(1, 60), booting("i-2", age)]);
        region.lines = vec![line(1, 0, 300)];
        assert_eq!(steps(&region, 0), [(expected, 2)], "{age}");
    }
    // One that never came up is given up.
    let mut region = snapshot([booted_in(1, 60), booting("i-2", 600)]);
    region.lines = vec![line(1, 0, 300)];
    assert_eq!(steps(&region, 0), []);
}

#[test]
fn open_launches_and_those_of_this_pass_are_expected_like_instances() {
    let mut region = short();
    region.open_intents = vec![intent(3, 10)];
    assert_eq!(steps(&region, 0), [(50, 6)]);

    let mut region = short();
    region.lines = vec![line(5, 0, 300)];
    region.waiting = 5;
    // The plan launches three, and EC2 has given two.
    assert_eq!(steps(&region, 3), [(60, 6)]);
    assert_eq!(steps(&region, 2), [(60, 4)]);
    assert_eq!(steps(&region, 0), []);
}

#[test]
fn sessions_end_at_the_rate_of_the_last_minutes() {
    let mut region = short();
    region.lines = vec![line(9, 6, 60)];
    let steps = steps(&region, 0);
    assert_eq!(steps[..3], [(10, 1), (20, 2), (30, 3)]);
    let (last, slots) = *steps.last().unwrap();
    assert!((3000..=3600).contains(&last), "up to an hour: {last}");
    assert_eq!(i64::from(slots), last / 10);
}

#[test]
fn ends_of_sessions_and_starting_instances_add_up() {
    let mut region = snapshot([booted_in(1, 60), booting("i-2", 35), booting("i-3", 20)]);
    region.lines = vec![line(9, 6, 60)];
    assert_eq!(
        steps(&region, 0)[..6],
        [(10, 1), (20, 2), (25, 4), (30, 5), (40, 8), (50, 9)]
    );
}

#[test]
fn each_hash_gets_its_own_instances_and_sessions() {
    let old = Instance {
        image_id: "ami-0".into(),
        client_sha: "old".into(),
        ..booting("i-2", 20)
    };
    let mut region = snapshot([booted_in(1, 60), old]);
    let mut baking = image("ami-0", ImageState::Baking);
    baking.client_sha = "old".into();
    region.images.push(baking);
    region.lines = vec![
        Line {
            client_sha: "old".into(),
            ..line(1, 0, 300)
        },
        line(1, 3, 300),
    ];
    let noted = noted(&region, 0).unwrap();
    let firsts: Vec<_> = noted
        .forecasts
        .iter()
        .map(|it| (it.client_sha.as_str(), it.steps[0].at, it.steps[0].slots))
        .collect();
    assert_eq!(firsts, [("old", at(40), 2), (SHA, at(100), 1)]);
}

#[test]
fn warming_image_serves_nobody_yet() {
    let warming = Instance {
        image_id: "ami-2".into(),
        ..booting("i-2", 20)
    };
    let mut region = snapshot([booted_in(1, 60), warming]);
    let mut image = image("ami-2", ImageState::Warming);
    image.client_sha = sha();
    region.images.push(image);
    region.lines = vec![line(1, 0, 300)];
    assert_eq!(steps(&region, 0), []);
}

#[test]
fn region_that_launches_has_capacity() {
    assert_eq!(no_capacity_seconds(&short(), 1), None);
}

#[test]
fn region_in_which_ec2_gave_nothing_has_no_capacity() {
    assert_eq!(no_capacity_seconds(&short(), 0), Some(120));
}

#[test]
fn region_at_its_maximum_has_no_capacity_until_what_starts_is_enough() {
    let mut full = short();
    full.settings.max_instances = 1;
    assert_eq!(no_capacity_seconds(&full, 0), Some(120));
    full.settings.upgrades.surge = 1;
    assert_eq!(
        no_capacity_seconds(&full, 0),
        Some(120),
        "no upgrade: no surge"
    );
    // Demand is elsewhere by now. That alone does not bring it back.
    full.waiting = 0;
    assert_eq!(no_capacity_seconds(&full, 0), Some(120));

    let mut starting = snapshot([booted_in(1, 60), booting("i-2", 20)]);
    starting.settings.max_instances = 2;
    starting.lines = vec![line(2, 0, 300)];
    assert_eq!(no_capacity_seconds(&starting, 0), None);
    starting.lines = vec![line(3, 0, 300)];
    assert_eq!(no_capacity_seconds(&starting, 0), Some(120));
}

#[test]
fn region_whose_choices_rest_has_no_capacity_until_the_first_may_be_tried() {
    let mut resting = short();
    resting.refusals = vec![refusal(false, "c5.large", "subnet-a", at(200))];
    resting.waiting = 0;
    assert_eq!(
        no_capacity_seconds(&resting, 0),
        None,
        "the other subnet is left"
    );
    let other = refusal(false, "c5.large", "subnet-b", at(50));
    resting.refusals.push(other);
    assert_eq!(no_capacity_seconds(&resting, 0), Some(50));
    resting.refusals[1].until = at(500);
    assert_eq!(
        no_capacity_seconds(&resting, 0),
        Some(120),
        "never for longer than two minutes"
    );
    resting.refusals[1].image = Some("ami-9".into());
    assert_eq!(
        no_capacity_seconds(&resting, 0),
        None,
        "it rests for another image"
    );
}

#[test]
fn choice_by_tag_rests_while_a_refusal_is_the_last_word() {
    let mut region = short();
    region.waiting = 0;
    region.settings.launch_choices.truncate(1);
    region.settings.launch_choices[0].subnet = Selector::Tag {
        key: "tier".to_owned(),
        value: "private".to_owned(),
    };
    assert_eq!(no_capacity_seconds(&region, 0), None);
    let mut rest = refusal(false, "c5.large", "subnet-a", at(50));
    rest.at = at(-20);
    region.refusals = vec![rest];
    assert_eq!(no_capacity_seconds(&region, 0), Some(50));
    // Another subnet had capacity afterwards.
    for row in region.instances.values_mut() {
        row.launched_at = at(-19);
        row.active_at = Some(at(-9));
    }
    assert_eq!(no_capacity_seconds(&region, 0), None);
}

#[test]
fn paused_region_and_one_that_used_up_its_launches_have_no_capacity() {
    let mut paused = short();
    paused.settings.paused = true;
    assert_eq!(no_capacity_seconds(&paused, 0), Some(120));

    let mut bound = short();
    bound.settings.launches_per_hour = Some(2);
    bound.launches.add(2, at(-600));
    assert_eq!(no_capacity_seconds(&bound, 0), Some(120));

    let mut none = short();
    none.settings.launch_choices.clear();
    assert_eq!(no_capacity_seconds(&none, 0), Some(120));
}

#[test]
fn line_of_another_hash_says_nothing_about_capacity() {
    let mut region = short();
    region.settings.max_instances = 1;
    region.waiting = 0;
    region.lines[0].client_sha = "old".into();
    assert_eq!(no_capacity_seconds(&region, 0), None);
}

#[test]
fn forecast_of_a_large_region_is_bounded() {
    let starting = (0..1000).map(|n| Instance {
        capacity: 50,
        ..booting(&format!("i-9{n:04}"), n % 500)
    });
    let mut region = snapshot(starting.chain([booted_in(1, 600)]));
    region.lines = vec![line(40_000, 20, 1)];
    region.settings.max_instances = 2000;
    let noted = noted(&region, 0).unwrap();
    let steps = &noted.forecasts[0].steps;
    assert!(steps.len() <= 200, "{}", steps.len());
    let last = steps.last().unwrap();
    assert!(last.slots > 100_000, "{last:?}");
    assert!(last.at > NOW + SignedDuration::from_mins(40), "{last:?}");
}
