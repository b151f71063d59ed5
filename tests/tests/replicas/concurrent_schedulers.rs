//! Many schedulers at once: the lock lets one of them work, and any other can take its place. This
//! replaces the scaler's high availability.

use futures::future::join_all;
use scaling_tests::deployed::Deployed;
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::world::RIVALS;

const AT_ONCE: usize = 6;

pub(crate) async fn launch_once(deployed: &Deployed) {
    let fleet = Fleet::new(deployed, RIVALS, 9).await;
    all_at_once(&fleet).await;
    assert_eq!(fleet.region.launched().await.len(), 3);
    // The listing does not show them yet when the next schedulers run.
    all_at_once(&fleet).await;
    fleet.at_rest().await;
    assert_eq!(fleet.region.launched().await.len(), 3);

    let done = &fleet.up().await[0];
    fleet.set_answer(done, json!({"termination": true})).await;
    all_at_once(&fleet).await;
    fleet.at_rest().await;
    assert_eq!(fleet.region.launched().await.len(), 4);
    assert_eq!(fleet.up().await.len(), 3);
    fleet.assert_invariants().await;
}

async fn all_at_once(fleet: &Fleet<'_>) {
    let reports = join_all((0..AT_ONCE).map(|_| fleet.region.reconcile())).await;
    let worked = |report: &&Value| report["outcome"] == "done";
    let others = |report: &&Value| report["outcome"] == "busy";
    let (worked, busy) = (
        reports.iter().filter(worked).count(),
        reports.iter().filter(others).count(),
    );
    assert!(worked > 0, "{reports:#?}");
    assert_eq!(worked + busy, AT_ONCE, "{reports:#?}");
}
