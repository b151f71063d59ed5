//! The host agents' processes, stopped and let go on.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scaling_tests::ledger::{Agent, Machine};
use scaling_tests::region::Region;
use serde_json::json;

/// The agents of a region stand still: they hear and say nothing.
pub(crate) async fn freeze(region: &Region<'_>) {
    signal(region, Signal::SIGSTOP).await;
}

/// And go on.
pub(crate) async fn thaw(region: &Region<'_>) {
    signal(region, Signal::SIGCONT).await;
}

async fn signal(region: &Region<'_>, signal: Signal) {
    let machines = region.launched().await;
    let running = machines.iter().filter(|machine| machine.is_up());
    for Agent { pid, ended_at_ms } in running.filter_map(|machine| machine.agent.as_ref()) {
        if ended_at_ms.is_none() {
            kill(Pid::from_raw(*pid), signal).expect("the agent runs");
        }
    }
}

/// A theme is over: its region stays as it is, and costs next to nothing from now on.
pub(crate) async fn leave_alone(region: &Region<'_>) {
    region.set(&json!({"paused": true})).await;
    freeze(region).await;
}

/// What EC2 has of a region.
pub(crate) fn up(machines: &[Machine]) -> usize {
    machines.iter().filter(|machine| machine.is_up()).count()
}
