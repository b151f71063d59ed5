//! A region of replicas: how it is set up, asked, and told what to answer.

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
    /// A region without replicas, that should have so much available at all times.
    pub(crate) async fn new(deployed: &'a Deployed, name: &'a str, min: i64) -> Self {
        // Free now and on 127.0.0.1; what counts is that no other stack's replicas have it.
        let port = Ports::free().reserve("replicas").expect("a port").release();
        let region = Region { deployed, name };
        region
            .insert(json!({
                "algorithm": "replica",
                "target_free": 0,
                "max_instances": 20,
                "replica_capacity": CAPACITY,
                "replica_min_available": min,
                "replica_api_port": port,
                "replica_api_path": "/status?by=scaling",
                "replica_api_seconds": 1,
                // Without a capacity: that is `replica_capacity`.
                "launch_choices": [{"instance_type": "m6i.large", "subnet_id": subnet(name)}],
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

    /// A pass that does all that it decided.
    pub(crate) async fn pass(&self) -> Value {
        let report = self.region.reconcile().await;
        assert_eq!(report["outcome"], "done", "{report:#}");
        report
    }

    /// Waits until everything that EC2 builds answers, and passes have nothing to do and nothing
    /// that they wait for.
    pub(crate) async fn at_rest(&self) -> Value {
        let pass = async || (self.pass().await, self.up().await, self.open().await);
        let quiet = |(report, up, open): &(Value, Vec<Machine>, Vec<String>)| {
            let listed = views(&report["plan"]);
            let all_listed = up.iter().all(|machine| {
                let view = listed.get(machine.id.as_str());
                view.is_some_and(|view| view["status"] != "creating")
            });
            report["plan"]["steps"] == json!([]) && all_listed && open.is_empty()
        };
        let (report, ..) = eventually(self.region.name, SOON, pass, quiet).await;
        report
    }

    async fn open(&self) -> Vec<String> {
        self.region.open_intents().await
    }

    /// What EC2 has of them, in the order of their launches.
    pub(crate) async fn up(&self) -> Vec<Machine> {
        let mut machines = self.region.launched().await;
        machines.retain(Machine::is_up);
        machines
    }

    pub(crate) async fn ids(&self) -> Vec<String> {
        self.up().await.into_iter().map(|it| it.id).collect()
    }

    /// Tells a replica what to answer from now on.
    pub(crate) async fn tell(&self, machine: &Machine, change: Value) {
        let url = format!("http://{}:{}/_replica", machine.private_ip, self.port);
        let answer = self.http.put(&url).json(&change).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        answer.expect("the replica takes it");
    }

    /// A dry run, once EC2's list has caught up with what this says of the plan.
    pub(crate) async fn plan_with(&self, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        let plan = async || self.region.plan().await;
        eventually(what, SOON, plan, good).await
    }

    /// What holds whatever happened: nothing is left in Postgres nor open in DynamoDB, and no
    /// intent was launched twice.
    pub(crate) async fn promises_kept(&self) {
        let region = &self.region;
        let mut memory = region.deployed.region_state(region.name).await;
        memory.retain(|key| key != "REPLICAS");
        assert_eq!(memory, ["LOCK"], "{}", region.name);
        assert!(region.rows().await.is_empty(), "{}: rows", region.name);
        let machines = region.launched().await;
        region.each_intent_was_launched_once(&machines).await;
        region.never_more_than_the_maximum(&machines).await;
    }
}

/// The replicas of a plan by their ids.
pub(crate) fn views(plan: &Value) -> BTreeMap<&str, &Value> {
    let replicas = plan["replicas"].as_array().map_or(&[][..], Vec::as_slice);
    let views = replicas.iter().map(|view| (text(&view["instance"]), view));
    views.collect()
}

/// How many replicas of a plan have this status.
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

/// The replicas that a plan creates.
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
