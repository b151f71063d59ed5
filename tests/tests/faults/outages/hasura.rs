//! PostgreSQL is in trouble behind Hasura; Hasura hangs and then is down, for the functions and the
//! host agents.

use scaling_tests::deployed::{SOON, schedule};
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use super::{Engine, RegionUsers};
use crate::agents::{freeze, thaw};
use crate::logged_errors::event_logs;

const REGIONS: &str = "list the regions";
const LOOK: &str = "begin a pass";

/// Hasura answers them with status 200.
pub(super) async fn transient_errors_are_asked_once_more(users: &mut RegionUsers<'_>) {
    let region = users.region;
    let deployed = region.deployed;
    for (trouble, said) in [
        ("deadlock", "database query error"),
        ("statement_timeout", "database query error"),
        ("lost_connection", "connection error"),
        ("too_many_connections", "max connections reached"),
    ] {
        let once = ["AssignSlot", "Regions", "BeginPass", "RecordInstances"]
            .map(|operation| json!({"trouble": trouble, "operation": operation, "next": 1}));
        deployed.set_hasura_faults(&json!(once)).await;
        users.assign_one().await;
        region.wait_until_settled_by_events().await;
        let report = region.scheduled().await;
        assert_eq!(report["outcome"], "done", "{trouble}: {report:#}");

        deployed
            .set_hasura_faults(&json!([{"trouble": trouble}]))
            .await;
        users.assert_refused("SERVICE_UNAVAILABLE").await;
        let refused = deployed.refused(&schedule()).await;
        assert!(refused.contains(said), "{trouble}: {refused}");
        deployed.set_hasura_faults(&json!([])).await;
    }
    region.wait_until_settled_by_events().await;
    region.settle().await;
}

pub(super) async fn no_instance_is_lost_while_it_is_down(
    users: &mut RegionUsers<'_>,
    engine: &mut Engine,
) {
    let region = users.region;
    let deployed = region.deployed;
    let (machines, launches) = (region.machines().await, users.launch_calls().await);
    let last = deployed.last_delivery().await;
    // Hasura delivers its events itself: it delivers none while it is down.
    deployed.control_events("POST", "pause", &Value::Null).await;
    users.assign_until_the_buffer_is_low().await;

    let schedule = schedule();
    engine.hang();
    let (refused, ()) = tokio::join!(
        deployed.refused(&schedule),
        users.assert_refused("SERVICE_UNAVAILABLE")
    );
    assert!(refused.contains(REGIONS), "{refused}");
    engine.die().await;
    users.assert_refused("SERVICE_UNAVAILABLE").await;
    let refused = deployed.refused(&schedule).await;
    assert!(refused.contains(REGIONS), "{refused}");
    freeze(&region).await;
    shift_times_by_twenty_minutes(&region).await;
    // Another engine of the same Hasura may continue the deliveries.
    let version = "INSERT INTO app_versions VALUES ('dev', '1.0.0', 'another')";
    deployed.sql.batch_execute(version).await.expect(version);
    deployed.deliver_events().await;
    events_fail(&region, last).await;
    users.assert_no_launch_since(launches).await;

    engine.start_again(deployed).await;
    // No agent has sent a heartbeat for twenty minutes, because none could.
    let report = region.scheduled().await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    let kept = region.rows().await;
    assert!(machines.iter().all(|id| kept.contains(id)), "{report:#}");
    assert!(users.launch_calls().await > launches, "{report:#}");
    thaw(&region).await;
    all_agents_send_heartbeats(&region).await;
    deployed
        .control_events("POST", "retry-now", &Value::Null)
        .await;
    region.wait_until_settled_by_events().await;
    let versions = deployed.deliveries("app_version_changed", last).await;
    let status = &versions.last().expect("a delivery")["status"];
    assert_eq!(*status, 200, "{versions:#?}");
    users.assign_one().await;
    region.wait_until_settled_by_events().await;
    region.settle().await;
}

/// Shifts every time in the database by twenty minutes.
async fn shift_times_by_twenty_minutes(region: &Region<'_>) {
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

/// The wake mark is in DynamoDB, which is up, so that event needs no second delivery. The event
/// whose regions could not be listed is delivered again.
async fn events_fail(region: &Region<'_>, last: i64) {
    let deployed = region.deployed;
    let statuses = async || {
        let of = async |trigger| -> Vec<Value> {
            let deliveries = deployed.deliveries(trigger, last).await;
            deliveries.iter().map(|it| it["status"].clone()).collect()
        };
        (of("region_wake").await, of("app_version_changed").await)
    };
    let seen = |(wakes, versions): &(Vec<Value>, Vec<Value>)| {
        *wakes == [json!(200)] && versions.contains(&json!(503))
    };
    eventually("deliveries", SOON, statuses, seen).await;
    event_logs(region, LOOK).await;
    let keys = deployed.region_state(region.name).await;
    assert!(
        keys.contains(&"WAKE".to_owned()),
        "the wake mark is still set: {keys:?}"
    );
    let events = deployed.control_events("GET", "", &Value::Null).await;
    assert_eq!(events["events"]["pending"], 1, "{events:#}");
}

async fn all_agents_send_heartbeats(region: &Region<'_>) {
    let silent = "SELECT count(*) FROM heartbeats h JOIN instances i ON i.id = h.instance_id
                  WHERE i.region = $1 AND h.beat_at < now() - interval '1 minute'";
    let observe = async || region.count(silent).await;
    eventually("heartbeats", SOON, observe, |silent| *silent == 0).await;
}
