//! The main story on the deployed stack, from outside: filled → assigned over HTTP → refilled →
//! surplus drained → gone from EC2, rows and slots gone.
//!
//! It writes only an operator's settings and calls no internal function: it asserts on EC2's
//! ledger, PostgreSQL and DynamoDB.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::collections::BTreeSet;

use local_stack::seed::CLIENT_SHA;
use scaling_tests::deployed::{Deployed, SOON, client_request};
use scaling_tests::wait::eventually;
use serde_json::json;

const REGION: &str = "us-east-1";

#[tokio::test]
async fn buffer_fills_serves_users_and_shrinks() {
    let deployed = Deployed::start("story", |options| {
        options.ec2.agent_connect_ms = Some(200);
        options.ec2.pending_ms = Some(300);
        options.ec2.agent_boot_ms = Some(100);
        // Longer than it takes to refill beside them, on a busy machine, too.
        options.ec2.agent_session_ms = Some(25_000);
    })
    .await;
    deployed.set_up(REGION, 10).await;

    filled(&deployed).await;
    let users = assigned(&deployed).await;
    refilled(&deployed).await;
    sessions_played_out(&deployed, users).await;
    surplus_drained(&deployed).await;
    assert_nothing_is_left(&deployed).await;
    deployed.stack.stop();
}

async fn filled(deployed: &Deployed) {
    let dry = deployed
        .invoke(&json!({"regions": [REGION], "dry_run": true}))
        .await;
    let report = deployed.reconcile().await;
    assert_eq!(report["regions"][0]["outcome"], "done", "{report:#}");
    assert_eq!(
        dry["regions"][0]["plan"], report["regions"][0]["plan"],
        "a dry run returns the plan"
    );
    deployed.filled_to(4).await;

    let ledger = deployed.ledger().await;
    let launches: Vec<_> = ledger.calls("RunInstances").collect();
    assert_eq!(launches.len(), 2, "{launches:#?}");
    for launch in &launches {
        assert_eq!(launch.params["MinCount"], "1");
        assert_eq!(launch.params["MaxCount"], "1");
    }
    let machines = || ledger.in_state("running");
    let user_data: BTreeSet<_> = machines().map(|it| it.user_data.clone()).collect();
    assert_eq!(user_data.len(), 2, "each has a token of its own");
    for machine in machines() {
        assert_eq!(
            machine.tags["scaling:stack"],
            deployed.stack.env().stack_name
        );
        assert_eq!(machine.tags["scaling:region"], REGION);
        assert_eq!(machine.tags["scaling:client-sha"], CLIENT_SHA);
        assert_eq!(machine.shutdown_behavior, "terminate");
        assert_eq!(machine.tags["scaling:subnet"], machine.subnet_id);
        let launch = &machine.tags["scaling:launch"];
        let stack = &deployed.stack.env().stack_name;
        assert_eq!(
            machine.tags["Name"],
            format!("{stack}-{REGION}-{}", &launch[..8])
        );
        assert!(
            !machine.ebs_optimized,
            "EC2 refuses it for types that do not have it"
        );
        let imds = &machine.metadata_options;
        assert_eq!(imds.http_endpoint, "enabled");
        assert_eq!(imds.http_tokens, "required");
        assert_eq!(imds.http_put_response_hop_limit, 1);
        assert!(machine.client_token.is_some());
        assert_eq!(machine.security_group_ids.len(), 1, "found by its tag");
        let user_data = machine.user_data.as_deref().expect("user data");
        let secret = &deployed.stack.env().hasura_admin_secret;
        assert!(
            !user_data.contains(secret.as_str()),
            "never the admin secret"
        );
    }
    let again = deployed.reconcile().await;
    assert_eq!(again["regions"][0]["plan"]["steps"], json!([]), "{again:#}");
}

async fn assigned(deployed: &Deployed) -> usize {
    let mut addresses = Vec::new();
    for user in ["ann", "bob", "cid"] {
        let answer = deployed.assign(user, &client_request(REGION, 1)).await;
        assert_eq!(answer.status, 200, "{answer:#?}");
        assert_eq!(answer.body["region"], REGION);
        let again = deployed.assign(user, &client_request(REGION, 1)).await;
        assert_eq!(
            answer.body, again.body,
            "a repeated request gets the same slot"
        );
        addresses.push(answer.body["ip"].as_str().expect("an address").to_owned());
    }
    let ledger = deployed.ledger().await;
    for address in &addresses {
        assert!(
            ledger
                .in_state("running")
                .any(|machine| machine.private_ip == *address),
            "{address}"
        );
    }
    assert_eq!(addresses[0], addresses[1], "users are packed");
    let running = "SELECT count(*) FROM slots WHERE status = 'RUNNING'";
    eventually(
        "sessions",
        SOON,
        async || deployed.count(running).await,
        |n| *n == 3,
    )
    .await;
    addresses.len()
}

async fn refilled(deployed: &Deployed) {
    let report = deployed.reconcile().await;
    assert_eq!(report["regions"][0]["outcome"], "done", "{report:#}");
    deployed.filled_to(5).await;
    assert_eq!(
        deployed.instances().await,
        4,
        "one slot was missing less than two instances hold"
    );
}

async fn sessions_played_out(deployed: &Deployed, users: usize) {
    let occupied = "SELECT count(*) FROM slots WHERE status <> 'WAITING'";
    eventually(
        "occupied slots",
        SOON,
        async || deployed.count(occupied).await,
        |n| *n == 0,
    )
    .await;
    let replaced = "SELECT count(*) FROM slots WHERE user_id IS NOT NULL";
    assert_eq!(
        deployed.count(replaced).await,
        0,
        "{users} ended slots were replaced by new ones"
    );
}

async fn surplus_drained(deployed: &Deployed) {
    // Each pass drains one (scale_down_step) and verifies what earlier ones drained.
    let pass = async || {
        let report = deployed.reconcile().await;
        assert_eq!(report["regions"][0]["outcome"], "done", "{report:#}");
        let steps = report["regions"][0]["plan"]["steps"]
            .as_array()
            .map_or(0, Vec::len);
        (steps, deployed.instances().await)
    };
    eventually("instances", SOON, pass, |(steps, instances)| {
        *steps == 0 && *instances == 2
    })
    .await;
    assert_eq!(deployed.free().await, 4);
}

async fn assert_nothing_is_left(deployed: &Deployed) {
    let ledger = deployed.ledger().await;
    let running: Vec<_> = ledger
        .in_state("running")
        .map(|machine| machine.id.as_str())
        .collect();
    assert_eq!(running.len(), 2);
    let gone: Vec<_> = ledger.in_state("terminated").collect();
    assert_eq!(gone.len(), ledger.instances.len() - 2);
    for machine in gone {
        assert_eq!(
            machine.states(),
            ["pending", "running", "shutting-down", "terminated"]
        );
    }
    let rows = deployed
        .sql
        .query("SELECT id FROM instances ORDER BY id", &[])
        .await
        .expect("rows");
    let mut rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    rows.sort();
    let mut running: Vec<String> = running.into_iter().map(ToOwned::to_owned).collect();
    running.sort();
    assert_eq!(rows, running, "rows are what EC2 runs");
    assert_eq!(
        deployed.count("SELECT count(*) FROM slots").await,
        4,
        "and their slots"
    );

    let dynamo = aws_sdk_dynamodb::Client::new(&deployed.stack.sdk_config());
    let items = dynamo
        .scan()
        .table_name(&deployed.stack.env().scaling_table)
        .send()
        .await
        .expect("the table is read");
    let keys: Vec<_> = items
        .items()
        .iter()
        .filter_map(|item| item["sk"].as_s().ok())
        .collect();
    let open = |item: &&std::collections::HashMap<_, _>| {
        let pk: &aws_sdk_dynamodb::types::AttributeValue = &item["pk"];
        let of_region = pk.as_s().is_ok_and(|pk| pk.starts_with("REGION#"));
        of_region && item["sk"].as_s().is_ok_and(|sk| sk != "LAUNCHES")
    };
    let left: Vec<_> = items
        .items()
        .iter()
        .filter(open)
        .map(|item| &item["sk"])
        .collect();
    assert_eq!(
        left.len(),
        1,
        "only the lock's item beside the tally: no intent, no wake mark; {keys:?}"
    );
}
