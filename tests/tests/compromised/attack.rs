//! What a compromised instance does with its token.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use local_stack::project;
use local_stack::random::Random;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scaling_tests::deployed::Deployed;
use scaling_tests::ledger::Machine;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::row;

/// An answer within this time costs nobody else anything.
const QUERY_LIMIT: Duration = Duration::from_secs(20);

/// Outcomes that are not refusals.
const ACCEPTED: [&str; 8] = [
    "OK",
    "REGISTERED",
    "LEAVING",
    "HELD",
    "CLAIMED",
    "REPORTED",
    "REPLACED",
    "REMOVED",
];

/// What the compromised instances found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// How often each attempt had each outcome.
    outcomes: Mutex<BTreeMap<String, usize>>,
    /// The users and sessions that were thrown out.
    captured: Mutex<BTreeSet<(String, String)>>,
    violations: Mutex<Vec<String>>,
}

impl Findings {
    pub(crate) fn all(&self) -> BTreeMap<String, usize> {
        self.outcomes.lock().unwrap().clone()
    }

    pub(crate) fn captured(&self) -> usize {
        self.captured.lock().unwrap().len()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    fn count(&self, attempt: &str, outcome: &str) {
        let mut outcomes = self.outcomes.lock().unwrap();
        *outcomes.entry(format!("{attempt}: {outcome}")).or_default() += 1;
    }

    fn violation(&self, text: String) {
        self.violations.lock().unwrap().push(text);
    }
}

/// A compromised instance. Its agent stands still, and this acts in its place.
pub(crate) struct Compromised<'a> {
    deployed: &'a Deployed,
    id: String,
    token: String,
    /// All requests of a host agent, as the agent sends them.
    documents: String,
    http: reqwest::Client,
    findings: &'a Findings,
}

impl<'a> Compromised<'a> {
    pub(crate) fn of(deployed: &'a Deployed, machine: &Machine, findings: &'a Findings) -> Self {
        let agent = machine.agent.as_ref().expect("an agent");
        kill(Pid::from_raw(agent.pid), Signal::SIGSTOP).expect("the agent runs");
        let documents = project::root().join("local/host-agent/src/graphql/agent.graphql");
        Self {
            deployed,
            id: machine.id.clone(),
            token: machine.agent_token().expect("a token").to_owned(),
            documents: std::fs::read_to_string(documents).expect("the agent's requests"),
            http: reqwest::Client::new(),
            findings,
        }
    }

    pub(crate) async fn attack(&self, stop: &AtomicBool) {
        tokio::join!(
            self.capture_users(stop),
            self.act_for_others(stop),
            self.register_elsewhere(stop),
            self.send_costly_queries(stop),
        );
    }

    /// Takes each user at once, ends the session, and offers the slot again.
    async fn capture_users(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let own = json!({"instance_id": self.id});
            self.call("Heartbeat", own.clone()).await;
            let answer = self.call("OwnInstance", own).await;
            let slots = row(&answer, "own_instance")["slots"].as_array().cloned();
            for slot in slots.unwrap_or_default() {
                self.throw_out(&slot).await;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn throw_out(&self, slot: &Value) {
        let of_slot = json!({"slot_id": slot["id"]});
        let text = |name: &str| slot[name].as_str().unwrap_or_default().to_owned();
        let holder = (text("user_id"), text("session_id"));
        if slot["status"] == "WAITING" {
            return;
        }
        let (user, session) = &holder;
        let claim = json!({"slot_id": slot["id"], "user_id": user, "session_id": session});
        self.outcome("claims", "ClaimSlot", claim).await;
        let dying = json!({"slot_id": slot["id"], "status": "DYING"});
        if self.outcome("ends", "ReportSlot", dying).await == "REPORTED" {
            self.findings.captured.lock().unwrap().insert(holder);
        }
        self.outcome("replaces", "ReplaceSlot", of_slot).await;
    }

    /// Acts for other instances, whose ids it knows.
    async fn act_for_others(&self, stop: &AtomicBool) {
        let sql = self.deployed.connect().await;
        let slots = "SELECT s.id::text, s.instance_id, coalesce(s.user_id, ''),
                         coalesce(s.session_id, '')
                     FROM slots s WHERE s.instance_id <> $1";
        let mut random = Random::new(1, &self.id);
        while !stop.load(Ordering::Relaxed) {
            let rows = sql.query(slots, &[&self.id]).await.expect(slots);
            let target = random.pick(&rows);
            let [slot, instance, user, session] =
                [0, 1, 2, 3].map(|at| target.get::<_, String>(at));
            let of_instance = json!({"instance_id": instance});
            let elsewhere = json!({"instance_id": instance, "ip_addr": "169.254.169.254"});
            let leave = json!({"instance_id": instance, "reason": "I want its users"});
            let of_slot = json!({"slot_id": slot});
            let claim = json!({"slot_id": slot, "user_id": user, "session_id": session});
            let status = |status: &str| json!({"slot_id": slot, "status": status});
            for (operation, variables) in [
                ("Heartbeat", of_instance.clone()),
                ("RegisterHost", elsewhere),
                ("LeaveHost", leave),
                ("ClaimSlot", claim),
                ("ReportSlot", status("RUNNING")),
                ("ReportSlot", status("DYING")),
                ("ReplaceSlot", of_slot),
            ] {
                let outcome = self.outcome("for others", operation, variables).await;
                if ACCEPTED.contains(&outcome.as_str()) {
                    let text = format!("{operation} for {instance} was answered with {outcome}");
                    self.findings.violation(text);
                }
            }
            let answer = self.call("OwnInstance", of_instance).await;
            if !row(&answer, "own_instance").is_null() {
                self.findings
                    .violation(format!("{instance} was read: {answer}"));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Registers its own instance under addresses that it does not have.
    async fn register_elsewhere(&self, stop: &AtomicBool) {
        let addresses = [
            "169.254.169.254".to_owned(),
            "evil.example".to_owned(),
            "1.1.1.1/24".to_owned(),
            "10.0.0.1\r\n10.0.0.2".to_owned(),
            "<script>alert(1)</script>".to_owned(),
            "\u{202e}1.0.0.01".to_owned(),
            "x".repeat(7_000_000),
        ];
        for address in addresses.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let variables = json!({"instance_id": self.id, "ip_addr": address});
            self.outcome("elsewhere", "RegisterHost", variables).await;
            sleep(Duration::from_millis(300)).await;
        }
    }

    /// Sends documents that no agent sends.
    async fn send_costly_queries(&self, stop: &AtomicBool) {
        let deep = format!(
            "{{ instances {{ {} id {} }} }}",
            "slots { id instance { ".repeat(8),
            "} }".repeat(8)
        );
        let many: String = (0..500)
            .map(|n| {
                format!(
                    "b{n}: heartbeat(args: {{instance_id: \"{}\"}}) {{ outcome }} ",
                    self.id
                )
            })
            .collect();
        let wide = format!("mutation {{ {many} }}");
        let schema = "{ __schema { types { name fields { name type { name } } } } }".to_owned();
        while !stop.load(Ordering::Relaxed) {
            for (name, query) in [("deep", &deep), ("wide", &wide), ("schema", &schema)] {
                let sent = Instant::now();
                let body = json!({"query": query});
                for answer in join_all((0..6).map(|_| self.send(&body))).await {
                    if answer["errors"].is_null() {
                        let text = format!("the {name} query was answered: {answer:.200}");
                        self.findings.violation(text);
                    }
                    self.findings.count(name, code(&answer));
                }
                if sent.elapsed() > QUERY_LIMIT {
                    let took = sent.elapsed();
                    self.findings
                        .violation(format!("six {name} queries took {took:.1?}"));
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Sends one of the agent's requests, and counts its outcome.
    async fn outcome(&self, attempt: &str, operation: &str, variables: Value) -> String {
        let answer = self.call(operation, variables).await;
        let functions = answer["data"].as_object();
        let rows = functions.and_then(|functions| functions.values().next());
        let outcome = rows.map_or(&Value::Null, |rows| &rows[0]["outcome"]);
        let outcome = outcome.as_str().unwrap_or_else(|| code(&answer)).to_owned();
        let attempt = format!("{attempt}, {operation}");
        self.findings.count(&attempt, &outcome);
        outcome
    }

    async fn call(&self, operation: &str, variables: Value) -> Value {
        let body = json!({
            "operationName": operation,
            "query": self.documents,
            "variables": variables,
        });
        self.send(&body).await
    }

    /// Null without an answer.
    async fn send(&self, body: &Value) -> Value {
        let url = format!("{}/v1/graphql", self.deployed.stack.env().hasura_url);
        let request = self.http.post(url).bearer_auth(&self.token).json(body);
        let answer = request.timeout(2 * QUERY_LIMIT).send().await;
        let Ok(answer) = answer else {
            return json!({"errors": [{"extensions": {"code": "no answer"}}]});
        };
        let status = answer.status();
        let unreadable = || json!({"errors": [{"extensions": {"code": status.as_str()}}]});
        answer.json().await.unwrap_or_else(|_| unreadable())
    }
}

/// The code of an answer's first error.
fn code(answer: &Value) -> &str {
    let code = answer["errors"][0]["extensions"]["code"].as_str();
    code.unwrap_or("no outcome")
}

/// Locks all rows that the agents of these instances can lock, most of the time, and longer than a
/// request of theirs can.
pub(crate) async fn hold_rows(deployed: &Deployed, ids: &[String], stop: &AtomicBool) {
    let sql = deployed.connect().await;
    let list = ids
        .iter()
        .map(|id| format!("'{id}'"))
        .collect::<Vec<_>>()
        .join(", ");
    let hold = format!(
        "BEGIN;
         SELECT FROM instances WHERE id IN ({list}) ORDER BY id FOR UPDATE;
         SELECT FROM heartbeats WHERE instance_id IN ({list}) ORDER BY instance_id FOR UPDATE;
         SELECT FROM slots WHERE instance_id IN ({list}) ORDER BY id FOR UPDATE;
         SELECT pg_sleep(3);
         COMMIT;"
    );
    while !stop.load(Ordering::Relaxed) {
        // A deadlock with an agent's own request ends one of the two.
        if sql.batch_execute(&hold).await.is_err() {
            sql.batch_execute("ROLLBACK").await.expect("a rollback");
        }
        sleep(Duration::from_millis(1_500)).await;
    }
}
