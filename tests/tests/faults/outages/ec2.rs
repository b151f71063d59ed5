//! No call reaches EC2, in any region.

use serde_json::json;

use super::{Crowd, TARGET};
use crate::reports::{event_logs, logs_once};

const LISTING: &str = "list machines";

pub(super) async fn users_are_served_from_the_buffer_while_it_is_down(crowd: &mut Crowd<'_>) {
    let region = crowd.region;
    let launches = crowd.launch_calls().await;
    let outage = json!({"calls": [{"effect": "outage"}]});
    region.deployed.set_faults(&outage).await;
    for _ in 0..TARGET {
        crowd.grows().await;
    }
    crowd.is_refused("NO_INSTANCE_AVAILABLE").await;
    region.wait_until_settled_by_events().await;
    event_logs(&region, LISTING).await;
    let report = logs_once(&region, LISTING, region.scheduled()).await;
    assert_eq!(report["outcome"], "failed", "{report:#}");
    crowd.launched_nothing_since(launches).await;
    let keys = region.deployed.region_state(region.name).await;
    assert!(
        keys.contains(&"WAKE".to_owned()),
        "the wake mark is still set: {keys:?}"
    );

    region.deployed.set_faults(&json!({})).await;
    let report = region.scheduled().await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    region.settle().await;
    crowd.grows().await;
    region.wait_until_settled_by_events().await;
}
