//! One launch per intent, wherever a function dies; and whatever was launched is known.

use std::collections::{BTreeMap, BTreeSet};

use scaling_tests::ledger::Call;

use crate::evidence::Evidence;

/// `closed` are the launches whose intents were recorded and closed.
pub(crate) fn violations(evidence: &Evidence, closed: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let calls = evidence
        .calls
        .iter()
        .filter(|call| call.action == "RunInstances");
    let mut asked: BTreeMap<&str, &Call> = BTreeMap::new();
    let mut launches: BTreeMap<&str, &str> = BTreeMap::new();
    for call in calls {
        let token = call.params.get("ClientToken").map_or("", String::as_str);
        let first = asked.entry(token).or_insert(call);
        if first.params != call.params {
            found.push(format!(
                "the token {token} was used for {:?} and {:?}",
                first.params, call.params
            ));
        }
        let launch = call.tag("scaling:launch").unwrap_or_default();
        if *launches.entry(launch).or_insert(token) != token {
            found.push(format!(
                "the launch {launch} was asked for under two tokens"
            ));
        }
        if !closed.contains(launch) {
            found.push(format!(
                "the launch {launch} was asked for, but its intent was not closed"
            ));
        }
    }
    let known: BTreeSet<_> = evidence.instances.iter().map(|it| it.id.as_str()).collect();
    let mut launched: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for machine in &evidence.machines {
        if !known.contains(machine.id.as_str()) {
            found.push(format!("{} never had a row", machine.id));
        }
        let token = machine.client_token.as_deref().unwrap_or_default();
        let Some(call) = asked.get(token) else {
            found.push(format!(
                "{} was launched under {token:?}, which nobody used",
                machine.id
            ));
            continue;
        };
        if machine.tags.get("scaling:launch").map(String::as_str) != call.tag("scaling:launch") {
            found.push(format!("{} has the tag of another launch", machine.id));
        }
        let (count, reservations) = launched.entry(token).or_default();
        *count += 1;
        reservations.insert(&machine.reservation_id);
    }
    for (token, (count, reservations)) in launched {
        let most: usize = asked[token].params["MaxCount"].parse().unwrap_or_default();
        if count > most || reservations.len() > 1 {
            found.push(format!(
                "{count} of {most} launched under {token}, at {} times",
                reservations.len()
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use scaling_tests::ledger::Machine;

    use super::*;
    use crate::checks::examples::{becomes, launch, machine};

    /// What is found when each machine has a row.
    fn found(calls: Vec<Call>, machines: Vec<Machine>) -> Vec<String> {
        let row = |machine: &Machine| becomes(&machine.id, "PRE_CONNECTION", 1_500);
        let evidence = Evidence {
            instances: machines.iter().map(row).collect(),
            calls,
            machines,
            ..Evidence::default()
        };
        violations(&evidence, &BTreeSet::from(["launch-t".to_owned()]))
    }

    #[test]
    fn a_launch_that_was_asked_for_twice_under_its_token_is_well() {
        let calls = vec![launch("t", 2, 1_000), launch("t", 2, 2_000)];
        let machines = vec![machine("i-1", "t", 1_000), machine("i-2", "t", 1_000)];
        assert_eq!(found(calls, machines), [""; 0]);
    }

    #[test]
    fn a_second_launch_under_a_token_is_seen() {
        let calls = || vec![launch("t", 2, 1_000)];
        let three = ["i-1", "i-2", "i-3"].map(|id| machine(id, "t", 1_000));
        assert_eq!(found(calls(), three.into()).len(), 1);
        let mut again = machine("i-2", "t", 2_000);
        again.reservation_id = "another".to_owned();
        assert_eq!(
            found(calls(), vec![machine("i-1", "t", 1_000), again]).len(),
            1
        );
    }

    #[test]
    fn a_launch_that_nobody_recorded_is_seen() {
        assert_eq!(found(vec![launch("u", 1, 1_000)], Vec::new()).len(), 1);
        assert_eq!(found(Vec::new(), vec![machine("i-1", "t", 1_000)]).len(), 1);
    }

    #[test]
    fn another_request_under_a_token_is_seen() {
        let calls = vec![launch("t", 2, 1_000), launch("t", 3, 2_000)];
        assert_eq!(found(calls, Vec::new()).len(), 1);
    }

    #[test]
    fn a_machine_without_a_row_is_seen() {
        let evidence = Evidence {
            calls: vec![launch("t", 1, 1_000)],
            machines: vec![machine("i-1", "t", 1_000)],
            ..Evidence::default()
        };
        let closed = BTreeSet::from(["launch-t".to_owned()]);
        assert_eq!(violations(&evidence, &closed).len(), 1);
    }
}
