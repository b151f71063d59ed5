//! A deployed stack as a test sees it: from outside.

use std::time::Duration;

use local_stack::operator::Operator;
use local_stack::options::{Schedule, StackOptions};
use local_stack::seed::RegionSeed;
use local_stack::stack::Stack;
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use crate::ledger::Ledger;
use crate::wait::eventually;

/// Long enough for anything on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Deployed {
    pub stack: Stack,
    pub sql: Client,
    http: reqwest::Client,
}

/// An answer of `assign-user`.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Deployed {
    /// A stack of its own, with the schedule off: a test says when a pass runs.
    pub async fn start(name: &str, change: impl FnOnce(&mut StackOptions)) -> Self {
        let mut options = StackOptions::named(name);
        options.schedule = Schedule::Off;
        change(&mut options);
        let stack = Stack::start(&options).await.expect("the stack starts");
        let (sql, connection) = tokio_postgres::connect(&stack.env().database_url, NoTls)
            .await
            .expect("Postgres");
        tokio::spawn(connection);
        Self {
            stack,
            sql,
            http: reqwest::Client::new(),
        }
    }

    /// What an operator does first: settings, an image, the app's version.
    pub async fn set_up(&self, seed: &RegionSeed) {
        seed.insert(&self.operator(), None)
            .await
            .expect("the region is set up");
    }

    pub fn operator(&self) -> Operator {
        self.stack.operator()
    }

    /// Invokes the deployed `reconcile`, and expects every region to be done.
    pub async fn reconcile(&self) -> Value {
        self.invoke(&json!({})).await
    }

    pub async fn invoke(&self, payload: &Value) -> Value {
        self.stack
            .reconcile(payload)
            .await
            .expect("reconcile answers")
    }

    /// `POST /mandelbox/assign` as `user`.
    pub async fn assign(&self, user: &str, body: &Value) -> Answer {
        let token = self.stack.token(user).expect("a token");
        let url = format!("{}mandelbox/assign", self.stack.env().assign_user_url);
        let answer = self
            .http
            .post(url)
            .bearer_auth(token)
            .json(body)
            .send()
            .await
            .expect("assign-user answers");
        Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.json().await.expect("a JSON body"),
        }
    }

    pub async fn ledger(&self) -> Ledger {
        Ledger::read(&self.stack.env().ec2_control_url).await
    }

    /// The one number that a query gives.
    pub async fn count(&self, query: &str) -> i64 {
        self.sql.query_one(query, &[]).await.expect(query).get(0)
    }

    /// Free slots by the database's own words: `WAITING` on an `ACTIVE` instance.
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

    /// Waits until the buffer holds so many free slots.
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
