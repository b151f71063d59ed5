//! A host agent that dies while its machine goes on.

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::json;

use crate::agents::leave_alone;
use crate::reports::{told, told_by_events};
use crate::world::{AGENTS, filled};

const HEARTBEAT_SECONDS: u32 = 3;
const LOST_SECONDS: u32 = 9;

pub(crate) async fn is_given_up_in_time(deployed: &Deployed) {
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
    region.settled_by_events().await;
    its_agent_dies(&region, &host).await;
    nobody_is_sent_there(&region, &host).await;
    it_is_lost_and_replaced(&region, &host).await;

    let moved = region.assigned("ann").await;
    assert_ne!(region.host_of("ann").await, host, "{moved:#?}");
    region.settle().await;
    region.promises_kept().await;
    leave_alone(&region).await;
    deployed
        .set_pace(&json!({"agent": {"heartbeat_ms": 2_000}}))
        .await;
}

async fn its_agent_dies(region: &Region<'_>, host: &str) {
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

/// Nor counted on: the buffer is filled up elsewhere.
async fn nobody_is_sent_there(region: &Region<'_>, host: &str) {
    let silent = format!(
        "SELECT count(*) FROM heartbeats h JOIN instances i ON i.id = h.instance_id
         WHERE i.region = $1 AND h.beat_at < now() - interval '{HEARTBEAT_SECONDS} s'"
    );
    let look = async || region.count(&silent).await;
    eventually("silence", SOON, look, |silent| *silent == 1).await;
    // It has fewer free slots than the others, and would be the first choice.
    for user in ["bob", "cid"] {
        region.assigned(user).await;
        assert_ne!(region.host_of(user).await, host, "{user}");
    }
    let elsewhere = "SELECT count(*) FROM slots s JOIN instances i ON i.id = s.instance_id
                     WHERE i.region = $1 AND s.status = 'WAITING' AND i.status = 'ACTIVE'";
    let free = async || region.count(elsewhere).await;
    eventually("free slots", SOON, free, |free| *free > 4).await;
}

async fn it_is_lost_and_replaced(region: &Region<'_>, host: &str) {
    let pass = async || {
        let report = region.reconcile().await;
        (region.rows().await.contains(&host.to_owned()), report)
    };
    eventually("it is gone", SOON, pass, |(is_there, _)| !is_there).await;
    let lost = "lost: no heartbeat";
    let look = async || told(region, lost).await + told_by_events(region, lost).await;
    let told = eventually(lost, SOON, look, |told| *told > 0).await;
    assert_eq!(told, 1, "it is told once");

    let machines = region.launched().await;
    let machine = machines.iter().find(|machine| machine.id == host).unwrap();
    assert_eq!(machine.ended_by.as_deref(), Some("user"));
    let ended = machines.iter().filter(|it| it.ended_by.is_some());
    assert_eq!(ended.count(), 1, "and nobody else was given up");
}
