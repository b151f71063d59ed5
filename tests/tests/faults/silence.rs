//! A host agent that dies while its machine runs on.

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::json;

use crate::agents::leave_alone;
use crate::logged_errors::{errors_logged, errors_logged_for_events};
use crate::world::{AGENTS, filled};

const HEARTBEAT_SECONDS: u32 = 3;
const LOST_SECONDS: u32 = 9;

pub(crate) async fn replaces_the_instance_in_time(deployed: &Deployed) {
    deployed
        .set_pace(&json!({"agent": {"heartbeat_ms": 500}}))
        .await;
    let settings = json!({
        "target_free": 4,
        "max_instances": 5,
        "heartbeat_seconds": HEARTBEAT_SECONDS,
        "lost_seconds": LOST_SECONDS,
    });
    let region = filled(deployed, AGENTS, 2, settings).await;
    region.assigned("ann").await;
    let host = region.host_of("ann").await;
    region.wait_until_settled_by_events().await;
    agent_dies(&region, &host).await;
    no_user_is_assigned_there(&region, &host).await;
    instance_is_lost_and_replaced(&region, &host).await;

    let moved = region.assigned("ann").await;
    assert_ne!(region.host_of("ann").await, host, "{moved:#?}");
    region.settle().await;
    region.assert_invariants().await;
    leave_alone(&region).await;
    deployed
        .set_pace(&json!({"agent": {"heartbeat_ms": 2_000}}))
        .await;
}

async fn agent_dies(region: &Region<'_>, host: &str) {
    let on = json!({"instance_id": host});
    let faults = json!({"instances": [{"on": on, "effect": {"agent_dies": {}}}]});
    region.deployed.set_faults(&faults).await;
    let died = async || {
        let machines = region.launched().await;
        let machine = machines.into_iter().find(|machine| machine.id == host);
        machine.unwrap().agent.unwrap().ended_at_ms.is_some()
    };
    eventually("the agent's death", SOON, died, |died| *died).await;
}

/// The instance is not counted either: the buffer is filled on others.
async fn no_user_is_assigned_there(region: &Region<'_>, host: &str) {
    let silent = format!(
        "SELECT count(*) FROM heartbeats h JOIN instances i ON i.id = h.instance_id
         WHERE i.region = $1 AND h.beat_at < now() - interval '{HEARTBEAT_SECONDS} s'"
    );
    let observe = async || region.count(&silent).await;
    eventually("silence", SOON, observe, |silent| *silent == 1).await;
    // It has fewer free slots than the others and would be the first choice.
    for user in ["bob", "cid"] {
        region.assigned(user).await;
        assert_ne!(region.host_of(user).await, host, "{user}");
    }
    let elsewhere = "SELECT count(*) FROM slots s JOIN instances i ON i.id = s.instance_id
                     WHERE i.region = $1 AND s.status = 'WAITING' AND i.status = 'ACTIVE'";
    let free = async || region.count(elsewhere).await;
    eventually("free slots", SOON, free, |free| *free > 4).await;
}

async fn instance_is_lost_and_replaced(region: &Region<'_>, host: &str) {
    let pass = async || {
        let report = region.reconcile().await;
        (region.rows().await.contains(&host.to_owned()), report)
    };
    eventually("the removal", SOON, pass, |(is_listed, _)| !is_listed).await;
    let lost = "lost: no heartbeat";
    let observe =
        async || errors_logged(region, lost).await + errors_logged_for_events(region, lost).await;
    let logged = eventually(lost, SOON, observe, |logged| *logged > 0).await;
    assert_eq!(logged, 1, "reported once");

    let machines = region.launched().await;
    let machine = machines.iter().find(|machine| machine.id == host).unwrap();
    assert_eq!(machine.ended_by.as_deref(), Some("user"));
    let ended = machines.iter().filter(|it| it.ended_by.is_some());
    assert_eq!(ended.count(), 1, "no other machine was terminated");
}
