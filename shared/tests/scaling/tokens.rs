//! Renewing the tokens of host agents, and what becomes of an instance whose token is revoked.

use shared::model::{DrainCause, Instance, InstanceStatus, NextToken, SlotCounts};
use shared::scaling::{Action, Plan, Reason, Snapshot, algorithm};
use testing::{NOW, at, instance, snapshot};

use crate::support::{assert_plan, draining, occupied, violations};

const DAY: i64 = 86_400;

fn plan(snapshot: &Snapshot) -> Plan {
    let plan = algorithm("default").unwrap().decide(snapshot, NOW);
    assert_eq!(violations(snapshot, &plan, NOW), []);
    plan
}

/// An instance whose newest token is signed with a key and ends in some days.
fn holding(id: &str, key: &str, days: i64) -> Instance {
    Instance {
        token: Some(NextToken {
            key: key.into(),
            valid_until: at(days * DAY),
            untaken_since: None,
        }),
        ..instance(id)
    }
}

fn renewed(plan: &Plan) -> Vec<&str> {
    let steps = plan.steps.iter();
    steps
        .filter_map(|step| match &step.action {
            Action::RenewToken { instance, .. } => Some(instance.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn token_is_renewed_at_half_of_its_time_and_ends_nothing() {
    let launched = |id: &str, days: i64, users| Instance {
        launched_at: at(-days * DAY),
        ..occupied(id, users)
    };
    let snapshot = snapshot([
        launched("i-1", 29, 1),
        launched("i-2", 16, 0),
        launched("i-3", 15, 0),
        holding("i-4", "key-1", 14),
        Instance {
            launched_at: at(-40 * DAY),
            ..holding("i-5", "key-1", 16)
        },
    ]);
    let plan = plan(&snapshot);
    assert_eq!(renewed(&plan), ["i-1", "i-2", "i-4"]);
    assert_eq!(
        plan.counts.free, 9,
        "old instances count as well as new ones"
    );
    assert_eq!(
        plan.steps[0].to_string(),
        "renew the token of i-1: its agent's newest token ends in 24 h"
    );
}

#[test]
fn rotation_renews_what_the_next_key_did_not_sign() {
    let rows = [
        instance("i-1"),
        holding("i-2", "key-0", 20),
        holding("i-3", "key-1", 20),
    ];
    let mut snapshot = snapshot(rows);
    // Only a token of another key is known to be useless.
    assert_eq!(renewed(&plan(&snapshot)), ["i-2"]);
    snapshot.tokens.as_mut().unwrap().is_rotating = true;
    assert_eq!(renewed(&plan(&snapshot)), ["i-2", "i-1"]);
    // A token ends while the region is paused, too.
    snapshot.settings.paused = true;
    assert_eq!(renewed(&plan(&snapshot)), ["i-2", "i-1"]);
    snapshot.tokens = None;
    assert!(plan(&snapshot).is_empty());
}

#[test]
fn instance_without_an_agent_gets_no_token() {
    let mut rows = [
        Instance {
            status: InstanceStatus::PreConnection,
            active_at: None,
            beat_at: None,
            slots: SlotCounts::default(),
            ..instance("i-1")
        },
        Instance {
            status: InstanceStatus::Terminating,
            ..instance("i-2")
        },
        Instance {
            drain_cause: Some(DrainCause::Revoked),
            ..draining("i-3", 5)
        },
        draining("i-4", 5),
    ];
    for row in &mut rows {
        row.token = holding("i", "key-0", 20).token;
    }
    assert_eq!(renewed(&plan(&snapshot(rows))), ["i-4"]);
}

#[test]
fn one_pass_renews_a_bounded_number_and_first_what_ends_first() {
    let rows = (0..205).map(|n| holding(&format!("i-{n:03}"), "key-0", 15 - n % 3));
    let mut snapshot = snapshot(rows);
    snapshot.settings.max_instances = 1000;
    let plan = plan(&snapshot);
    let renewed = renewed(&plan);
    assert_eq!(renewed.len(), 200);
    assert_eq!(renewed[..2], ["i-002", "i-005"]);
    let left = Reason::RenewalsLeft { instances: 5 };
    assert!(plan.notes.iter().any(|note| note.reason == left), "{plan}");
}

#[test]
fn agent_that_does_not_use_its_next_token_is_alerted() {
    let untaken = |days: i64, key: &str| {
        let mut row = holding("i-1", key, 20);
        row.token.as_mut().unwrap().untaken_since = Some(at(-days * DAY));
        snapshot([row, instance("i-2")])
    };
    let alerts = |snapshot: &Snapshot| {
        let notes = plan(snapshot).notes.into_iter();
        notes
            .filter(|note| note.alert)
            .map(|note| note.reason)
            .collect::<Vec<_>>()
    };
    let alert = Reason::TokenNotTaken { hours: 72 };
    assert_eq!(alerts(&untaken(3, "key-1")), [alert]);
    assert_eq!(alerts(&untaken(2, "key-1")), []);
    // Hasura does not accept it yet.
    let mut rotating = untaken(3, "key-1");
    rotating.tokens.as_mut().unwrap().is_rotating = true;
    assert_eq!(alerts(&rotating), []);
}

#[test]
fn revoked_instance_is_replaced_and_ends_when_empty_or_silent() {
    let revoked = |id: &str, users, silent: i64| Instance {
        status: InstanceStatus::Draining,
        draining_since: Some(at(-silent)),
        drain_cause: Some(DrainCause::Revoked),
        beat_at: Some(at(-silent)),
        ..occupied(id, users)
    };
    assert_plan(
        &snapshot([instance("i-1"), revoked("i-2", 0, 10), revoked("i-3", 1, 10), revoked("i-4", 1, 600)]),
        "target 4, free 2, starting 0, waiting 0, occupied 2, live 4 of 10
        - terminate i-4: its agent's token is revoked; 1 user on it
        - terminate i-2: its agent's token is revoked; 0 users on it
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 2 and starting 0 are below target 4 + waiting 0
        · i-3: its agent's token is revoked; 1 user on it",
    );
    // An operator decided each of them: no guard holds them back.
    let all = (0..8).map(|n| revoked(&format!("i-{n}"), 1, 600));
    let ended = plan(&snapshot(all)).steps.into_iter();
    let ended = ended.filter(|step| matches!(step.action, Action::Terminate { .. }));
    assert_eq!(ended.count(), 8);
}
