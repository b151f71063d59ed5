//! What goes wrong besides: EC2's calls, machines that never come up or lose their agents, events
//! on their way.

use std::sync::atomic::{AtomicBool, Ordering};

use local_stack::random::Random;
use scaling_tests::deployed::Deployed;
use serde_json::{Value, json};

use crate::regions::REGIONS;

/// Each database event may come twice, late, out of order, or not at all.
pub(crate) async fn disturb_database_events(deployed: &Deployed, seed: u64) {
    let faults = json!({"seed": seed, "rules": [
        {"share": 0.15, "action": {"duplicate": {"copies": 2, "after_ms": 400}}},
        {"share": 0.15, "action": {"reorder": {"window": 3, "within_ms": 1500}}},
        {"share": 0.10, "action": {"delay": {"ms": 1500}}},
        {"share": 0.05, "action": "drop"},
    ]});
    deployed.control_events("PUT", "faults", &faults).await;
}

/// Everything is well again.
pub(crate) async fn clear_faults(deployed: &Deployed) {
    deployed.set_faults(&json!({})).await;
    deployed.control_events("PUT", "faults", &json!({})).await;
}

/// Other faults of EC2 every second or two.
pub(crate) async fn turns(deployed: &Deployed, mut dice: Random, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let faults = json!({
            "calls": [call_fault(&mut dice)],
            "capacity": if dice.chance(25) { json!([no_room(&mut dice)]) } else { json!([]) },
            "instances": if dice.chance(40) { json!([machine_fault(&mut dice)]) } else { json!([]) },
            "events": [event_fault(&mut dice)],
        });
        deployed.set_faults(&faults).await;
        tokio::time::sleep(dice.millis(800, 2_000)).await;
    }
}

fn call_fault(dice: &mut Random) -> Value {
    let all = [
        json!({"on": {"action": "RunInstances"}, "effect": "lost", "times": 2}),
        json!({"on": {"action": "RunInstances"}, "effect": {"error": "InternalError"}, "times": 3}),
        json!({"on": {"action": "RunInstances"}, "effect": {"delay_ms": 700}, "times": 4}),
        json!({"on": {"action": "TerminateInstances"}, "effect": "lost", "times": 2}),
        json!({"on": {"action": "Describe*"}, "effect": {"error": "Unavailable"}, "times": 3}),
        json!({"on": {"action": "Describe*"}, "effect": {"delay_ms": 400}, "times": 3}),
        json!({"effect": "outage", "times": 3}),
    ];
    dice.pick(&all).clone()
}

/// In one region, or in half of all subnets there is no room.
fn no_room(dice: &mut Random) -> Value {
    json!({"region": dice.pick(&REGIONS), "available": dice.below(2)})
}

fn machine_fault(dice: &mut Random) -> Value {
    if dice.chance(50) {
        json!({"effect": "no_boot", "times": 1})
    } else {
        json!({"effect": {"agent_dies": {"after_ms": 1500}}, "times": 1})
    }
}

fn event_fault(dice: &mut Random) -> Value {
    let all = [
        json!({"effect": {"duplicate": 1}, "times": 3}),
        json!({"effect": {"delay_ms": 1000}, "times": 3}),
        json!({"effect": {"reorder": {"count": 3, "within_ms": 1500}}, "times": 3}),
        json!({"effect": "drop", "times": 1}),
    ];
    dice.pick(&all).clone()
}
