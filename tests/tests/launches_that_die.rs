//! Launches that EC2 accepts and ends a moment later, on the deployed stack. Each death wakes a pass
//! by its event: launches slow down, the next choice is used, and one problem is said once.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

const REGION: &str = "us-east-1";
const SUBNET: &str = "subnet-01b0000000000000b";

#[tokio::test]
async fn instances_that_do_not_live_slow_down_and_move_to_the_next_choice() {
    let deployed = Deployed::start("launch-deaths", |options| {
        // They die while they are pending, after the launch is recorded: of an instance without a row,
        // an event says nothing to the service.
        options.ec2.pending_ms = Some(4_000);
        options.ec2.shutting_down_ms = Some(200);
        // A pass that is quicker than the listing sees them alive, and the schedule is off.
        options.ec2.listing_lag_ms = Some(0);
        options.ec2.agent_boot_ms = Some(100);
        options.ec2.agent_session_ms = Some(600_000);
    })
    .await;
    deployed.set_up(REGION, 40).await;
    set(&deployed, 4).await;
    deployed.reconcile().await;
    deployed.filled_to(4).await;

    spot_dies(&deployed).await;
    everything_dies(&deployed).await;
    deployed.stack.stop();
}

/// Spot first, on demand behind it, both in one subnet; any number at once.
async fn set(deployed: &Deployed, target_free: i32) {
    let choices = json!([
        {"spot": true, "instance_type": "m6i.large", "capacity": 2, "subnet_id": SUBNET},
        {"instance_type": "m6i.large", "capacity": 2, "subnet_id": SUBNET},
    ]);
    let set = "UPDATE regions SET launch_choices = $1, target_free = $2, scale_up_step = 0";
    deployed
        .sql
        .execute(set, &[&choices, &target_free])
        .await
        .unwrap();
}

fn dying(market: &Value) -> Value {
    json!({"instances": [{
        "on": market,
        "effect": {"launch_fails": {"after_ms": 2000, "reason": "Server.InternalError"}},
    }]})
}

/// The machines that EC2 launched and ended by itself.
async fn died(deployed: &Deployed) -> usize {
    let ledger = deployed.ledger().await;
    let ends = ledger.instances.iter().map(|it| it.ended_by.as_deref());
    ends.filter(|ended_by| *ended_by == Some("launch")).count()
}

/// The lines of passes that alert to a text: those of EC2's events and those by hand.
async fn alerts(deployed: &Deployed, text: &str) -> Vec<String> {
    let env = deployed.stack.env();
    deployed.complete_reconcile_log().await;
    let mut found = vec![];
    let of_events = env.instance_state_change_function.as_ref();
    for function in [&env.reconcile_function].into_iter().chain(of_events) {
        let log = deployed.function_log(function).await.text;
        let lines = log.lines().map(str::to_owned);
        found.extend(lines.filter(|line| line.contains("alert raised") && line.contains(text)));
    }
    found
}

/// Ten are missing: they die as spot instances, and are launched on demand.
async fn spot_dies(deployed: &Deployed) {
    deployed
        .set_faults(&dying(&json!({"market": "spot"})))
        .await;
    set(deployed, 24).await;
    deployed.reconcile().await;
    deployed.filled_to(24).await;
    assert_eq!(died(deployed).await, 10, "each once");
    let of_spot = async || alerts(deployed, "of spot m6i.large in").await;
    let found = eventually("the alert", SOON, of_spot, |found| !found.is_empty()).await;
    assert!(found[0].contains("Server.InternalError"), "{}", found[0]);
}

/// On demand dies as well: then nothing is left to launch, however many passes run.
async fn everything_dies(deployed: &Deployed) {
    deployed.set_faults(&dying(&json!({}))).await;
    set(deployed, 26).await;
    deployed.reconcile().await;
    let all_dead = async || died(deployed).await;
    eventually("the death on demand", SOON, all_dead, |dead| *dead == 11).await;
    let rests = async || deployed.reconcile().await;
    let has_no_capacity = |report: &Value| report.to_string().contains("no_capacity");
    eventually("nothing to launch from", SOON, rests, has_no_capacity).await;
    for _ in 0..5 {
        deployed.reconcile().await;
    }
    assert_eq!(died(deployed).await, 11, "no further launch");
    let of_spot = alerts(deployed, "of spot m6i.large in").await;
    assert_eq!(of_spot.len(), 1, "one problem, one alert: {of_spot:#?}");
    let page = page(deployed).await;
    assert!(page.contains("Server.InternalError"), "{page}");
}

async fn page(deployed: &Deployed) -> String {
    let env = deployed.stack.env();
    let url = format!("{}/regions/{REGION}", env.status_url.trim_end_matches('/'));
    let request = reqwest::Client::new()
        .get(url)
        .bearer_auth(&env.status_token);
    request
        .header("accept", "text/html")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}
