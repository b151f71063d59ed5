//! Two passes for one region at the same time.

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::wait::eventually;
use serde_json::json;

use crate::capacity::SCARCE;
use scaling_tests::region::Region;

/// Sessions that wait for a row's lock.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'";

pub(crate) async fn of_two_passes_one_works(deployed: &Deployed) {
    let region = Region {
        deployed,
        name: SCARCE,
    };
    region.set(&json!({"target_free": 10})).await;
    let before = region.machines().await;

    // The first pass is blocked when it observes the database, while it holds the region's lock.
    let holder = deployed.connect().await;
    let hold = format!("BEGIN; SELECT FROM region_fences WHERE region = '{SCARCE}' FOR UPDATE");
    holder.batch_execute(&hold).await.expect("the row is held");
    let meanwhile = async {
        let waiting = async || deployed.count(WAITING).await;
        eventually("the first pass", SOON, waiting, |passes| *passes == 1).await;
        let second = region.reconcile().await;
        holder
            .batch_execute("COMMIT")
            .await
            .expect("the row is let go");
        second
    };
    let (first, second) = tokio::join!(region.reconcile(), meanwhile);

    assert_eq!(second["outcome"], "busy", "{second:#}");
    assert!(second["until"].is_string(), "{second:#}");
    assert_eq!(first["outcome"], "done", "{first:#}");
    assert_eq!(
        first["rounds"], 2,
        "it runs another round for the second: {first:#}"
    );
    region.filled_to(10).await;
    assert_eq!(
        region.machines().await.len(),
        before.len() + 2,
        "launched once"
    );
    assert_eq!(region.machines().await, region.rows().await);
    region.wait_until_store_is_at_rest().await;
}
