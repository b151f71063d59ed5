//! A stack for replicas alone, as `replicas.yaml` deploys it: EC2, DynamoDB and one function,
//! without Hasura.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::fs;
use std::path::{Path, PathBuf};

use ec2_emulator::world::DEFAULT_WORLD;
use futures::future::join_all;
use local_stack::invoke::invoke;
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::ledger::Machine;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

/// The port of the status API. Each replica has an address of its own.
const PORT: u16 = 18_431;

/// The only Elastic IP of the pool.
const ADDRESS: &str = "203.0.113.1";

/// The replicas' addresses are in the loopback network.
fn world(folder: &Path) -> PathBuf {
    let file = folder.join("world.json");
    let world = DEFAULT_WORLD.replace("\"10.1.", "\"127.41.");
    let mut world: Value = world.parse().unwrap();
    world["regions"]["us-east-1"]["addresses"] = json!([{
        "allocation_id": "eipalloc-00000000000000001",
        "public_ip": ADDRESS,
        "tags": {"pool": "public"},
    }]);
    fs::write(&file, world.to_string()).unwrap();
    file
}

struct Alone<'a> {
    deployed: &'a Deployed,
    function: String,
}

impl Alone<'_> {
    async fn invoke(&self, payload: Value) -> Value {
        let sdk = self.deployed.stack.sdk_config();
        let answer = invoke(&sdk, &self.function, &payload).await;
        answer.expect("reconcile answers")["regions"][0].clone()
    }

    async fn plan(&self) -> Value {
        let report = self.invoke(json!({"dry_run": true})).await;
        assert_eq!(report["outcome"], "dry_run", "{report:#}");
        report["plan"].clone()
    }

    async fn machines(&self) -> Vec<Machine> {
        self.deployed.ledger().await.instances
    }

    /// Waits until exactly `free` is available and nothing is left to do.
    async fn available(&self, free: u64) -> Value {
        let pass = async || {
            self.invoke(json!({})).await;
            self.plan().await
        };
        let is_so = |plan: &Value| {
            plan["figures"]["free"] == free
                && plan["figures"]["starting"] == 0
                && plan["steps"] == json!([])
        };
        eventually("available", SOON, pass, is_so).await
    }

    /// Changes what a replica answers from now on.
    async fn set_answer(&self, machine: &Machine, change: Value) {
        let url = format!("http://{}:{PORT}/_replica", machine.private_ip);
        let client = reqwest::Client::new();
        let answer = client.put(&url).json(&change).send().await.expect(&url);
        assert!(answer.status().is_success(), "{answer:?}");
    }
}

#[tokio::test]
async fn replicas_are_kept_ready_without_hasura() {
    let folder = tempfile::tempdir().unwrap();
    let deployed = Deployed::start("replicas-alone", |options| {
        options.ec2.world = Some(world(folder.path()));
        options.ec2.pending_ms = Some(200);
        options.ec2.shutting_down_ms = Some(200);
        options.ec2.listing_lag_ms = Some(300);
        options.forward_from = Some(vec![]);
    })
    .await;
    let choice = json!([{
        "instance_type": "m6i.large",
        "subnet_id": "subnet-01a0000000000000a",
    }]);
    let user_data = format!("REPLICA_API_PORT={PORT}");
    let parameters = [
        ("Region", "us-east-1"),
        ("Image", "ami-01000000000000001"),
        ("LaunchChoices", &choice.to_string()),
        ("UserData", &user_data),
        ("ReplicaMinAvailableResources", "2"),
        ("ReplicaAddressTag", "pool=public"),
        ("ReplicaApiPort", &PORT.to_string()),
        ("ScheduleEnabled", "false"),
        // The local stack's secret has a token for its own status function.
        ("StatusSecret", "scaling/hasura"),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let function = deployed.stack.deploy_replicas("alone", &parameters).await;
    let alone = Alone {
        deployed: &deployed,
        function: function.unwrap(),
    };
    concurrent_schedulers_create_once(&alone).await;
    used_up_capacity_is_replaced_and_terminated_replicas_deleted(&alone).await;
    address_is_on_a_healthy_replica(&alone).await;
    // The replica in place of the one that lost the address may still be starting.
    alone.available(2).await;
    status_shows_the_last_decision(&alone).await;
    assert_database_is_empty(&alone).await;
    deployed.stack.stop();
}

async fn status_shows_the_last_decision(alone: &Alone<'_>) {
    let name = alone.function.replace("-reconcile", "-status");
    let url = alone.deployed.stack.url_of(&name).await.unwrap();
    let token = alone.deployed.stack.env().status_token.clone();
    let client = reqwest::Client::new();
    let answer = client.get(&url).bearer_auth(&token).send().await.unwrap();
    let status: Value = answer.json().await.unwrap();
    let region = &status["regions"][0];
    assert_eq!(region["algorithm"], "replica", "{status:#}");
    assert_eq!(
        (&region["target"], &region["free"]),
        (&json!(2), &json!(2)),
        "{region:#}"
    );
    let replicas = &region["last_decision"]["plan"]["replicas"];
    assert!(
        replicas.as_array().is_some_and(|all| all.len() >= 3),
        "{region:#}"
    );
    let kept = json!({"carries": [ADDRESS], "decided": "kept"});
    let mut shown = replicas.as_array().into_iter().flatten();
    assert!(shown.any(|view| view["address"] == kept), "{region:#}");
    let page = client.get(format!("{url}regions/us-east-1?format=html"));
    let page = page.bearer_auth(&token).send().await.unwrap();
    let page = page.text().await.unwrap();
    for words in ["Users get a slot at once", &format!("{ADDRESS}: kept")] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let health = client.get(format!("{url}healthz")).send().await.unwrap();
    assert_eq!(health.status(), 200);
}

async fn concurrent_schedulers_create_once(alone: &Alone<'_>) {
    let empty = alone.plan().await;
    assert_eq!(empty["steps"][0]["do"], "launch", "{empty:#}");
    let reports = join_all((0..5).map(|_| alone.invoke(json!({})))).await;
    assert!(reports.iter().any(|report| report["outcome"] == "done"));
    let plan = alone.available(2).await;
    let replicas = plan["replicas"].as_array().unwrap();
    assert_eq!(replicas.len(), 2, "{plan:#}");
    for replica in replicas {
        assert_eq!(replica["status"], "healthy", "{replica}");
        assert_eq!(replica["decided"], "kept: counts with 1", "{replica}");
    }
    assert_eq!(alone.machines().await.len(), 2, "created once");
}

async fn used_up_capacity_is_replaced_and_terminated_replicas_deleted(alone: &Alone<'_>) {
    let before = alone.machines().await;
    alone.set_answer(&before[0], json!({"capacity": 0})).await;
    alone.available(2).await;
    assert_eq!(alone.machines().await.len(), 3);
    alone
        .set_answer(&before[1], json!({"termination": true}))
        .await;
    alone.available(2).await;
    let after = alone.machines().await;
    assert_eq!(after.len(), 4, "one is replaced");
    let ended = after.iter().filter(|machine| machine.ended_by.is_some());
    let ended: Vec<_> = ended.map(|machine| machine.id.as_str()).collect();
    assert_eq!(ended, [before[1].id.as_str()]);
}

/// The environment names the pool. The status shows each address as it was decided.
async fn address_is_on_a_healthy_replica(alone: &Alone<'_>) {
    let ledger = alone.deployed.ledger().await;
    let carrier = ledger.addresses[0]
        .now()
        .and_then(|it| it.instance_id.clone());
    let plan = alone.plan().await;
    let views = plan["replicas"].as_array().unwrap();
    let view = views
        .iter()
        .find(|view| view["instance"].as_str() == carrier.as_deref());
    let view = view.unwrap_or_else(|| panic!("{carrier:?} in {plan:#}"));
    assert_eq!(view["status"], "healthy", "{view}");
    let kept = json!({"carries": [ADDRESS], "decided": "kept"});
    assert_eq!(view["address"], kept, "{view}");
}

async fn assert_database_is_empty(alone: &Alone<'_>) {
    let sql = "SELECT (SELECT count(*) FROM instances) + (SELECT count(*) FROM regions)";
    assert_eq!(alone.deployed.count(sql).await, 0);
    let sdk = alone.deployed.stack.sdk_config();
    let settings = aws_sdk_lambda::Client::new(&sdk)
        .get_function_configuration()
        .function_name(&alone.function)
        .send()
        .await
        .unwrap();
    let variables = settings.environment.and_then(|it| it.variables).unwrap();
    assert!(!variables.contains_key("HASURA_URL"), "{variables:?}");
}
