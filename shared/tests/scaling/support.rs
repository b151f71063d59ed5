//! Builders of snapshots, and the comparison of a plan with its expected text.

use jiff::Timestamp;
use shared::model::{Instance, InstanceStatus, Intent, LaunchRequest, SlotCounts};
use shared::scaling::{self, Plan, Snapshot, Violation, algorithm};
use testing::{NOW, at, instance};

/// The invariants that a plan breaks.
pub(crate) fn violations(snapshot: &Snapshot, plan: &Plan, now: Timestamp) -> Vec<Violation> {
    let algorithm = algorithm(&snapshot.settings.algorithm).unwrap();
    scaling::violations(algorithm, snapshot, plan, now)
}

/// Compares the text of the whole plan, and checks that the plan breaks no invariant.
#[track_caller]
pub(crate) fn assert_plan(snapshot: &Snapshot, expected: &str) {
    let plan = algorithm(&snapshot.settings.algorithm)
        .unwrap()
        .decide(snapshot, NOW);
    assert_eq!(violations(snapshot, &plan, NOW), []);
    let expected: Vec<_> = expected
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    assert_eq!(plan.to_string().lines().collect::<Vec<_>>(), expected);
}

pub(crate) fn occupied(id: &str, users: u32) -> Instance {
    let slots = SlotCounts {
        waiting: 2 - users,
        occupied: users,
        unclaimed: 0,
    };
    Instance {
        slots,
        ..instance(id)
    }
}

pub(crate) fn silent(id: &str, seconds: i64) -> Instance {
    Instance {
        beat_at: Some(at(-seconds)),
        ..instance(id)
    }
}

pub(crate) fn draining(id: &str, seconds: i64) -> Instance {
    Instance {
        status: InstanceStatus::Draining,
        draining_since: Some(at(-seconds)),
        ..instance(id)
    }
}

pub(crate) fn booting(id: &str, seconds: i64) -> Instance {
    Instance {
        status: InstanceStatus::PreConnection,
        launched_at: at(-seconds),
        active_at: None,
        beat_at: None,
        slots: SlotCounts::default(),
        ..instance(id)
    }
}

pub(crate) fn intent(count: u32, seconds: i64) -> Intent {
    Intent {
        launch_id: "launch-open".into(),
        client_token: "token".into(),
        created_at: at(-seconds),
        request: LaunchRequest {
            image_id: "ami-1".into(),
            client_sha: "sha-of-ami-1".into(),
            spot: false,
            instance_type: "c5.large".to_owned(),
            subnet_id: "subnet-a".to_owned(),
            security_group_ids: vec![],
            instance_profile: None,
            user_data: String::new(),
            tags: vec![],
            count,
            capacity: 2,
            imds_hop_limit: Some(1),
            ebs_optimized: false,
        },
    }
}
