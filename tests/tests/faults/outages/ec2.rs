//! Nothing gets through to EC2, anywhere.

use serde_json::json;

use super::{Crowd, TARGET};
use crate::reports::{events_tell, told_once};

const LISTING: &str = "list machines";

pub(super) async fn is_down_and_users_are_served_from_the_buffer(crowd: &mut Crowd<'_>) {
    let region = crowd.region;
    let launches = crowd.launch_calls().await;
    let outage = json!({"calls": [{"effect": "outage"}]});
    region.deployed.set_faults(&outage).await;
    for _ in 0..TARGET {
        crowd.grows().await;
    }
    crowd.is_refused("NO_INSTANCE_AVAILABLE").await;
    region.settled_by_events().await;
    events_tell(&region, LISTING).await;
    let report = told_once(&region, LISTING, region.scheduled()).await;
    assert_eq!(report["outcome"], "failed", "{report:#}");
    crowd.launched_nothing_since(launches).await;
    let memory = region.deployed.region_state(region.name).await;
    assert!(
        memory.contains(&"WAKE".to_owned()),
        "still wanted: {memory:?}"
    );

    region.deployed.set_faults(&json!({})).await;
    let report = region.scheduled().await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    region.settle().await;
    crowd.grows().await;
    region.settled_by_events().await;
}
