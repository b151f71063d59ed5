//! Everything that makes the functions call AWS: passes, launches, removals, refusals, alerts, a
//! hand-over, a search for strays, doctor, moved addresses, events, the status page, and users.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dynamodb_adapter::DynamoStore;
use ec2_emulator::world::DEFAULT_WORLD;
use local_stack::invoke::{invoke, schedule};
use scaling_tests::deployed::{Deployed, SOON, client_request};
use scaling_tests::iam::calls::has_asked;
use scaling_tests::ledger::Machine;
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};
use shared::clock::Clock as _;
use shared::ids::RegionName;
use shared::lock::RegionLock as _;
use startup::SystemClock;

/// Hosts of users.
pub(crate) const HOSTS: &str = "us-east-1";
/// Replicas of `template.yaml`.
const REPLICAS: &str = "eu-west-1";
/// Replicas of `replicas.yaml`.
const ALONE: &str = "us-west-2";

/// The port of the replicas' status API. Each has an address of its own.
const PORT: u16 = 18_433;

pub(crate) const STACK: &str = "scaling-least-privilege";
const POOL: &str = "pool=public";

/// Replicas can be reached, and there is an Elastic IP for those of each stack.
pub(crate) fn world(folder: &Path) -> PathBuf {
    let world = DEFAULT_WORLD.replace("\"10.3.", "\"127.45.");
    let world = world.replace("\"10.4.", "\"127.46.");
    let mut world: Value = world.parse().unwrap();
    for (n, region, stack) in [
        (1, REPLICAS, STACK.to_owned()),
        (2, ALONE, format!("{STACK}-alone")),
    ] {
        world["regions"][region]["addresses"] = json!([{
            "allocation_id": format!("eipalloc-{n:017}"),
            "public_ip": format!("203.0.113.{n}"),
            "tags": {"pool": "public", "scaling:stack": stack},
        }]);
    }
    let file = folder.join("world.json");
    std::fs::write(&file, world.to_string()).unwrap();
    file
}

/// `template.yaml`.
pub(crate) async fn service(deployed: &Deployed) {
    deployed.set_up(HOSTS, 10).await;
    let profile = "UPDATE regions SET instance_profile = 'hosts'";
    deployed.sql.batch_execute(profile).await.unwrap();
    refused_launch(deployed, &deployed.stack.env().reconcile_function).await;
    deployed.deliver_events().await;
    deployed.scheduled().await;
    deployed.filled_to(4).await;
    users_are_assigned(deployed).await;
    let table = &deployed.stack.env().scaling_table;
    hand_over(
        deployed,
        &deployed.stack.env().reconcile_function,
        table,
        HOSTS,
    )
    .await;
    replicas(deployed).await;
    doctor(deployed).await;
    status(deployed, &deployed.stack.env().status_url).await;
    // The last one: all instances are drained and terminated.
    let disable = format!("UPDATE regions SET enabled = false WHERE name = '{HOSTS}'");
    deployed
        .sql
        .batch_execute("DELETE FROM slots WHERE user_id IS NOT NULL")
        .await
        .unwrap();
    deployed.sql.batch_execute(&disable).await.unwrap();
    let observe = async || {
        deployed.reconcile().await;
        deployed.instances().await
    };
    eventually("all instances end", SOON, observe, |n| *n == 0).await;
}

/// A step that fails is an alert.
async fn refused_launch(deployed: &Deployed, function: &str) {
    let refused = json!({"calls": [{
        "on": {"action": "RunInstances"}, "effect": {"error": "UnauthorizedOperation"}
    }]});
    deployed.set_faults(&refused).await;
    let sdk = deployed.stack.sdk_config();
    let pass = async || invoke(&sdk, function, &json!({})).await.unwrap();
    let is_refused = |report: &Value| report.to_string().contains("UnauthorizedOperation");
    eventually("a refused launch", SOON, pass, is_refused).await;
    deployed.set_faults(&json!({})).await;
}

/// Their region is filled again by events of the database.
async fn users_are_assigned(deployed: &Deployed) {
    let before = deployed.instances().await;
    for user in ["ann", "bob", "cid", "dan"] {
        let answer = deployed.assign(user, &client_request(HOSTS, 1)).await;
        assert_eq!(answer.status, 200, "{answer:#?}");
    }
    let observe = async || deployed.instances().await;
    eventually("a pass by an event", SOON, observe, |n| *n > before).await;
    deployed.filled_to(4).await;
}

/// A region whose mark is set again and again is handed from one invocation to the next.
async fn hand_over(deployed: &Deployed, function: &str, table: &str, region: &str) {
    let store = DynamoStore::new(deployed.dynamodb(), table);
    let region = RegionName::new(region);
    let marks = async {
        loop {
            let set = store
                .set_wake_mark(&region, "test", SystemClock.now())
                .await;
            set.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let sdk = deployed.stack.sdk_config();
    let payload = json!({"regions": [region]});
    // Another pass may hold the lock, and a mark may come after the last round.
    let aws = deployed.stack.ministack();
    let pass = async || {
        invoke(&sdk, function, &payload).await.unwrap();
        has_asked(aws, function, "lambda:InvokeFunction")
    };
    tokio::select! {
        () = marks => {},
        _ = eventually("a region is handed over", SOON, pass, |handed_over| *handed_over) => {},
    }
}

/// One replica, which an address follows.
async fn replicas(deployed: &Deployed) {
    let region = Region {
        deployed,
        name: REPLICAS,
    };
    region
        .insert(json!({
            "algorithm": "replica",
            "target_free": 0,
            "replica_capacity": 1,
            "replica_min_available": 1,
            "replica_api_port": PORT,
            "replica_address_tag": POOL,
            "launch_choices": [
                {"instance_type": "m6i.large", "subnet_id": "subnet-04a0000000000000a"},
                {"instance_type": "m6i.xlarge", "subnet_id": "subnet-04a0000000000000a"},
            ],
            "security_groups": [{"key": "scaling", "value": "hosts"}],
            "user_data_template":
                format!("SCALING_CAPACITY=${{CAPACITY}}\nREPLICA_API_PORT={PORT}\n"),
        }))
        .await;
    region.set_image("ami-04000000000000001", "CURRENT").await;
    let pass = async || {
        let report = deployed.invoke(&json!({"regions": [REPLICAS]})).await;
        assert_ne!(report["regions"][0]["outcome"], "failed", "{report:#}");
    };
    replaced(deployed, REPLICAS, pass).await;
}

/// Waits until a replica carries the address, ends it, and waits until the next one does.
async fn replaced(deployed: &Deployed, region: &str, pass: impl AsyncFn()) {
    let carrier = async || {
        pass().await;
        let ledger = deployed.ledger().await;
        let mut addresses = ledger.addresses.iter().filter(|it| it.region == region);
        let carrier = addresses.find_map(|it| it.now()?.instance_id.clone());
        ledger
            .instances
            .into_iter()
            .find(|it| Some(&it.id) == carrier.as_ref())
    };
    let first = eventually("an address is given", SOON, carrier, Option::is_some).await;
    let first: Machine = first.unwrap();
    let url = format!("http://{}:{PORT}/_replica", first.private_ip);
    let end = reqwest::Client::new()
        .put(&url)
        .json(&json!({"termination": true}));
    assert!(end.send().await.expect(&url).status().is_success());
    let moved = |now: &Option<Machine>| now.as_ref().is_some_and(|it| it.id != first.id);
    eventually("the address is moved", SOON, carrier, moved).await;
    let ended = async || {
        pass().await;
        let machines = deployed.ledger().await.instances;
        machines.iter().any(|it| it.id == first.id && !it.is_up())
    };
    eventually("the replica is ended", SOON, ended, |ended| *ended).await;
}

async fn doctor(deployed: &Deployed) {
    let spot = format!(
        "UPDATE regions SET launch_choices = jsonb_set(launch_choices, '{{1,spot}}', 'true')
         WHERE name = '{HOSTS}'"
    );
    deployed.sql.batch_execute(&spot).await.unwrap();
    let report = deployed.invoke(&json!({"doctor": true})).await;
    assert!(report["doctor"]["checks"].is_array(), "{report:#}");
}

/// The pages for a program and for a person, who logs in and out.
async fn status(deployed: &Deployed, url: &str) {
    let token = &deployed.stack.env().status_token;
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let browser = browser.build().unwrap();
    let login = browser.post(format!("{url}login"));
    let login = login.form(&[("token", token)]).send().await.unwrap();
    let cookie = login.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let logout = browser.post(format!("{url}logout"));
    let logout = logout
        .header("cookie", cookie)
        .header("sec-fetch-site", "same-origin");
    let answer = logout.send().await.unwrap();
    assert!(answer.status().is_redirection(), "{answer:?}");
    for page in ["", "doctor"] {
        let page = reqwest::Client::new().get(format!("{url}{page}"));
        let answer = page.bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
}

/// `replicas.yaml`: deploys it, with these parameters beside the required ones.
pub(crate) async fn alone(deployed: &Deployed, parameters: &[(String, String)]) {
    let choices = json!([
        {"instance_type": "m6i.large", "subnet_tag": {"key": "Name", "value": "hosts-us-west-2a"}},
        {"instance_type": "m6i.xlarge", "subnet_id": "subnet-03a0000000000000a", "spot": true},
    ]);
    let own = [
        ("Region", ALONE.to_owned()),
        ("Image", "ami-03000000000000001".to_owned()),
        ("LaunchChoices", choices.to_string()),
        (
            "SecurityGroups",
            json!([{"key": "scaling", "value": "hosts"}]).to_string(),
        ),
        ("InstanceProfile", "hosts".to_owned()),
        ("UserData", format!("REPLICA_API_PORT={PORT}")),
        ("ReplicaMinAvailableResources", "1".to_owned()),
        ("ReplicaAddressTag", POOL.to_owned()),
        ("ReplicaApiPort", PORT.to_string()),
        ("ScheduleEnabled", "false".to_owned()),
        ("StatusSecret", "scaling/hasura".to_owned()),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    let all: Vec<_> = own.into_iter().chain(parameters.iter().cloned()).collect();
    let function = deployed.stack.deploy_replicas("alone", &all).await.unwrap();
    refused_launch(deployed, &function).await;
    let sdk = deployed.stack.sdk_config();
    invoke(&sdk, &function, &schedule()).await.unwrap();
    let pass = async || {
        invoke(&sdk, &function, &json!({})).await.unwrap();
    };
    replaced(deployed, ALONE, pass).await;
    hand_over(
        deployed,
        &function,
        &table(deployed, &function).await,
        ALONE,
    )
    .await;
    invoke(&sdk, &function, &json!({"doctor": true}))
        .await
        .unwrap();
    let url = function.replace("-reconcile", "-status");
    let url = deployed.stack.url_of(&url).await.unwrap();
    status(deployed, &url).await;
}

async fn table(deployed: &Deployed, function: &str) -> String {
    let lambda = aws_sdk_lambda::Client::new(&deployed.stack.sdk_config());
    let found = lambda.get_function_configuration().function_name(function);
    let found = found.send().await.unwrap();
    let variables = found.environment.and_then(|it| it.variables).unwrap();
    variables["SCALING_TABLE"].clone()
}
