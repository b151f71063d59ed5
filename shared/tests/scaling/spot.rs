//! Golden plans of instances with a spot notice.

use shared::model::{Instance, MachineState, SpotNotice};
use testing::{instance, snapshot};

use crate::support::{assert_plan, booting, draining, occupied};

fn noticed(instance: Instance, notice: SpotNotice) -> Instance {
    Instance {
        notice: Some(notice),
        ..instance
    }
}

#[test]
fn interrupted_instance_is_drained_at_once_and_replaced() {
    let mut snapshot = snapshot([
        noticed(occupied("i-1", 1), SpotNotice::Interruption),
        noticed(instance("i-2"), SpotNotice::Interruption),
        noticed(booting("i-3", 30), SpotNotice::Interruption),
        noticed(draining("i-4", 700), SpotNotice::Interruption),
        instance("i-5"),
    ]);
    snapshot
        .instances
        .get_mut(&"i-4".into())
        .unwrap()
        .slots
        .occupied = 1;
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 2, live 5 of 10
        - rest c5.large in subnet-a until 2026-01-01T12:03:00Z: i-3 of c5.large in subnet-a did not live: spot interruption; the next launch there is after 2026-01-01T12:03:00Z
        - drain i-1: EC2 reclaims it within two minutes (spot interruption warning); 1 user on it
        - drain i-2: EC2 reclaims it within two minutes (spot interruption warning); 0 users on it
        - drain i-3: EC2 reclaims it within two minutes (spot interruption warning); 0 users on it
        - launch from ami-1: 1 x c5.large in subnet-b: free 2 and starting 0 are below target 4 + waiting 0
        ! i-3 of c5.large in subnet-a did not live: spot interruption; the next launch there is after 2026-01-01T12:03:00Z
        · i-4: draining for 700 s, kept because of 1 user",
    );
}

#[test]
fn announced_interruption_is_not_alerted() {
    let mut snapshot = snapshot([
        noticed(occupied("i-1", 1), SpotNotice::Interruption),
        noticed(draining("i-2", 60), SpotNotice::Interruption),
        instance("i-3"),
        instance("i-4"),
    ]);
    for id in ["i-1", "i-2"] {
        snapshot.machines.get_mut(&id.into()).unwrap().state = MachineState::ShuttingDown;
    }
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 1, live 4 of 10
        - terminate i-1: shutting-down at EC2 while its row is ACTIVE with 1 user
        - terminate i-2: shutting-down at EC2 while its row is DRAINING with 0 users
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn rebalance_advice_drains_only_after_replacement() {
    let mut snapshot = snapshot([
        noticed(instance("i-1"), SpotNotice::Rebalance),
        noticed(occupied("i-2", 1), SpotNotice::Rebalance),
        instance("i-3"),
    ]);
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 1, live 3 of 10
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 2 and starting 0 are below target 4 + waiting 0
        · i-1: EC2 may reclaim it soon (rebalance recommendation): kept until it is replaced, not counted as free; 0 users on it
        · i-2: EC2 may reclaim it soon (rebalance recommendation): kept until it is replaced, not counted as free; 1 user on it",
    );
    snapshot.settings.target_free = 2;
    assert_plan(
        &snapshot,
        "target 2, free 2, starting 0, waiting 0, occupied 1, live 3 of 10
        - drain i-1: EC2 may reclaim it soon (rebalance recommendation); 0 users on it
        - drain i-2: EC2 may reclaim it soon (rebalance recommendation); 1 user on it
        · free 2 and starting 0 meet the target of 2",
    );
}

#[test]
fn rebalance_advice_at_maximum_drains_one_empty_instance() {
    let mut snapshot = snapshot([
        noticed(instance("i-1"), SpotNotice::Rebalance),
        noticed(instance("i-2"), SpotNotice::Rebalance),
        noticed(occupied("i-3", 1), SpotNotice::Rebalance),
    ]);
    snapshot.settings.max_instances = 3;
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 1, live 3 of 3
        - drain i-1: EC2 may reclaim it soon (rebalance recommendation); 0 users on it
        · i-2: EC2 may reclaim it soon (rebalance recommendation): kept until it is replaced, not counted as free; 0 users on it
        · i-3: EC2 may reclaim it soon (rebalance recommendation): kept until it is replaced, not counted as free; 1 user on it
        ! 4 slots are missing, but 3 of at most 3 instances are live (max_instances)",
    );
}
