//! An instance's token in the hands of an attacker who registers the instance under another address,
//! on the deployed stack: users get EC2's address, or a name that was checked.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::time::Duration;

use scaling_tests::deployed::{Deployed, SOON, client_request};
use scaling_tests::ledger::Machine;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;

/// What host agents send, with all their operations.
const AGENTS_DOCUMENT: &str = include_str!("../../local/host-agent/src/graphql/agent.graphql");
const SUFFIX: &str = "sandbox.example.com";
/// The users' sessions last longer than the test.
const LONG: u64 = 600_000;

#[tokio::test]
async fn users_get_the_address_of_ec2_whatever_an_agent_registers() {
    let deployed = Deployed::start("addresses", |options| {
        // The attacker comes first.
        options.ec2.agent_boot_ms = Some(LONG);
        options.ec2.agent_session_ms = Some(LONG);
    })
    .await;
    deployed.deliver_events().await;
    private_address_is_that_of_ec2(&deployed, "us-east-1").await;
    public_address_is_awaited(&deployed, "us-west-1").await;
    only_names_under_the_suffix_are_accepted(&deployed, "us-west-2").await;
    deployed.stack.stop();
}

/// Sets up a region and launches its instances, of which no agent has registered one.
async fn launched(deployed: &Deployed, region: &str, source: &str) -> Vec<Machine> {
    deployed.set_up(region, 10).await;
    let set = "UPDATE regions SET address_source = $1, address_suffix = $2 WHERE name = $3";
    let values: [&(dyn ToSql + Sync); 3] = [&source, &SUFFIX, &region];
    deployed.sql.execute(set, &values).await.unwrap();
    deployed.invoke(&json!({"regions": [region]})).await;
    let rows = format!("SELECT count(*) FROM instances WHERE region = '{region}'");
    let launched = async || deployed.count(&rows).await;
    eventually("rows of instances", SOON, launched, |n| *n == 2).await;
    let machines = deployed.ledger().await.instances.into_iter();
    machines.filter(|it| it.region == region).collect()
}

/// What the instance's token can do with `register_host`.
async fn register(deployed: &Deployed, machine: &Machine, address: &str) -> Value {
    let body = json!({
        "query": AGENTS_DOCUMENT,
        "operationName": "RegisterHost",
        "variables": {"instance_id": machine.id, "ip_addr": address},
    });
    let url = format!("{}/v1/graphql", deployed.stack.env().hasura_url);
    let request = reqwest::Client::new().post(url);
    let request = request
        .bearer_auth(machine.agent_token().unwrap())
        .json(&body);
    request.send().await.unwrap().json().await.unwrap()
}

fn outcome(answer: &Value) -> &str {
    let outcome = &answer["data"]["register_host"][0]["outcome"];
    outcome.as_str().unwrap_or_else(|| panic!("{answer:#}"))
}

/// The address that a new user of the region gets.
async fn address(deployed: &Deployed, user: &str, region: &str) -> String {
    let answer = deployed.assign(user, &client_request(region, 1)).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    answer.body["ip"].as_str().unwrap().to_owned()
}

async fn private_address_is_that_of_ec2(deployed: &Deployed, region: &str) {
    let machines = launched(deployed, region, "private").await;
    for (machine, odd) in machines.iter().zip(["169.254.169.254", "evil.example"]) {
        let answer = register(deployed, machine, odd).await;
        assert_eq!(outcome(&answer), "REGISTERED");
        // Once more, as an agent that has restarted.
        let answer = register(deployed, machine, "1.1.1.1/24\r\n<b>").await;
        assert_eq!(outcome(&answer), "REGISTERED");
    }
    for user in ["ann", "bob", "cid", "dan"] {
        let given = address(deployed, user, region).await;
        let is_of_ec2 = machines.iter().any(|it| it.private_ip == given);
        assert!(is_of_ec2, "{user} was sent to {given}");
    }
    let answer = register(deployed, &machines[0], &"x".repeat(7 << 20)).await;
    let shown = answer.to_string();
    assert!(answer["errors"].is_array(), "{shown:.200}");
    assert!(shown.len() < 2048, "{} bytes", shown.len());
}

/// EC2 has not given the public address when it answers the launch. The agent's request wakes a pass.
async fn public_address_is_awaited(deployed: &Deployed, region: &str) {
    let machines = launched(deployed, region, "public").await;
    for machine in &machines {
        let registered = async || {
            let answer = register(deployed, machine, "203.0.113.66").await;
            outcome(&answer).to_owned()
        };
        // A pass has just looked at the region, so that the next one is ten seconds later.
        let limit = Duration::from_secs(60);
        eventually("a registration", limit, registered, |it| it == "REGISTERED").await;
    }
    let given = address(deployed, "eve", region).await;
    assert!(machines.iter().any(|it| it.ip == given), "{given}");
}

async fn only_names_under_the_suffix_are_accepted(deployed: &Deployed, region: &str) {
    let machines = launched(deployed, region, "reported").await;
    let [first, second] = &machines[..] else {
        panic!("{machines:#?}")
    };
    let own = |machine: &Machine| format!("{}.{SUFFIX}", machine.id);
    let stolen = own(second);
    for odd in [
        "169.254.169.254",
        "evil.example",
        "a.sandbox.example.com:22",
        &stolen,
    ] {
        let answer = register(deployed, first, odd).await;
        let message = answer["errors"][0].to_string();
        assert!(message.contains("ip_addr"), "{odd}: {answer:#}");
    }
    for machine in &machines {
        let answer = register(deployed, machine, &own(machine).to_uppercase()).await;
        assert_eq!(outcome(&answer), "REGISTERED");
    }
    let given = address(deployed, "fay", region).await;
    assert!(machines.iter().any(|it| own(it) == given), "{given}");
}
