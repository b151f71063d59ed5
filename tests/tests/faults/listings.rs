//! What EC2 lists is late, or not all there is; and then it is true that most of it is gone.

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::plans::alerts_to;
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::agents::leave_alone;
use crate::reports::pass_tells;
use crate::world::{LISTINGS, filled};

const INSTANCES: usize = 5;
const MISSING_SECONDS: i64 = 2;

pub(crate) async fn that_are_wrong_remove_nothing(deployed: &Deployed) {
    deployed
        .set_faults(&on_listings(&json!({"listing_lag_ms": 60_000})))
        .await;
    let settings = json!({
        "target_free": 2 * INSTANCES,
        "max_instances": 3 * INSTANCES,
        "missing_seconds": MISSING_SECONDS,
    });
    let region = filled(deployed, LISTINGS, 2, settings).await;
    late_ones_launch_nothing_twice(&region).await;
    let answer = region.assigned("ann").await;
    region.settled_by_events().await;
    old_enough_to_be_missed(&region).await;
    that_lack_many_stop_at_the_guard(&region).await;
    that_lack_one_are_doubted(&region).await;
    let again = region.assigned("ann").await;
    assert_eq!(again.body, answer.body, "she is where she was");
    that_are_true_wait_for_an_operators_word(&region).await;
    region.promises_kept().await;
    leave_alone(&region).await;
}

fn on_listings(effect: &Value) -> Value {
    let on = json!({"region": LISTINGS, "action": "DescribeInstances"});
    json!({"calls": [{"on": on, "effect": effect}]})
}

async fn late_ones_launch_nothing_twice(region: &Region<'_>) {
    for _ in 0..2 {
        let report = region.reconcile().await;
        assert_eq!(report["outcome"], "done", "{report:#}");
        assert_eq!(report["plan"]["steps"], json!([]), "{report:#}");
    }
    assert_eq!(region.launched().await.len(), INSTANCES);
    region.deployed.set_faults(&json!({})).await;
    region.settle().await;
}

/// As if they had been launched a while ago: young ones are not missed, since listings lag.
async fn old_enough_to_be_missed(region: &Region<'_>) {
    let sql = "UPDATE instances SET launched_at = launched_at - interval '10 minutes'
               WHERE region = $1";
    let changed = region.deployed.sql.execute(sql, &[&region.name]).await;
    assert!(changed.expect(sql) > INSTANCES as u64);
}

/// A row, a machine and an agent each for all of them.
async fn all_are_there(region: &Region<'_>, before: &[String]) {
    assert_eq!(region.rows().await, before);
    assert_eq!(region.machines().await, before);
    assert!(region.calls("TerminateInstances").await.is_empty());
}

async fn that_lack_many_stop_at_the_guard(region: &Region<'_>) {
    let before = region.machines().await;
    let many = on_listings(&json!({"leave_out_oldest": 4}));
    region.deployed.set_faults(&many).await;
    let report = pass_tells(region, "guard: 4 gone").await;
    assert!(alerts_to(&report["plan"], "guard"), "{report:#}");
    missed_for_long(region, 4).await;
    let report = pass_tells(region, "guard: 4 gone").await;
    assert_eq!(report["plan"]["steps"], json!([]), "{report:#}");
    all_are_there(region, &before).await;
}

/// Waits until so many have been missing for long enough to be removed.
async fn missed_for_long(region: &Region<'_>, instances: i64) {
    let long = format!(
        "SELECT count(*) FROM instances
         WHERE region = $1 AND missing_since < now() - interval '{MISSING_SECONDS} s'"
    );
    let look = async || region.count(&long).await;
    eventually("missing", SOON, look, |missing| *missing == instances).await;
}

async fn that_lack_one_are_doubted(region: &Region<'_>) {
    let before = region.machines().await;
    let host = region.host_of("ann").await;
    let one = on_listings(&json!({"leave_out": [host]}));
    region.deployed.set_faults(&one).await;
    // Those that are listed again are noted as such.
    region.reconcile().await;
    missed_for_long(region, 1).await;
    let report = pass_tells(region, "but EC2 knows its id").await;
    assert!(
        alerts_to(&report["plan"], "not_listed_but_known"),
        "{report:#}"
    );
    assert_eq!(report["plan"]["steps"], json!([]), "{report:#}");
    all_are_there(region, &before).await;

    region.deployed.set_faults(&json!({})).await;
    region.settle().await;
    missed_for_long(region, 0).await;
    all_are_there(region, &before).await;
}

/// EC2 takes most of them at once.
async fn that_are_true_wait_for_an_operators_word(region: &Region<'_>) {
    let taken = region.machines().await.split_off(1);
    let rows = region.rows().await;
    let interruption = json!({"interrupt": {"warning_ms": 0, "action": "terminate"}});
    let faults: Vec<_> = taken
        .iter()
        .map(|id| json!({"on": {"instance_id": id}, "effect": interruption}))
        .collect();
    // What EC2 announces is no wrong view of the world: so its events get lost.
    let lost = json!([{"on": {"region": region.name}, "effect": "drop"}]);
    let faults = json!({"instances": faults, "events": lost});
    region.deployed.set_faults(&faults).await;
    let gone = async || {
        let machines = region.launched().await;
        machines.iter().filter(|it| it.ended_by.is_some()).count()
    };
    eventually("interruptions", SOON, gone, |gone| *gone == taken.len()).await;
    // The listing lags a little.
    let told = format!("guard: {} gone", taken.len());
    let pass = async || region.reconcile().await;
    eventually(&told, SOON, pass, |report| {
        report.to_string().contains(&told)
    })
    .await;
    let kept = region.rows().await;
    assert!(rows.iter().all(|id| kept.contains(id)), "{kept:?}");
    assert!(kept.len() > rows.len(), "but what is missing is launched");

    let word = json!({"regions": [region.name], "approve_mass_removal": true});
    let report = region.deployed.invoke(&word).await;
    assert_eq!(region.part_of(&report)["outcome"], "done", "{report:#}");
    region.settle().await;
    let left = region.rows().await;
    assert!(taken.iter().all(|id| !left.contains(id)), "{left:?}");
    region.deployed.set_faults(&json!({})).await;
}
