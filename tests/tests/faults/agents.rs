//! Stops and continues the host agents' processes.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scaling_tests::ledger::{Agent, Machine};
use scaling_tests::region::Region;
use serde_json::json;

/// Suspends the agents of a region: they neither receive nor send anything.
pub(crate) async fn freeze(region: &Region<'_>) {
    signal(region, Signal::SIGSTOP).await;
}

/// Continues the agents of a region.
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

/// Leaves a finished theme's region as it is. It costs almost nothing from now on.
pub(crate) async fn leave_alone(region: &Region<'_>) {
    region.set(&json!({"paused": true})).await;
    freeze(region).await;
}

/// The number of machines that are starting or running.
pub(crate) fn up(machines: &[Machine]) -> usize {
    machines.iter().filter(|machine| machine.is_up()).count()
}
