//! Hasura hangs, and then is not there: for the functions, for the host agents, for everybody.

use scaling_tests::deployed::{SOON, schedule};
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use super::{Crowd, Engine};
use crate::agents::{freeze, thaw};
use crate::reports::events_tell;

const REGIONS: &str = "list the regions";
const LOOK: &str = "begin a pass";

pub(super) async fn is_down_and_nobody_is_given_up(crowd: &mut Crowd<'_>, engine: &mut Engine) {
    let region = crowd.region;
    let deployed = region.deployed;
    let (machines, launches) = (region.machines().await, crowd.launch_calls().await);
    let last = deployed.last_delivery().await;
    // Hasura brings its events itself: none while it is down.
    deployed.control_events("POST", "pause", &Value::Null).await;
    crowd.grows_until_the_buffer_is_low().await;

    let schedule = schedule();
    engine.hang();
    let (refused, ()) = tokio::join!(
        deployed.refused(&schedule),
        crowd.is_refused("SERVICE_UNAVAILABLE")
    );
    assert!(refused.contains(REGIONS), "{refused}");
    engine.die().await;
    crowd.is_refused("SERVICE_UNAVAILABLE").await;
    let refused = deployed.refused(&schedule).await;
    assert!(refused.contains(REGIONS), "{refused}");
    freeze(&region).await;
    twenty_minutes_pass(&region).await;
    // Another engine of the same Hasura may go on bringing them.
    let version = "INSERT INTO app_versions VALUES ('dev', '1.0.0', 'another')";
    deployed.sql.batch_execute(version).await.expect(version);
    deployed.deliver_events().await;
    events_come_to_nothing(&region, last).await;
    crowd.launched_nothing_since(launches).await;

    engine.start_again(deployed).await;
    // No agent has been heard of for twenty minutes; none could have been heard.
    let report = region.scheduled().await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    let kept = region.rows().await;
    assert!(machines.iter().all(|id| kept.contains(id)), "{report:#}");
    assert!(crowd.launch_calls().await > launches, "{report:#}");
    thaw(&region).await;
    all_are_heard_of(&region).await;
    deployed
        .control_events("POST", "retry-now", &Value::Null)
        .await;
    region.settled_by_events().await;
    let versions = deployed.deliveries("app_version_changed", last).await;
    let status = &versions.last().expect("a delivery")["status"];
    assert_eq!(*status, 200, "{versions:#?}");
    crowd.grows().await;
    region.settled_by_events().await;
    region.settle().await;
}

/// For the database, and for all who have written down a time in it.
async fn twenty_minutes_pass(region: &Region<'_>) {
    let sql = format!(
        "UPDATE heartbeats h SET beat_at = beat_at - interval '20 minutes'
         FROM instances i WHERE i.id = h.instance_id AND i.region = '{0}';
         UPDATE region_fences SET last_pass_at = last_pass_at - interval '20 minutes',
             watched_since = watched_since - interval '20 minutes'
         WHERE region = '{0}'",
        region.name
    );
    region.deployed.sql.batch_execute(&sql).await.expect(&sql);
}

/// The wake is kept in DynamoDB, which is there, and needs no second delivery; the event whose
/// regions could not be listed comes again.
async fn events_come_to_nothing(region: &Region<'_>, last: i64) {
    let deployed = region.deployed;
    let statuses = async || {
        let of = async |trigger| -> Vec<Value> {
            let deliveries = deployed.deliveries(trigger, last).await;
            deliveries.iter().map(|it| it["status"].clone()).collect()
        };
        (of("region_wake").await, of("app_version_changed").await)
    };
    let told = |(wakes, versions): &(Vec<Value>, Vec<Value>)| {
        *wakes == [json!(200)] && versions.contains(&json!(503))
    };
    eventually("deliveries", SOON, statuses, told).await;
    events_tell(region, LOOK).await;
    let memory = deployed.region_state(region.name).await;
    assert!(
        memory.contains(&"WAKE".to_owned()),
        "still wanted: {memory:?}"
    );
    let events = deployed.control_events("GET", "", &Value::Null).await;
    assert_eq!(events["events"]["pending"], 1, "{events:#}");
}

async fn all_are_heard_of(region: &Region<'_>) {
    let silent = "SELECT count(*) FROM heartbeats h JOIN instances i ON i.id = h.instance_id
                  WHERE i.region = $1 AND h.beat_at < now() - interval '1 minute'";
    let look = async || region.count(silent).await;
    eventually("heartbeats", SOON, look, |silent| *silent == 0).await;
}
