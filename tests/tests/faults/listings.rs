//! EC2's listings are late or incomplete; and then most of the instances really are gone.

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::plans::alerts_to;
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::agents::leave_alone;
use crate::logged_errors::pass_logs;
use crate::world::{LISTINGS, filled};

const INSTANCES: usize = 5;
const MISSING_SECONDS: i64 = 2;

pub(crate) async fn wrong_listings_remove_nothing(deployed: &Deployed) {
    deployed
        .set_faults(&on_listings(&json!({"listing_lag_ms": 60_000})))
        .await;
    let settings = json!({
        "target_free": 2 * INSTANCES,
        "max_instances": 3 * INSTANCES,
        "missing_seconds": MISSING_SECONDS,
    });
    let region = filled(deployed, LISTINGS, 2, settings).await;
    late_listing_launches_nothing_twice(&region).await;
    let answer = region.assigned("ann").await;
    region.wait_until_settled_by_events().await;
    age_the_instances(&region).await;
    listing_without_many_stops_at_the_guard(&region).await;
    listing_without_one_is_verified(&region).await;
    let again = region.assigned("ann").await;
    assert_eq!(again.body, answer.body, "the user keeps the slot");
    complete_listing_without_most_waits_for_approval(&region).await;
    region.assert_invariants().await;
    leave_alone(&region).await;
}

fn on_listings(effect: &Value) -> Value {
    let on = json!({"region": LISTINGS, "action": "DescribeInstances"});
    json!({"calls": [{"on": on, "effect": effect}]})
}

async fn late_listing_launches_nothing_twice(region: &Region<'_>) {
    for _ in 0..2 {
        let report = region.reconcile().await;
        assert_eq!(report["outcome"], "done", "{report:#}");
        assert_eq!(report["plan"]["steps"], json!([]), "{report:#}");
    }
    assert_eq!(region.launched().await.len(), INSTANCES);
    region.deployed.set_faults(&json!({})).await;
    region.settle().await;
}

/// Makes the instances older: young ones are not treated as missing, since listings lag.
async fn age_the_instances(region: &Region<'_>) {
    let sql = "UPDATE instances SET launched_at = launched_at - interval '10 minutes'
               WHERE region = $1";
    let changed = region.deployed.sql.execute(sql, &[&region.name]).await;
    assert!(changed.expect(sql) > INSTANCES as u64);
}

/// Asserts that each of them has a row, a machine and an agent.
async fn assert_all_exist(region: &Region<'_>, before: &[String]) {
    assert_eq!(region.rows().await, before);
    assert_eq!(region.machines().await, before);
    assert!(region.calls("TerminateInstances").await.is_empty());
}

async fn listing_without_many_stops_at_the_guard(region: &Region<'_>) {
    let before = region.machines().await;
    let many = on_listings(&json!({"leave_out_oldest": 4}));
    region.deployed.set_faults(&many).await;
    let report = pass_logs(region, "guard: 4 gone").await;
    assert!(alerts_to(&report["plan"], "guard"), "{report:#}");
    wait_until_missing(region, 4).await;
    let report = pass_logs(region, "guard: 4 gone").await;
    assert_eq!(report["plan"]["steps"], json!([]), "{report:#}");
    assert_all_exist(region, &before).await;
}

/// Waits until this many instances have been missing for long enough to be removed.
async fn wait_until_missing(region: &Region<'_>, instances: i64) {
    let long = format!(
        "SELECT count(*) FROM instances
         WHERE region = $1 AND missing_since < now() - interval '{MISSING_SECONDS} s'"
    );
    let observe = async || region.count(&long).await;
    eventually("missing", SOON, observe, |missing| *missing == instances).await;
}

async fn listing_without_one_is_verified(region: &Region<'_>) {
    let before = region.machines().await;
    let host = region.host_of("ann").await;
    let one = on_listings(&json!({"leave_out": [host]}));
    region.deployed.set_faults(&one).await;
    // Instances that are listed again are recorded as such.
    region.reconcile().await;
    wait_until_missing(region, 1).await;
    let report = pass_logs(region, "but EC2 knows its id").await;
    assert!(
        alerts_to(&report["plan"], "not_listed_but_known"),
        "{report:#}"
    );
    assert_eq!(report["plan"]["steps"], json!([]), "{report:#}");
    assert_all_exist(region, &before).await;

    region.deployed.set_faults(&json!({})).await;
    region.settle().await;
    wait_until_missing(region, 0).await;
    assert_all_exist(region, &before).await;
}

/// EC2 terminates most of them at once.
async fn complete_listing_without_most_waits_for_approval(region: &Region<'_>) {
    let taken = region.machines().await.split_off(1);
    let rows = region.rows().await;
    let interruption = json!({"interrupt": {"warning_ms": 0, "action": "terminate"}});
    let faults: Vec<_> = taken
        .iter()
        .map(|id| json!({"on": {"instance_id": id}, "effect": interruption}))
        .collect();
    // EC2's events would announce the terminations, so they are dropped.
    let lost = json!([{"on": {"region": region.name}, "effect": "drop"}]);
    let faults = json!({"instances": faults, "events": lost});
    region.deployed.set_faults(&faults).await;
    let gone = async || {
        let machines = region.launched().await;
        machines.iter().filter(|it| it.ended_by.is_some()).count()
    };
    eventually("interruptions", SOON, gone, |gone| *gone == taken.len()).await;
    // The listing lags a little.
    let note = format!("guard: {} gone", taken.len());
    let pass = async || region.reconcile().await;
    eventually(&note, SOON, pass, |report| {
        report.to_string().contains(&note)
    })
    .await;
    let kept = region.rows().await;
    assert!(rows.iter().all(|id| kept.contains(id)), "{kept:?}");
    assert!(kept.len() > rows.len(), "the missing capacity was launched");

    let approval = json!({"regions": [region.name], "approve_mass_removal": true});
    let report = region.deployed.invoke(&approval).await;
    assert_eq!(region.part_of(&report)["outcome"], "done", "{report:#}");
    region.settle().await;
    let left = region.rows().await;
    assert!(taken.iter().all(|id| !left.contains(id)), "{left:?}");
    region.deployed.set_faults(&json!({})).await;
}
