//! Settings that keep a region from launching: they are alerted in every plan, and keep nothing else
//! from being done.

use shared::scaling::Snapshot;
use shared::settings::{BadSetting, REPLICA};
use testing::{instance, snapshot};

use crate::support::{assert_plan, draining, silent};

fn problem(column: &'static str, problem: &str) -> BadSetting {
    BadSetting {
        column,
        problem: problem.to_owned(),
    }
}

fn with_problem(mut snapshot: Snapshot, column: &'static str) -> Snapshot {
    snapshot.settings.launch_problems = vec![problem(column, "is wrong")];
    snapshot
}

#[test]
fn setting_that_cannot_work_is_alerted_while_no_launch_is_due() {
    assert_plan(
        &with_problem(
            snapshot([instance("i-1"), instance("i-2")]),
            "user_data_template",
        ),
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 2 of 10
        ! table `regions`, row us-east-1, column `user_data_template`: is wrong; nothing is launched until it is corrected
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn only_launches_wait_for_a_setting_that_cannot_work() {
    let instances = [draining("i-1", 700), silent("i-2", 601), instance("i-3")];
    assert_plan(
        &with_problem(snapshot(instances), "security_groups"),
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 3 of 10
        - terminate i-2: lost: no heartbeat for 601 s (lost_seconds); 0 users on it
        - terminate i-1: draining and empty, but still running after 700 s
        ! table `regions`, row us-east-1, column `security_groups`: is wrong; nothing is launched until it is corrected
        ! i-2: lost: no heartbeat for 601 s (lost_seconds); 0 users on it",
    );
    let surplus = ["i-1", "i-2", "i-3", "i-4"].map(instance);
    assert_plan(
        &with_problem(snapshot(surplus), "instance_profile"),
        "target 4, free 8, starting 0, waiting 0, occupied 0, live 4 of 10
        - drain i-1: free 8 meets the target of 4 without it
        - drain i-2: free 6 meets the target of 4 without it
        ! table `regions`, row us-east-1, column `instance_profile`: is wrong; nothing is launched until it is corrected
        · free 8 and starting 0 meet the target of 4",
    );
}

#[test]
fn launch_choices_that_are_left_are_used() {
    let mut snapshot = with_problem(snapshot([instance("i-1")]), "launch_choices");
    snapshot.settings.launch_choices.truncate(1);
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        - launch from ami-1: 1 x c5.large in subnet-a: free 2 and starting 0 are below target 4 + waiting 0
        ! table `regions`, row us-east-1, column `launch_choices`: is wrong; the other launch choices are used",
    );
    snapshot.settings.launch_choices.clear();
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        ! table `regions`, row us-east-1, column `launch_choices`: is wrong; nothing is launched until it is corrected",
    );
}

#[test]
fn region_that_launches_nothing_anyway_has_a_note_instead_of_an_alert() {
    let mut snapshot = with_problem(snapshot([]), "user_data_template");
    snapshot.settings.paused = true;
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 0, live 0 of 10
        · table `regions`, row us-east-1, column `user_data_template`: is wrong; nothing is launched until it is corrected
        · the region is paused",
    );
}

#[test]
fn replicas_are_not_created_with_a_setting_that_cannot_work() {
    let mut snapshot = with_problem(snapshot([]), "user_data_template");
    snapshot.settings.algorithm = REPLICA.to_owned();
    assert_plan(
        &snapshot,
        "target 3, free 0, starting 0, waiting 0, occupied 0, live 0 of 10
        ! table `regions`, row us-east-1, column `user_data_template`: is wrong; nothing is launched until it is corrected",
    );
}
