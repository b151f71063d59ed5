//! The functions cannot reach DynamoDB, or do not receive its answers.

use std::sync::atomic::{AtomicBool, Ordering};

use scaling_tests::deployed::SOON;
use scaling_tests::proxy::{Handling, Proxy};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use super::RegionUsers;
use crate::logged_errors::{event_logs, logs_once};
use scaling_tests::crashes::expire_lease;

const LOCKING: &str = "DynamoDB did not acquire the lock";
const RELEASING: &str = "release the lock";

pub(super) async fn events_wait_while_it_is_down(users: &mut RegionUsers<'_>, table: &Proxy) {
    let region = users.region;
    let deployed = region.deployed;
    let launches = users.launch_calls().await;
    let last = deployed.last_delivery().await;
    table.disturb(|_, _| Handling::Refused);
    users.assign_until_the_buffer_is_low().await;
    let statuses = async || -> Vec<Value> {
        let deliveries = deployed.deliveries("region_wake", last).await;
        deliveries.iter().map(|it| it["status"].clone()).collect()
    };
    eventually("a delivery", SOON, statuses, |seen| !seen.is_empty()).await;
    let report = logs_once(&region, LOCKING, region.scheduled()).await;
    assert_eq!(report["outcome"], "failed", "{report:#}");
    let seen = statuses().await;
    assert!(seen.iter().all(|status| *status == 503), "{seen:?}");
    users.assert_no_launch_since(launches).await;
    users.assign_one().await;

    table.heal();
    // Only the event's redelivery causes the pass.
    deployed
        .control_events("POST", "retry-now", &Value::Null)
        .await;
    region.wait_until_settled_by_events().await;
    assert_eq!(statuses().await.last(), Some(&json!(200)));
}

pub(super) async fn lost_answers_are_requested_again(users: &mut RegionUsers<'_>, table: &Proxy) {
    table.take();
    // One call of each action.
    table.disturb(|_, nth| {
        if nth == 1 {
            Handling::AnswerDropped
        } else {
            Handling::Forwarded
        }
    });
    users.assign_until_the_buffer_is_low().await;
    users.region.wait_until_settled_by_events().await;
    table.heal();
    let actions = table.take();
    for action in [
        "GetItem",
        "PutItem",
        "UpdateItem",
        "Query",
        "TransactWriteItems",
    ] {
        let times = actions.iter().filter(|name| *name == action).count();
        assert!(times >= 2, "{action} was not disturbed: {actions:?}");
    }
}

pub(super) async fn is_lost_during_a_pass(users: &mut RegionUsers<'_>, table: &Proxy) {
    let region = users.region;
    let is_recorded = AtomicBool::new(false);
    table.disturb(move |action, _| {
        if is_recorded.load(Ordering::Relaxed) {
            return Handling::Refused;
        }
        // The answer to opening the intent, which the launch follows.
        is_recorded.store(action == "TransactWriteItems", Ordering::Relaxed);
        Handling::Forwarded
    });
    users.assign_until_the_buffer_is_low().await;
    event_logs(&region, RELEASING).await;
    region.wait_until_settled_by_events().await;
    assert_eq!(region.open_intents().await.len(), 1);
    table.heal();
    let report = region.reconcile().await;
    assert_eq!(report["outcome"], "busy", "the lock is held: {report:#}");
    expire_lease(&region).await;
    region.settle().await;
}
