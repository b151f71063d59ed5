//! The functions do not reach DynamoDB, or do not hear from it.

use std::sync::atomic::{AtomicBool, Ordering};

use scaling_tests::deployed::SOON;
use scaling_tests::proxy::{Proxy, Way};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use super::Crowd;
use crate::reports::{events_tell, told_once};
use scaling_tests::crashes::lease_is_over;

const LOCKING: &str = "DynamoDB did not acquire the lock";
const RELEASING: &str = "release the lock";

pub(super) async fn is_down_and_events_wait(crowd: &mut Crowd<'_>, table: &Proxy) {
    let region = crowd.region;
    let deployed = region.deployed;
    let launches = crowd.launch_calls().await;
    let last = deployed.last_delivery().await;
    table.disturb(|_, _| Way::Down);
    crowd.grows_until_the_buffer_is_low().await;
    let statuses = async || -> Vec<Value> {
        let deliveries = deployed.deliveries("region_wake", last).await;
        deliveries.iter().map(|it| it["status"].clone()).collect()
    };
    eventually("a delivery", SOON, statuses, |told| !told.is_empty()).await;
    let report = told_once(&region, LOCKING, region.scheduled()).await;
    assert_eq!(report["outcome"], "failed", "{report:#}");
    let told = statuses().await;
    assert!(told.iter().all(|status| *status == 503), "{told:?}");
    crowd.launched_nothing_since(launches).await;
    crowd.grows().await;

    table.heal();
    // Nobody asks for a pass: the event comes again.
    deployed
        .control_events("POST", "retry-now", &Value::Null)
        .await;
    region.settled_by_events().await;
    assert_eq!(statuses().await.last(), Some(&json!(200)));
}

pub(super) async fn loses_answers_and_is_asked_again(crowd: &mut Crowd<'_>, table: &Proxy) {
    table.take();
    // Of each action.
    table.disturb(|_, nth| if nth == 1 { Way::AnswerLost } else { Way::Open });
    crowd.grows_until_the_buffer_is_low().await;
    crowd.region.settled_by_events().await;
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

pub(super) async fn is_lost_in_the_middle_of_a_pass(crowd: &mut Crowd<'_>, table: &Proxy) {
    let region = crowd.region;
    let is_recorded = AtomicBool::new(false);
    table.disturb(move |action, _| {
        if is_recorded.load(Ordering::Relaxed) {
            return Way::Down;
        }
        // That of the intent, which is followed by the launch.
        is_recorded.store(action == "TransactWriteItems", Ordering::Relaxed);
        Way::Open
    });
    crowd.grows_until_the_buffer_is_low().await;
    events_tell(&region, RELEASING).await;
    region.settled_by_events().await;
    assert_eq!(region.open_intents().await.len(), 1);
    table.heal();
    let report = region.reconcile().await;
    assert_eq!(report["outcome"], "busy", "the lock is held: {report:#}");
    lease_is_over(&region).await;
    region.settle().await;
}
