//! Nothing is drained, terminated or forgotten that should not be.

use scaling_tests::ledger::Machine;

use crate::evidence::{Evidence, InstanceChange, SlotChange};
use crate::regions::LOST_SECONDS;

pub(crate) fn violations(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    terminated_before_commit(evidence, &mut found);
    committed_under_users(evidence, &mut found);
    ended_under_users(evidence, &mut found);
    forgotten_too_early(evidence, &mut found);
    found
}

/// EC2 is asked to terminate only what is committed as `TERMINATING`.
fn terminated_before_commit(evidence: &Evidence, found: &mut Vec<String>) {
    let calls = evidence
        .calls
        .iter()
        .filter(|call| call.action == "TerminateInstances");
    for call in calls {
        let ids = call
            .params
            .iter()
            .filter(|(name, _)| name.starts_with("InstanceId."));
        for (_, id) in ids {
            let committed = evidence.first(id, "TERMINATING").map(|change| change.at_us);
            if committed.is_none_or(|at| at > end_of(call.at_ms)) {
                found.push(format!(
                    "{id} was to be terminated at {}, committed at {committed:?}",
                    call.at_ms
                ));
            }
        }
    }
}

/// An instance with an occupied slot is not drained by choice, and not given up while its agent
/// lives and its machine runs.
fn committed_under_users(evidence: &Evidence, found: &mut Vec<String>) {
    for change in evidence
        .instances
        .iter()
        .filter(|change| change.occupied > 0)
    {
        let wrong = match change.status.as_deref() {
            Some("DRAINING") => change.notice.is_none(),
            Some("TERMINATING") => {
                let machine = evidence.machines.iter().find(|it| it.id == change.id);
                let left = machine.and_then(|machine| reached(machine, "shutting-down"));
                !is_lost(change) && left.is_none_or(|at_ms| at_ms * 1000 > change.at_us)
            }
            _ => false,
        };
        if wrong {
            found.push(format!("with users there: {change:?}"));
        }
    }
}

/// No machine ends, whoever ends it, while a user is there and the agent lives.
fn ended_under_users(evidence: &Evidence, found: &mut Vec<String>) {
    for machine in &evidence.machines {
        let Some(at_ms) = reached(machine, "shutting-down") else {
            continue;
        };
        let ended = machine.agent.as_ref().map(|agent| agent.ended_at_ms);
        // One that shuts its machine down has ended a moment before.
        let lived = machine.ended_by.as_deref() == Some("instance")
            || ended.is_some_and(|end| end.is_none_or(|end| end >= at_ms));
        let lost = evidence
            .first(&machine.id, "TERMINATING")
            .is_some_and(is_lost);
        if lived && !lost {
            let users = users_at(evidence, &machine.id, at_ms);
            if !users.is_empty() {
                found.push(format!("{} ended at {at_ms} under {users:?}", machine.id));
            }
        }
    }
}

/// A row goes when EC2 has terminated its machine, not before.
fn forgotten_too_early(evidence: &Evidence, found: &mut Vec<String>) {
    for change in evidence
        .instances
        .iter()
        .filter(|change| change.status.is_none())
    {
        let machine = evidence.machines.iter().find(|it| it.id == change.id);
        let terminated = machine.and_then(|machine| reached(machine, "terminated"));
        if terminated.is_none_or(|at_ms| at_ms * 1000 > change.at_us) {
            found.push(format!(
                "{}: its row went at {}, it at {terminated:?}",
                change.id, change.at_us
            ));
        }
    }
}

/// When the machine came into a state.
fn reached(machine: &Machine, state: &str) -> Option<i64> {
    let transition = machine.transitions.iter().find(|it| it.state == state);
    transition.map(|it| it.at_ms)
}

fn is_lost(change: &InstanceChange) -> bool {
    change
        .silent_ms
        .is_some_and(|silent| silent >= i64::from(LOST_SECONDS) * 1000)
}

/// Who had a slot of the instance for the whole of that millisecond.
fn users_at<'e>(evidence: &'e Evidence, instance: &str, at_ms: i64) -> Vec<&'e str> {
    let changes = || {
        evidence
            .slots
            .iter()
            .filter(|change| change.instance_id == instance)
    };
    let taken = changes().filter(|change| change.is_occupied() && change.at_us < at_ms * 1000);
    let mut users = Vec::new();
    for change in taken {
        let later = |other: &&SlotChange| {
            other.id == change.id && !other.is_occupied() && other.at_us >= change.at_us
        };
        let freed = changes().find(later).map(|it| it.at_us);
        if freed.is_none_or(|at| at > end_of(at_ms)) {
            users.extend(change.user.as_deref());
        }
    }
    users.dedup();
    users
}

/// The last moment of a millisecond, in microseconds: the ledger knows no finer times.
fn end_of(ms: i64) -> i64 {
    ms * 1000 + 999
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::examples::{becomes, ended, machine, passes, terminate};

    /// A machine that is drained, committed and terminated in order.
    fn in_order() -> Evidence {
        let gone = InstanceChange {
            status: None,
            ..becomes("i-1", "", 5_000)
        };
        Evidence {
            calls: vec![terminate("i-1", 4_000)],
            machines: vec![ended(machine("i-1", "t", 1_000), 4_001, "user")],
            instances: vec![
                becomes("i-1", "DRAINING", 2_000),
                becomes("i-1", "TERMINATING", 3_000),
                gone,
            ],
            slots: vec![
                passes("s", None, Some("ann"), 1_500),
                passes("s", Some("ann"), None, 1_900),
            ],
            ..Evidence::default()
        }
    }

    #[test]
    fn an_end_in_order_is_well() {
        assert_eq!(violations(&in_order()), [""; 0]);
    }

    #[test]
    fn a_request_before_the_commit_is_seen() {
        let mut evidence = in_order();
        evidence.calls[0].at_ms = 2_999;
        assert_eq!(violations(&evidence).len(), 1);
        evidence.calls[0] = terminate("i-2", 4_000);
        assert_eq!(violations(&evidence).len(), 1, "never committed");
    }

    #[test]
    fn a_user_who_is_still_there_is_seen() {
        let mut evidence = in_order();
        evidence.slots[1].at_us = 4_500_000;
        assert_eq!(violations(&evidence).len(), 1, "when it ended");
        let mut evidence = in_order();
        evidence.instances[0].occupied = 1;
        assert_eq!(violations(&evidence).len(), 1, "when it was drained");
        let mut evidence = in_order();
        evidence.instances[1].occupied = 1;
        assert_eq!(violations(&evidence).len(), 1, "when it was given up");
    }

    #[test]
    fn a_user_whose_agent_was_silent_for_too_long_is_given_up() {
        let mut evidence = in_order();
        evidence.slots[1].at_us = 4_500_000;
        evidence.instances[1].occupied = 1;
        evidence.instances[1].silent_ms = Some(i64::from(LOST_SECONDS) * 1000);
        assert_eq!(violations(&evidence), [""; 0]);
    }

    #[test]
    fn a_row_that_goes_before_its_machine_is_seen() {
        let mut evidence = in_order();
        evidence.instances[2].at_us = 4_000_000;
        assert_eq!(violations(&evidence).len(), 1);
    }
}
