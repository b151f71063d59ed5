//! EC2's events on the deployed stack: instances that EC2 takes, or may take, are drained and
//! replaced within seconds, without the schedule and without a pass by hand. The logs show each
//! event's effects from its arrival to the outcome.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use scaling_tests::deployed::{Deployed, SOON, client_request};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

const REGION: &str = "us-east-1";

#[tokio::test]
async fn interrupted_instances_are_replaced_by_ec2_events_alone() {
    let deployed = Deployed::start("machine-events", |options| {
        options.ec2.pending_ms = Some(300);
        options.ec2.agent_boot_ms = Some(100);
        // Longer than the test: no session ends by itself.
        options.ec2.agent_session_ms = Some(600_000);
    })
    .await;
    deployed.set_up(REGION, 10).await;
    deployed.reconcile().await;
    deployed.filled_to(4).await;

    let taken = interruption_with_a_user(&deployed).await;
    rebalanced(&deployed).await;
    terminated_by_hand(&deployed).await;
    not_ours(&deployed).await;
    trail_in_the_logs(&deployed, &taken).await;
    deployed.stack.stop();
}

async fn assigned_to(deployed: &Deployed, user: &str) -> String {
    let request = client_request(REGION, 1);
    let answer = deployed.assign(user, &request).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let held = "SELECT instance_id FROM slots WHERE user_id = $1 AND status <> 'DYING'";
    let row = deployed.sql.query_one(held, &[&user]).await.unwrap();
    row.get(0)
}

/// `None` once the row is gone.
async fn status(deployed: &Deployed, id: &str) -> Option<String> {
    let status = "SELECT status FROM instances WHERE id = $1";
    let row = deployed.sql.query_opt(status, &[&id]).await.unwrap();
    row.map(|row| row.get(0))
}

async fn wait_for_status(deployed: &Deployed, id: &str, expected: &str) {
    let observe = async || status(deployed, id).await;
    eventually(id, SOON, observe, |status| {
        status.as_deref() == Some(expected)
    })
    .await;
}

/// Listings lag behind events: an instance's last event may find it still listed as shutting down.
/// Then the next scheduled pass, here by hand, removes its row.
async fn wait_until_deleted(deployed: &Deployed, id: &str) {
    let observe = async || status(deployed, id).await;
    let given_up =
        |status: &Option<String>| !matches!(status.as_deref(), Some("ACTIVE" | "DRAINING"));
    eventually(id, SOON, observe, given_up).await;
    let pass = async || {
        deployed.reconcile().await;
        status(deployed, id).await
    };
    eventually(id, SOON, pass, Option::is_none).await;
}

async fn inject_fault(deployed: &Deployed, id: &str, effect: Value) {
    let faults = json!({"instances": [{"on": {"instance_id": id}, "effect": effect}]});
    deployed.set_faults(&faults).await;
}

/// Those that end within their first minutes count against what they were launched from: see
/// `launches_that_die.rs`.
async fn have_served_for_long(deployed: &Deployed) {
    let set = "UPDATE instances SET active_at = active_at - interval '1 hour'";
    deployed.sql.execute(set, &[]).await.unwrap();
}

async fn interruption_with_a_user(deployed: &Deployed) -> String {
    let id = assigned_to(deployed, "ann").await;
    let running = "SELECT count(*) FROM slots WHERE status = 'RUNNING'";
    let observe = async || deployed.count(running).await;
    eventually("ann's session", SOON, observe, |n| *n == 1).await;
    have_served_for_long(deployed).await;
    // Long enough to observe the state in between on a busy machine.
    inject_fault(deployed, &id, json!({"interrupt": {"warning_ms": 25_000}})).await;

    wait_for_status(deployed, &id, "DRAINING").await;
    assert_eq!(deployed.count(running).await, 1, "her session goes on");
    deployed.filled_to(4).await;
    wait_until_deleted(deployed, &id).await;
    let ledger = deployed.ledger().await;
    let requested = ledger
        .calls("TerminateInstances")
        .any(|call| call.params.values().any(|value| *value == id));
    assert!(
        !requested,
        "EC2 took it while a user was on it, not the service"
    );
    let elsewhere = assigned_to(deployed, "ann").await;
    assert_ne!(elsewhere, id);
    id
}

async fn rebalanced(deployed: &Deployed) {
    let pass = deployed.reconcile().await;
    assert_eq!(pass["regions"][0]["outcome"], "done", "{pass:#}");
    deployed.filled_to(5).await;
    let empty = "SELECT min(i.id) FROM instances i WHERE i.status = 'ACTIVE' AND NOT EXISTS (
        SELECT FROM slots s WHERE s.instance_id = i.id AND s.status <> 'WAITING')";
    let id: String = deployed.sql.query_one(empty, &[]).await.unwrap().get(0);
    have_served_for_long(deployed).await;
    inject_fault(deployed, &id, json!({"rebalance": {}})).await;
    // Only this event happens: its pass launches the replacement, and a later pass, here by hand in
    // place of the schedule, drains the instance.
    let launched = async || deployed.instances().await;
    eventually("a replacement", SOON, launched, |n| *n == 4).await;
    assert_eq!(status(deployed, &id).await.as_deref(), Some("ACTIVE"));
    deployed.filled_to(7).await;
    deployed.reconcile().await;
    wait_until_deleted(deployed, &id).await;
    assert_eq!(deployed.free().await, 5);
}

async fn terminated_by_hand(deployed: &Deployed) {
    let (id, before) = {
        let ledger = deployed.ledger().await;
        let user = "SELECT min(instance_id) FROM slots WHERE user_id IS NOT NULL";
        let occupied: String = deployed.sql.query_one(user, &[]).await.unwrap().get(0);
        let id = ledger
            .in_state("running")
            .map(|machine| machine.id.clone())
            .find(|id| *id != occupied)
            .expect("an empty machine");
        (id, ledger.instances.len())
    };
    have_served_for_long(deployed).await;
    ec2(
        deployed,
        &[("Action", "TerminateInstances"), ("InstanceId.1", &id)],
    )
    .await;
    wait_until_deleted(deployed, &id).await;
    let observe = async || deployed.ledger().await.instances.len();
    eventually("a replacement", SOON, observe, |n| *n == before + 1).await;
    deployed.filled_to(5).await;
}

/// A call to EC2 that the service does not make.
async fn ec2(deployed: &Deployed, params: &[(&str, &str)]) {
    let env = deployed.stack.env();
    let signature = format!(
        "AWS4-HMAC-SHA256 Credential={}/20260101/{REGION}/ec2/aws4_request, \
         SignedHeaders=host, Signature=none",
        env.aws_access_key_id
    );
    let body: Vec<_> = [("Version", "2016-11-15")]
        .iter()
        .chain(params)
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let answer = reqwest::Client::new()
        .post(&env.aws_endpoint_url_ec2)
        .header("authorization", signature)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.join("&"))
        .send()
        .await
        .unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{status}: {text}");
}

async fn not_ours(deployed: &Deployed) {
    let (rows, passes) = (deployed.instances().await, passes(deployed).await);
    let ledger = deployed.ledger().await;
    let ours = &ledger.instances[0];
    ec2(
        deployed,
        &[
            ("Action", "RunInstances"),
            ("ImageId", &ours.image_id),
            ("InstanceType", &ours.instance_type),
            ("SubnetId", &ours.subnet_id),
            ("MinCount", "1"),
            ("MaxCount", "1"),
        ],
    )
    .await;
    let ledger = deployed.ledger().await;
    let mut untagged = ledger
        .instances
        .iter()
        .filter(|machine| machine.tags.is_empty());
    let stranger = &untagged.next().expect("the stranger").id;
    let log_lines = async || {
        let log = deployed.function_log(&function(deployed)).await.text;
        lines(&log)
            .into_iter()
            .filter(|line| line["instance"] == **stranger)
            .collect::<Vec<_>>()
    };
    let seen = eventually("the log line", SOON, log_lines, |lines| !lines.is_empty()).await;
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert_eq!(seen[0]["reason"], "not an instance of ours", "{seen:#?}");
    assert_eq!(deployed.instances().await, rows);
    assert_eq!(self::passes(deployed).await, passes, "no pass for it");
}

/// The number of passes: each has a version of the lock of its own.
async fn passes(deployed: &Deployed) -> i64 {
    deployed.count("SELECT version FROM region_fences").await
}

fn function(deployed: &Deployed) -> String {
    format!("{}-instance-state-change", deployed.stack.env().stack_name)
}

fn lines(log: &str) -> Vec<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// By the event's id, an operator finds its effects in order, with the reasons.
async fn trail_in_the_logs(deployed: &Deployed, taken: &str) {
    let control = &deployed.stack.env().ec2_control_url;
    let ledger: Value = reqwest::get(format!("{control}/ledger"))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let warning = ledger["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|record| &record["event"])
        .find(|event| {
            event["detail"]["instance-id"] == taken
                && event["detail"].get("instance-action").is_some()
        })
        .expect("the warning");
    let id = warning["id"].as_str().unwrap();
    let log = deployed.function_log(&function(deployed)).await.text;
    let trail: Vec<_> = lines(&log)
        .into_iter()
        .filter(|line| line["span"]["id"] == id)
        .collect();
    let messages: Vec<_> = trail
        .iter()
        .map(|line| line["message"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(
        messages,
        [
            "event received",
            "regions marked for a pass",
            "wake mark found",
            "step decided",
            "step decided",
            "pass done",
        ],
        "{trail:#?}"
    );
    assert_eq!(trail[2]["by"], id, "the mark of this event");
    assert_eq!(trail[3]["step"], format!("drain {taken}"));
    assert!(
        trail[3]["reason"]
            .as_str()
            .unwrap()
            .contains("interruption warning")
    );
    assert!(trail[4]["step"].as_str().unwrap().starts_with("launch"));
    assert!(
        trail.iter().all(|line| line["level"] == "INFO"),
        "{trail:#?}"
    );
}
