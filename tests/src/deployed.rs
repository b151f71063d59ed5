//! A deployed stack, as a test sees it from outside.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use local_stack::ec2::set_faults;
pub use local_stack::invoke::schedule;
use local_stack::operator::Operator;
use local_stack::options::{Schedule, StackOptions};
use local_stack::seed::{APP_VERSION, CLIENT_SHA, RegionSeed};
use local_stack::stack::Stack;
use local_stack::token::Token;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use testing::invariants::slots::Holding;
use tokio_postgres::{Client, NoTls};

use crate::ledger::Ledger;
use crate::wait::eventually;

/// Long enough for anything on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// The header under which a function URL passes on `WWW-Authenticate`.
pub const REMAPPED_CHALLENGE: &str = "x-amzn-remapped-www-authenticate";

pub struct Deployed {
    pub stack: Stack,
    pub sql: Client,
    pub(crate) http: reqwest::Client,
    tokens: Mutex<Vec<String>>,
    /// The slots that were assigned, by region.
    assignments: Mutex<BTreeMap<String, Vec<Holding>>>,
}

/// An answer of `assign-user`. The body is null when the answer has none.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

/// Reduces the delays of EC2, and of an agent's start, to a few tenths of a second.
pub fn set_fast_ec2(options: &mut StackOptions) {
    options.ec2.pending_ms = Some(200);
    options.ec2.shutting_down_ms = Some(200);
    options.ec2.listing_lag_ms = Some(200);
    options.ec2.agent_boot_ms = Some(50);
    options.ec2.agent_connect_ms = Some(100);
}

/// The request of a client of the served build, for one region.
pub fn client_request(region: &str, session: impl Into<Value>) -> Value {
    json!({
        "regions": [region],
        "client_commit_hash": CLIENT_SHA,
        "user_email": "somebody@example.com",
        "version": APP_VERSION,
        "session_id": session.into(),
    })
}

impl Deployed {
    /// Starts a stack of its own with the schedule off and the delivery of database events paused,
    /// so that a test decides when a pass runs.
    pub async fn start(name: &str, change: impl FnOnce(&mut StackOptions)) -> Self {
        let mut options = StackOptions::named(name);
        options.schedule = Schedule::Off;
        change(&mut options);
        let stack = Stack::start(&options).await.expect("the stack starts");
        let sql = connect(&stack.env().database_url).await;
        let deployed = Self {
            stack,
            sql,
            http: reqwest::Client::new(),
            tokens: Mutex::default(),
            assignments: Mutex::default(),
        };
        deployed.control_events("POST", "pause", &Value::Null).await;
        deployed
    }

    /// Resumes the delivery of database events, including those that waited.
    pub async fn deliver_events(&self) {
        self.control_events("POST", "resume", &Value::Null).await;
    }

    /// Calls the control API of the database events' delivery: see `local-graphql deliver`.
    pub async fn control_events(&self, method: &str, path: &str, body: &Value) -> Value {
        let control = self.stack.env().hasura_events_control_url.as_deref();
        let url = format!("{}/{path}", control.expect("events are delivered"));
        let method = method.parse().expect("a method");
        let answer = self
            .http
            .request(method, &url)
            .json(body)
            .send()
            .await
            .expect(&url);
        assert!(answer.status().is_success(), "{url}: {answer:?}");
        answer.json().await.expect("a JSON body")
    }

    /// The attempts to deliver events of a trigger after the attempt with the number `after`.
    pub async fn deliveries(&self, trigger: &str, after: i64) -> Vec<Value> {
        let path = format!("deliveries?after={after}");
        let mut answer = self.control_events("GET", &path, &Value::Null).await;
        let deliveries = answer["deliveries"].take();
        let mut deliveries: Vec<Value> = serde_json::from_value(deliveries).expect("a list");
        deliveries.retain(|delivery| delivery["trigger_name"] == trigger);
        deliveries
    }

    /// The number of the last attempt.
    pub async fn last_delivery(&self) -> i64 {
        let answer = self.control_events("GET", "deliveries", &Value::Null).await;
        answer["last"].as_i64().expect("a number")
    }

    /// Another connection to PostgreSQL, for queries that would keep [`Self::sql`] busy.
    pub async fn connect(&self) -> Client {
        connect(&self.stack.env().database_url).await
    }

    /// Sets up a region as an operator does: a target of four free slots, instances of two slots, an
    /// image, and the app version.
    pub async fn set_up(&self, region: &str, max_instances: u32) {
        let seed = RegionSeed {
            region: region.to_owned(),
            target_free: 4,
            max_instances,
            capacity: 2,
        };
        let inserted = seed.insert(&self.operator(), None).await;
        inserted.expect("the region is set up");
    }

    pub fn hasura_event_function(&self) -> String {
        format!("{}-hasura-event", self.stack.env().stack_name)
    }

    pub fn operator(&self) -> Operator {
        self.stack.operator()
    }

    /// Invokes the deployed `reconcile`, again while another pass holds a lock: EC2's events cause
    /// passes of their own.
    pub async fn reconcile(&self) -> Value {
        let is_busy = |report: &Value| {
            let regions = report["regions"].as_array();
            regions.is_some_and(|all| all.iter().any(|region| region["outcome"] == "busy"))
        };
        let pass = async || self.invoke(&json!({})).await;
        eventually("no other pass", SOON, pass, |report| !is_busy(report)).await
    }

    pub async fn invoke(&self, payload: &Value) -> Value {
        self.stack
            .reconcile(payload)
            .await
            .expect("reconcile answers")
    }

    /// Invokes `reconcile` with the schedule's event.
    pub async fn scheduled(&self) -> Value {
        self.invoke(&schedule()).await
    }

    /// Invokes the deployed `reconcile`, and expects it to fail as a whole.
    pub async fn refused(&self, payload: &Value) -> String {
        let answer = self.stack.reconcile(payload).await;
        let error = answer.expect_err("reconcile refuses the payload");
        format!("{error:#}")
    }

    /// A token with which `user` may request a slot.
    pub fn token(&self, user: &str) -> String {
        self.sign(&Token::new(user))
    }

    /// Any token, signed with the stack's keys.
    pub fn sign(&self, token: &Token) -> String {
        let token = token.sign(self.stack.keys()).expect("a token");
        self.keep_secret(token.clone());
        token
    }

    /// Counts `token` among those that no log may show.
    pub fn keep_secret(&self, token: String) {
        let tokens = self.tokens.lock();
        tokens.unwrap_or_else(PoisonError::into_inner).push(token);
    }

    /// Every token that was made for a user so far.
    pub fn tokens(&self) -> Vec<String> {
        let tokens = self.tokens.lock();
        tokens.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A request to the function URL. `path` has no leading slash.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.stack.env().assign_user_url);
        self.http.request(method, url)
    }

    /// Sends `POST /mandelbox/assign` as `user`.
    pub async fn assign(&self, user: &str, body: &Value) -> Answer {
        self.assign_with(&self.token(user), user, body).await
    }

    /// Like [`Self::assign`], with a token that the caller already has.
    pub async fn assign_with(&self, token: &str, user: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, "mandelbox/assign");
        let answer = Answer::of(request.bearer_auth(token).json(body)).await;
        if answer.status == 200 {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let holding = Holding {
                slot: text(&answer.body["mandelbox_id"]),
                user: user.to_owned(),
                session: text(&body["session_id"]),
            };
            let assignments = self.assignments.lock();
            let mut assignments = assignments.unwrap_or_else(PoisonError::into_inner);
            let region = text(&answer.body["region"]);
            assignments.entry(region).or_default().push(holding);
        }
        answer
    }

    /// Every slot that was assigned in this region so far.
    pub fn assignments(&self, region: &str) -> Vec<Holding> {
        let assignments = self.assignments.lock();
        let assignments = assignments.unwrap_or_else(PoisonError::into_inner);
        assignments.get(region).cloned().unwrap_or_default()
    }

    /// Replaces the errors that the GraphQL engine answers on request.
    pub async fn set_hasura_faults(&self, rules: &Value) {
        let env = self.stack.env();
        let request = reqwest::Client::new()
            .put(format!("{}/_faults", env.hasura_url))
            .header("x-hasura-admin-secret", &env.hasura_admin_secret)
            .json(&serde_json::json!({"rules": rules}));
        let response = request.send().await.expect("the engine answers");
        assert!(response.status().is_success(), "{response:?}");
    }

    /// Replaces the faults of the EC2 emulator. `{}` removes all of them.
    pub async fn set_faults(&self, faults: &Value) {
        let set = set_faults(&self.stack.env().ec2_control_url, faults).await;
        set.expect("the emulator takes the faults");
    }

    /// Changes the speed of instances and agents that start from now on.
    pub async fn set_pace(&self, settings: &Value) {
        let url = format!("{}/settings", self.stack.env().ec2_control_url);
        let answer = self.http.patch(url).json(settings).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        answer.expect("the emulator takes the settings");
    }

    /// The sort keys of a region's items in DynamoDB.
    pub async fn region_state(&self, region: &str) -> Vec<String> {
        let items = self.items(&format!("REGION#{region}")).await;
        let keys = items.iter().filter_map(|item| item["sk"].as_s().ok());
        keys.cloned().collect()
    }

    /// The items of the scaling table under a partition key.
    pub async fn items(&self, pk: &str) -> Vec<HashMap<String, AttributeValue>> {
        let mut items = self
            .dynamodb()
            .query()
            .table_name(&self.stack.env().scaling_table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut all = Vec::new();
        while let Some(item) = items.next().await {
            all.push(item.expect("the table is read"));
        }
        all
    }

    /// A client of DynamoDB itself, without any proxy between it and the functions.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.stack.sdk_config())
    }

    pub async fn ledger(&self) -> Ledger {
        Ledger::read(&self.stack.env().ec2_control_url).await
    }

    /// The single number that a query returns.
    pub async fn count(&self, query: &str) -> i64 {
        self.sql.query_one(query, &[]).await.expect(query).get(0)
    }

    /// The free slots by the database: `WAITING` on an `ACTIVE` instance.
    pub async fn free(&self) -> i64 {
        self.count(
            "SELECT count(*) FROM slots s JOIN instances i ON i.id = s.instance_id
             WHERE s.status = 'WAITING' AND i.status = 'ACTIVE'",
        )
        .await
    }

    pub async fn instances(&self) -> i64 {
        self.count("SELECT count(*) FROM instances").await
    }

    /// Waits until the buffer holds exactly `slots` free slots.
    pub async fn filled_to(&self, slots: i64) {
        eventually(
            "free slots",
            SOON,
            async || self.free().await,
            |free| *free == slots,
        )
        .await;
    }
}

impl Answer {
    /// Sends the request.
    pub async fn of(request: RequestBuilder) -> Self {
        let answer = request.send().await.expect("assign-user answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await.expect("the whole answer");
        let body = match body.as_ref() {
            b"" => Value::Null,
            json => serde_json::from_slice(json).expect("a JSON body"),
        };
        Self {
            status,
            headers,
            body,
        }
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("Postgres");
    // An error of the connection also reaches the client, where it is handled.
    tokio::spawn(connection);
    client
}
