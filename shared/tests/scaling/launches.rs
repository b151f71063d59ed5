//! Golden plans of launches: open intents, and the launch choices that are left.

use shared::model::CapacityRefusal;
use shared::settings::LaunchChoice;
use testing::{at, instance, snapshot};

use crate::support::{assert_plan, booting, intent};

#[test]
fn open_intent_is_resumed_first_and_counts_as_starting() {
    let mut snapshot = snapshot([booting("i-1", 20)]);
    snapshot.open_intents = vec![intent(1, 20)];
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 4, waiting 0, occupied 0, live 2 of 10
        - resume launch launch-open: recorded by an earlier pass; instances without a row: 1
        · free 0 and starting 4 meet the target of 4",
    );
}

#[test]
fn intent_older_than_twelve_hours_is_only_looked_up() {
    let mut snapshot = snapshot([instance("i-1"), instance("i-2")]);
    snapshot.open_intents = vec![intent(1, 13 * 3600)];
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 3 of 10
        - resume launch launch-open: recorded 13 h ago: its instances are looked up, but it is not launched again
        ! recorded 13 h ago: its instances are looked up, but it is not launched again
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn choice_refused_recently_is_skipped() {
    let refusal = |subnet: &str| CapacityRefusal {
        spot: false,
        instance_type: "c5.large".to_owned(),
        subnet_id: subnet.to_owned(),
        until: at(100),
    };
    let mut snapshot = snapshot([instance("i-1")]);
    snapshot.refusals = vec![refusal("subnet-a")];
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        - launch from ami-1: 1 x c5.large in subnet-b: free 2 and starting 0 are below target 4 + waiting 0",
    );
    snapshot.refusals.push(refusal("subnet-b"));
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        ! EC2 had no capacity for any launch choice; the next attempt is after 2026-01-01T12:01:40Z",
    );
}

#[test]
fn spot_and_on_demand_are_refused_independently() {
    let mut snapshot = snapshot([instance("i-1")]);
    snapshot.settings.launch_choices.truncate(1);
    let on_demand = snapshot.settings.launch_choices[0].clone();
    let spot = LaunchChoice {
        spot: true,
        ..on_demand.clone()
    };
    snapshot.settings.launch_choices = vec![spot, on_demand];
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        - launch from ami-1: 1 x spot c5.large in subnet-a, or 1 x c5.large in subnet-a: free 2 and starting 0 are below target 4 + waiting 0",
    );
    let refusal = |spot| CapacityRefusal {
        spot,
        instance_type: "c5.large".to_owned(),
        subnet_id: "subnet-a".to_owned(),
        until: at(100),
    };
    snapshot.refusals = vec![refusal(true)];
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        - launch from ami-1: 1 x c5.large in subnet-a: free 2 and starting 0 are below target 4 + waiting 0",
    );
    snapshot.refusals = vec![refusal(false)];
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        - launch from ami-1: 1 x spot c5.large in subnet-a: free 2 and starting 0 are below target 4 + waiting 0",
    );
}

#[test]
fn missing_image_or_launch_choice_is_alerted() {
    let mut snapshot = snapshot([]);
    snapshot.settings.launch_choices.clear();
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 0, live 0 of 10
        ! the region's `launch_choices` are empty",
    );
    snapshot.images.clear();
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 0, live 0 of 10
        ! the region has no CURRENT image in table `images`",
    );
}
