//! An instance whose host agent never starts.

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::plans::alerts_to;
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::agents::{leave_alone, up};
use crate::logged_errors::{errors_logged, failed_with};
use crate::world::{BOOTS, filled};

/// For the instance that never comes up.
const BOOT_SECONDS: u32 = 6;

pub(crate) async fn failed_instance_is_replaced(deployed: &Deployed) {
    let settings = json!({
        "target_free": 1,
        // Room for one replacement while the failed one still exists.
        "max_instances": 4,
    });
    let region = filled(deployed, BOOTS, 1, settings).await;
    let sound = region.machines().await;
    deployed.set_faults(&never_boots()).await;
    region.set(&json!({"target_free": 3})).await;
    let report = region.reconcile().await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    assert_eq!(region.launched().await.len(), 3);
    // The other one is sound, however long it takes.
    let active = "SELECT count(*) FROM instances WHERE region = $1 AND status = 'ACTIVE'";
    let observe = async || region.count(active).await;
    eventually("the sound ones", SOON, observe, |active| *active == 2).await;
    region.set(&json!({"boot_seconds": BOOT_SECONDS})).await;

    // The first requests to terminate it fail.
    let pass = async || region.reconcile().await;
    let is_terminated = |report: &Value| alerts_to(&report["plan"], "launches_die");
    let report = eventually("the termination", SOON, pass, is_terminated).await;
    assert_eq!(report["outcome"], "incomplete", "{report:#}");
    assert!(failed_with(&report, "InternalError"), "{report:#}");
    let observe = async || errors_logged(&region, "not ACTIVE").await;
    eventually("the error", SOON, observe, |logged| *logged > 0).await;

    // Its replacement is sound, too.
    region.set(&json!({"boot_seconds": 600})).await;
    region.settle().await;
    deployed.set_faults(&json!({})).await;
    assert_replaced(&region, &sound).await;
    region.assert_invariants().await;
    leave_alone(&region).await;
}

fn never_boots() -> Value {
    let end = json!({"region": BOOTS, "action": "TerminateInstances"});
    json!({
        "instances": [{"on": {"region": BOOTS}, "effect": "no_boot", "times": 1}],
        "calls": [{"on": end, "effect": {"error": "InternalError"}, "times": 3}],
    })
}

async fn assert_replaced(region: &Region<'_>, sound: &[String]) {
    let machines = region.launched().await;
    assert_eq!(machines.len(), 4, "one was replaced");
    assert_eq!(up(&machines), 3);
    let ended: Vec<_> = machines.iter().filter(|it| it.ended_by.is_some()).collect();
    assert_eq!(ended.len(), 1, "{ended:#?}");
    assert_eq!(ended[0].ended_by.as_deref(), Some("user"));
    assert!(ended[0].agent.is_none(), "the one without an agent");
    let left = region.machines().await;
    assert!(sound.iter().all(|id| left.contains(id)), "{left:?}");
    // Three attempts of the client, and one of the next pass; one more for each pass during which
    // listings still showed it as running.
    let calls = region.calls("TerminateInstances").await.len();
    assert!(calls >= 4, "{calls}");
    assert_eq!(
        errors_logged(region, "not ACTIVE").await,
        1,
        "reported once"
    );
}
