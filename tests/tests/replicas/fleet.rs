//! A region of replicas: setting it up, running passes, and changing what its replicas answer.

use std::collections::BTreeMap;

use local_stack::ports::Ports;
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::ledger::Machine;
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::world::{image, subnet};

/// `replica_capacity` of every region.
pub(crate) const CAPACITY: i64 = 3;

pub(crate) struct Fleet<'a> {
    pub(crate) region: Region<'a>,
    port: u16,
    http: reqwest::Client,
}

impl<'a> Fleet<'a> {
    /// A region without replicas and with this minimum of available resources.
    pub(crate) async fn new(deployed: &'a Deployed, name: &'a str, min: i64) -> Self {
        // Free now, on 127.0.0.1. It must differ from the port of another stack's replicas.
        let port = Ports::free().reserve("replicas").expect("a port").release();
        let region = Region { deployed, name };
        // More than one, for what EC2 takes soon after its launch: that type then rests. A choice
        // without a capacity uses `replica_capacity`.
        let choices = ["m6i.large", "m6i.xlarge", "m6i.2xlarge"]
            .map(|kind| json!({"instance_type": kind, "subnet_id": subnet(name)}));
        region
            .insert(json!({
                "algorithm": "replica",
                "target_free": 0,
                "max_instances": 20,
                "replica_capacity": CAPACITY,
                "replica_min_available": min,
                "replica_api_port": port,
                "replica_api_path": "/status?by=scaling",
                "replica_api_seconds": 5,
                "launch_choices": choices,
                "security_groups": [{"key": "scaling", "value": "replicas"}],
                "user_data_template":
                    format!("SCALING_CAPACITY=${{CAPACITY}}\nREPLICA_API_PORT={port}\n"),
            }))
            .await;
        region.set_image(&image(name), "CURRENT").await;
        Self {
            region,
            port,
            http: reqwest::Client::new(),
        }
    }

    /// The same with its minimum running, healthy and at rest.
    pub(crate) async fn filled(deployed: &'a Deployed, name: &'a str, min: i64) -> Self {
        let fleet = Self::new(deployed, name, min).await;
        fleet.pass().await;
        fleet.at_rest().await;
        fleet
    }

    /// Runs a pass, whose steps must all succeed. EC2's events cause passes of their own.
    pub(crate) async fn pass(&self) -> Value {
        let pass = async || self.region.reconcile().await;
        let report = eventually("no other pass", SOON, pass, |it| it["outcome"] != "busy").await;
        assert_eq!(report["outcome"], "done", "{report:#}");
        report
    }

    /// Waits until every replica that EC2 is building answers and passes have nothing to do or to
    /// wait for.
    pub(crate) async fn at_rest(&self) -> Value {
        let region = &self.region;
        let pass = async || (self.pass().await, self.up().await, region.work_left().await);
        let quiet = |(report, up, left): &(Value, Vec<Machine>, Vec<String>)| {
            let listed = views(&report["plan"]);
            let all_listed = up.iter().all(|machine| {
                let view = listed.get(machine.id.as_str());
                view.is_some_and(|view| view["status"] != "creating")
            });
            report["plan"]["steps"] == json!([]) && all_listed && left.is_empty()
        };
        let (report, ..) = eventually(region.name, SOON, pass, quiet).await;
        report
    }

    /// Raises the minimum until five replicas run, and returns them.
    pub(crate) async fn grow_to_five(&self) -> Vec<Machine> {
        let minimum = json!({"replica_min_available": 5 * CAPACITY});
        self.region.set(&minimum).await;
        self.pass().await;
        self.at_rest().await;
        let all = self.up().await;
        assert_eq!(all.len(), 5);
        all
    }

    /// EC2's machines of the region, in the order of their launches.
    pub(crate) async fn up(&self) -> Vec<Machine> {
        let mut machines = self.region.launched().await;
        machines.retain(Machine::is_up);
        machines
    }

    pub(crate) async fn ids(&self) -> Vec<String> {
        self.up().await.into_iter().map(|it| it.id).collect()
    }

    /// Changes what a replica answers from now on.
    pub(crate) async fn set_answer(&self, machine: &Machine, change: Value) {
        let url = format!("http://{}:{}/_replica", machine.private_ip, self.port);
        let answer = self.http.put(&url).json(&change).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        answer.expect("the replica takes it");
    }

    /// The plan of a dry run, once EC2's listing has caught up with `good`.
    pub(crate) async fn plan_with(&self, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        let plan = async || self.region.plan().await;
        eventually(what, SOON, plan, good).await
    }

    /// Asserts the invariants of a region of replicas: no row in PostgreSQL, no open intent in
    /// DynamoDB, and no intent launched twice.
    pub(crate) async fn assert_invariants(&self) {
        let region = &self.region;
        region.wait_until_store_is_at_rest().await;
        assert!(region.rows().await.is_empty(), "{}: rows", region.name);
        let machines = region.launched().await;
        region.assert_each_intent_launched_once(&machines).await;
        region.assert_maximum_held(&machines).await;
    }
}

/// The replicas of a plan by their ids.
pub(crate) fn views(plan: &Value) -> BTreeMap<&str, &Value> {
    let replicas = plan["replicas"].as_array().map_or(&[][..], Vec::as_slice);
    let views = replicas.iter().map(|view| (text(&view["instance"]), view));
    views.collect()
}

/// The number of replicas of a plan with this status.
pub(crate) fn with_status(plan: &Value, status: &str) -> usize {
    let views = views(plan);
    views
        .values()
        .filter(|view| view["status"] == status)
        .count()
}

/// The replicas that a plan deletes, with the reasons.
pub(crate) fn deleted(plan: &Value) -> Vec<(&str, &str)> {
    steps(plan, "delete_replica")
        .map(|step| (text(&step["instance"]), text(&step["because"]["reason"])))
        .collect()
}

/// The number of replicas that a plan creates.
pub(crate) fn created(plan: &Value) -> i64 {
    let launches = steps(plan, "launch");
    launches
        .map(|step| step["options"][0]["count"].as_i64().unwrap())
        .sum()
}

pub(crate) fn steps<'p>(plan: &'p Value, action: &'p str) -> impl Iterator<Item = &'p Value> {
    let steps = plan["steps"].as_array().map_or(&[][..], Vec::as_slice);
    steps.iter().filter(move |step| step["do"] == action)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
