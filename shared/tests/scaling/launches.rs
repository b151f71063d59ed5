//! Golden plans of launches: open intents, and the launch choices that are left.

use shared::settings::LaunchChoice;
use testing::{at, instance, refusal, snapshot};

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
    let refused = |subnet| refusal(false, "c5.large", subnet, at(100));
    let mut snapshot = snapshot([instance("i-1")]);
    snapshot.refusals = vec![refused("subnet-a")];
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        - launch from ami-1: 1 x c5.large in subnet-b: free 2 and starting 0 are below target 4 + waiting 0",
    );
    snapshot.refusals.push(refused("subnet-b"));
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        ! EC2 has no capacity for any launch choice, or its instances do not live (no capacity); the next attempt is after 2026-01-01T12:01:40Z",
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
    let refused = |spot| refusal(spot, "c5.large", "subnet-a", at(100));
    snapshot.refusals = vec![refused(true)];
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        - launch from ami-1: 1 x c5.large in subnet-a: free 2 and starting 0 are below target 4 + waiting 0",
    );
    snapshot.refusals = vec![refused(false)];
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
