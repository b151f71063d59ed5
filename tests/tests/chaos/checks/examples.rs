//! Small pieces of evidence for the checks' own tests.

use std::collections::BTreeMap;

use scaling_tests::ledger::{Call, Machine, Transition};

use crate::evidence::{InstanceChange, SlotChange};

fn call(action: &str, at_ms: i64, params: &[(&str, &str)]) -> Call {
    let params = params.iter();
    Call {
        seq: 1,
        at_ms,
        region: "r".to_owned(),
        action: action.to_owned(),
        params: params
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        outcome: "ok".to_owned(),
    }
}

/// `RunInstances` for the launch `launch-TOKEN`.
pub(crate) fn launch(token: &str, count: usize, at_ms: i64) -> Call {
    let (launch, count) = (format!("launch-{token}"), count.to_string());
    let params = [
        ("ClientToken", token),
        ("MaxCount", &count),
        ("TagSpecification.1.Tag.1.Key", "scaling:launch"),
        ("TagSpecification.1.Tag.1.Value", &launch),
    ];
    call("RunInstances", at_ms, &params)
}

pub(crate) fn terminate(id: &str, at_ms: i64) -> Call {
    call("TerminateInstances", at_ms, &[("InstanceId.1", id)])
}

/// One that was launched under a token then, and runs since.
pub(crate) fn machine(id: &str, token: &str, at_ms: i64) -> Machine {
    let transitions = ["pending", "running"].map(|state| transition(state, at_ms));
    Machine {
        metadata_options: scaling_tests::ledger::MetadataOptions {
            http_endpoint: "enabled".to_owned(),
            http_tokens: "required".to_owned(),
            http_put_response_hop_limit: 1,
        },
        id: id.to_owned(),
        region: "r".to_owned(),
        state: Some("running".to_owned()),
        reservation_id: format!("reservation-{token}"),
        client_token: Some(token.to_owned()),
        image_id: String::new(),
        instance_type: String::new(),
        subnet_id: String::new(),
        security_group_ids: Vec::new(),
        ebs_optimized: true,
        shutdown_behavior: String::new(),
        tags: BTreeMap::from([("scaling:launch".to_owned(), format!("launch-{token}"))]),
        user_data: None,
        ip: String::new(),
        private_ip: String::new(),
        transitions: transitions.into(),
        ended_by: None,
        agent: Some(scaling_tests::ledger::Agent {
            pid: 1,
            ended_at_ms: None,
        }),
    }
}

/// The same, ended then.
pub(crate) fn ended(mut machine: Machine, at_ms: i64, by: &str) -> Machine {
    machine.ended_by = Some(by.to_owned());
    machine.state = Some("terminated".to_owned());
    let ends = ["shutting-down", "terminated"].map(|state| transition(state, at_ms));
    machine.transitions.extend(ends);
    machine
}

fn transition(state: &str, at_ms: i64) -> Transition {
    let state = state.to_owned();
    Transition { state, at_ms }
}

/// A status that an instance was committed to be in.
pub(crate) fn becomes(id: &str, status: &str, at_ms: i64) -> InstanceChange {
    InstanceChange {
        at_us: at_ms * 1000,
        id: id.to_owned(),
        status: Some(status.to_owned()),
        silent_ms: Some(100),
        ..InstanceChange::default()
    }
}

/// A slot of the instance `i-1` that goes from one user to another, or to none.
pub(crate) fn passes(slot: &str, from: Option<&str>, to: Option<&str>, at_ms: i64) -> SlotChange {
    SlotChange {
        at_us: at_ms * 1000,
        id: slot.to_owned(),
        instance_id: "i-1".to_owned(),
        status: Some(to.map_or("WAITING", |_| "ALLOCATED").to_owned()),
        was_user: from.map(str::to_owned),
        user: to.map(str::to_owned),
        session: to.map(|_| format!("session-{slot}")),
    }
}
