//! An agent that holds its instance and its slots in a transaction that does not end, on a deployed stack.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use scaling_tests::deployed::{Deployed, client_request, set_fast_ec2};
use scaling_tests::region::Region;
use serde_json::{Value, json};

const REGION: &str = "us-east-1";

/// Whether a step about this row was left to the next pass.
fn is_busy(report: &Value, step: &str) -> bool {
    let results = report["results"].as_array().map_or(&[][..], Vec::as_slice);
    results.iter().any(|result| {
        let text = |field: &str| result[field].as_str().unwrap_or_default();
        text("step") == step && text("result").contains("next pass")
    })
}

async fn count(deployed: &Deployed, sql: &str, argument: &String) -> i64 {
    let row = deployed.sql.query_one(sql, &[argument]).await;
    row.expect(sql).get(0)
}

#[tokio::test]
async fn agent_that_holds_its_rows_keeps_nothing_from_others() {
    let deployed = Deployed::start("held-rows", |options| {
        set_fast_ec2(options);
        // Nobody claims a slot.
        options.ec2.agent_connect_ms = Some(3_600_000);
    })
    .await;
    let region = Region {
        deployed: &deployed,
        name: REGION,
    };
    deployed.set_up(REGION, 10).await;
    region.reconcile().await;
    region.filled_to(4).await;

    // A user who never came has a slot of the first instance, and its agent holds all that it can.
    let held = region.rows().await.first().expect("an instance").clone();
    let unclaimed = "UPDATE slots SET status = 'ALLOCATED', user_id = 'nobody', session_id = '1',
            allocated_at = now() - interval '1 hour'
        WHERE id = (SELECT min(id::text)::uuid FROM slots WHERE instance_id = $1 AND status = 'WAITING')
        RETURNING id::text";
    let slot = deployed.sql.query_one(unclaimed, &[&held]).await;
    let slot: String = slot.expect("a free slot").get(0);
    let holder = deployed.connect().await;
    let hold = format!(
        "BEGIN;
         SELECT FROM instances WHERE id = '{held}' FOR UPDATE;
         SELECT FROM slots WHERE instance_id = '{held}' FOR UPDATE"
    );
    holder.batch_execute(&hold).await.expect("rows are held");

    region.set(&json!({"target_free": 6})).await;
    let report = region.reconcile().await;
    assert_eq!(report["outcome"], "done", "nothing timed out: {report:#}");
    assert!(
        is_busy(&report, &format!("release slot {slot}")),
        "{report:#}"
    );
    assert_eq!(region.rows().await, region.machines().await);
    assert!(region.rows().await.len() > 2, "launched: {report:#}");
    let answer = deployed.assign("alice", &client_request(REGION, 1)).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let hosts = "SELECT count(*) FROM slots WHERE user_id = 'alice' AND instance_id <> $1";
    assert_eq!(count(&deployed, hosts, &held).await, 1);

    holder.batch_execute("COMMIT").await.expect("let go");
    let report = region.reconcile().await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    let released = "SELECT count(*) FROM slots WHERE status = 'WAITING' AND id::text = $1";
    assert_eq!(count(&deployed, released, &slot).await, 1);
    deployed.stack.stop();
}
