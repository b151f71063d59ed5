//! No call reaches EC2, in any region.

use serde_json::json;

use super::{RegionUsers, TARGET};
use crate::logged_errors::{event_logs, logs_once};

const LISTING: &str = "list machines";

pub(super) async fn users_are_served_from_the_buffer_while_it_is_down(users: &mut RegionUsers<'_>) {
    let region = users.region;
    let launches = users.launch_calls().await;
    let outage = json!({"calls": [{"effect": "outage"}]});
    region.deployed.set_faults(&outage).await;
    for _ in 0..TARGET {
        users.assign_one().await;
    }
    users.assert_refused("NO_INSTANCE_AVAILABLE").await;
    region.wait_until_settled_by_events().await;
    event_logs(&region, LISTING).await;
    let report = logs_once(&region, LISTING, region.scheduled()).await;
    assert_eq!(report["outcome"], "failed", "{report:#}");
    users.assert_no_launch_since(launches).await;
    let keys = region.deployed.region_state(region.name).await;
    assert!(
        keys.contains(&"WAKE".to_owned()),
        "the wake mark is still set: {keys:?}"
    );

    region.deployed.set_faults(&json!({})).await;
    let report = region.scheduled().await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    region.settle().await;
    users.assign_one().await;
    region.wait_until_settled_by_events().await;
}
