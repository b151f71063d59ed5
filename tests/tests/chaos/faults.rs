//! Other faults: EC2's calls, machines that never boot or lose their agents, and events.

use std::sync::atomic::{AtomicBool, Ordering};

use local_stack::random::Random;
use scaling_tests::deployed::Deployed;
use serde_json::{Value, json};

use crate::regions::REGIONS;

/// Each database event may be duplicated, delayed, reordered or dropped.
pub(crate) async fn disturb_database_events(deployed: &Deployed, seed: u64) {
    let faults = json!({"seed": seed, "rules": [
        {"share": 0.15, "action": {"duplicate": {"copies": 2, "after_ms": 400}}},
        {"share": 0.15, "action": {"reorder": {"window": 3, "within_ms": 1500}}},
        {"share": 0.10, "action": {"delay": {"ms": 1500}}},
        {"share": 0.05, "action": "drop"},
    ]});
    deployed.control_events("PUT", "faults", &faults).await;
}

/// Removes all faults.
pub(crate) async fn clear_faults(deployed: &Deployed) {
    deployed.set_faults(&json!({})).await;
    deployed.control_events("PUT", "faults", &json!({})).await;
}

/// Changes EC2's faults every second or two.
pub(crate) async fn change_ec2_faults(deployed: &Deployed, mut random: Random, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let faults = json!({
            "calls": [call_fault(&mut random)],
            "capacity": if random.chance(25) { json!([no_capacity(&mut random)]) } else { json!([]) },
            "instances": if random.chance(40) { json!([machine_fault(&mut random)]) } else { json!([]) },
            "events": [event_fault(&mut random)],
        });
        deployed.set_faults(&faults).await;
        tokio::time::sleep(random.millis(800, 2_000)).await;
    }
}

fn call_fault(random: &mut Random) -> Value {
    let all = [
        json!({"on": {"action": "RunInstances"}, "effect": "lost", "times": 2}),
        json!({"on": {"action": "RunInstances"}, "effect": {"error": "InternalError"}, "times": 3}),
        json!({"on": {"action": "RunInstances"}, "effect": {"delay_ms": 700}, "times": 4}),
        json!({"on": {"action": "TerminateInstances"}, "effect": "lost", "times": 2}),
        json!({"on": {"action": "Describe*"}, "effect": {"error": "Unavailable"}, "times": 3}),
        json!({"on": {"action": "Describe*"}, "effect": {"delay_ms": 400}, "times": 3}),
        json!({"effect": "outage", "times": 3}),
    ];
    random.pick(&all).clone()
}

/// Capacity for no or one machine in one region.
fn no_capacity(random: &mut Random) -> Value {
    json!({"region": random.pick(&REGIONS), "available": random.below(2)})
}

fn machine_fault(random: &mut Random) -> Value {
    if random.chance(50) {
        json!({"effect": "no_boot", "times": 1})
    } else {
        json!({"effect": {"agent_dies": {"after_ms": 1500}}, "times": 1})
    }
}

fn event_fault(random: &mut Random) -> Value {
    let all = [
        json!({"effect": {"duplicate": 1}, "times": 3}),
        json!({"effect": {"delay_ms": 1000}, "times": 3}),
        json!({"effect": {"reorder": {"count": 3, "within_ms": 1500}}, "times": 3}),
        json!({"effect": "drop", "times": 1}),
    ];
    random.pick(&all).clone()
}
