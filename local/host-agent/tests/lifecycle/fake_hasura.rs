//! A fake Hasura with one instance, which answers like the SQL functions.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

#[derive(Clone)]
pub(crate) struct FakeHasura(Arc<Shared>);

struct Shared {
    state: Mutex<Host>,
    changed: Notify,
}

pub(crate) struct Host {
    /// The instance's status. `None`: it has no row.
    pub(crate) status: Option<&'static str>,
    pub(crate) slots: Vec<Slot>,
    /// The failures of the next requests. The last element comes first.
    pub(crate) failures: Vec<Failure>,
    /// The operations received, in order, with their outcomes.
    pub(crate) log: Vec<(String, String)>,
    pub(crate) authorizations: Vec<String>,
    /// The tokens that are accepted. Empty: all of them.
    pub(crate) accepted: Vec<String>,
    /// Answered to registrations and heartbeats with another token.
    pub(crate) next_token: Option<String>,
    next_slot: u32,
    /// How many requests to leave are held.
    pub(crate) leaves_held: u32,
    pub(crate) left_because: Option<String>,
    /// What the last heartbeat said of the activity of users.
    pub(crate) idle_seconds: Value,
}

pub(crate) struct Slot {
    pub(crate) id: String,
    pub(crate) status: &'static str,
    pub(crate) user: Option<(&'static str, &'static str)>,
    /// The time until the session is to end.
    pub(crate) seconds_left: Option<u64>,
}

#[derive(Clone, Copy)]
pub(crate) enum Failure {
    /// Status 503.
    Unavailable,
    /// Status 200 with a GraphQL error, as Hasura reports errors.
    GraphQlError,
    /// The request is executed, but the answer is not GraphQL.
    Garbled,
}

impl FakeHasura {
    /// Serves an instance with this status. It gets its slots when it registers.
    pub(crate) async fn serve(status: Option<&'static str>) -> (Self, String) {
        let host = Host {
            status,
            slots: Vec::new(),
            failures: Vec::new(),
            log: Vec::new(),
            authorizations: Vec::new(),
            accepted: Vec::new(),
            next_token: None,
            next_slot: 0,
            leaves_held: 0,
            left_because: None,
            idle_seconds: Value::Null,
        };
        let fake = Self(Arc::new(Shared {
            state: Mutex::new(host),
            changed: Notify::new(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/v1/graphql", post(answer))
            .with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (fake, url)
    }

    pub(crate) fn host(&self) -> MutexGuard<'_, Host> {
        self.0.state.lock().unwrap()
    }

    /// Waits until the condition holds.
    pub(crate) async fn until(&self, condition: impl Fn(&Host) -> bool) {
        loop {
            let changed = self.0.changed.notified();
            if condition(&self.host()) {
                return;
            }
            changed.await;
        }
    }
}

impl Host {
    pub(crate) fn outcomes(&self, operation: &str) -> Vec<&str> {
        self.log
            .iter()
            .filter(|(name, _)| name == operation)
            .map(|(_, outcome)| outcome.as_str())
            .collect()
    }

    fn add_slot(&mut self) {
        self.next_slot += 1;
        let id = format!("slot-{}", self.next_slot);
        self.slots.push(Slot {
            id,
            status: "WAITING",
            user: None,
            seconds_left: None,
        });
    }

    fn slot(&mut self, variables: &Value) -> Option<&mut Slot> {
        self.slots
            .iter_mut()
            .find(|slot| slot.id == variables["slot_id"])
    }

    fn register(&mut self) -> &'static str {
        match self.status {
            None => "RETRY",
            Some("PRE_CONNECTION") => {
                self.status = Some("ACTIVE");
                self.add_slot();
                self.add_slot();
                "REGISTERED"
            }
            Some("TERMINATING") => "SHUT_DOWN",
            Some(_) => "REGISTERED",
        }
    }

    fn heartbeat(&self) -> &'static str {
        match self.status {
            None | Some("TERMINATING") => "SHUT_DOWN",
            Some(_) => "OK",
        }
    }

    fn leave(&mut self, variables: &Value) -> &'static str {
        if self.leaves_held > 0 {
            self.leaves_held -= 1;
            return "HELD";
        }
        self.status = Some("DRAINING");
        self.left_because = variables["reason"].as_str().map(str::to_owned);
        "LEAVING"
    }

    fn claim(&mut self, variables: &Value) -> &'static str {
        match self.slot(variables) {
            Some(slot)
                if slot.status == "ALLOCATED"
                    && slot.user.is_some_and(|(user, session)| {
                        variables["user_id"] == user && variables["session_id"] == session
                    }) =>
            {
                slot.status = "CONNECTING";
                "CLAIMED"
            }
            _ => "REFUSED",
        }
    }

    fn report(&mut self, variables: &Value) -> &'static str {
        match self.slot(variables) {
            Some(slot) => {
                slot.status = if variables["status"] == "DYING" {
                    "DYING"
                } else {
                    "RUNNING"
                };
                "REPORTED"
            }
            None => "UNKNOWN",
        }
    }

    fn replace(&mut self, variables: &Value) -> &'static str {
        let before = self.slots.len();
        self.slots
            .retain(|slot| slot.id != variables["slot_id"] || slot.status != "DYING");
        if self.slots.len() == before {
            return "REFUSED";
        }
        if self.status == Some("ACTIVE") {
            self.add_slot();
            return "REPLACED";
        }
        "REMOVED"
    }

    fn row(&self) -> Value {
        let slots: Vec<_> = self
            .slots
            .iter()
            .map(|slot| {
                json!({"id": slot.id, "status": slot.status,
                       "user_id": slot.user.map(|user| user.0),
                       "session_id": slot.user.map(|user| user.1),
                       "seconds_left": slot.seconds_left})
            })
            .collect();
        match self.status {
            Some(status) => json!([{"status": status, "notice": null, "slots": slots}]),
            None => json!([]),
        }
    }
}

async fn answer(
    State(fake): State<FakeHasura>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> Response {
    let mut host = fake.host();
    let authorization = headers["authorization"].to_str().unwrap().to_owned();
    let token = authorization.trim_start_matches("Bearer ").to_owned();
    host.authorizations.push(authorization);
    if !host.accepted.is_empty() && !host.accepted.contains(&token) {
        fake.0.changed.notify_waiters();
        let error = json!({"message": "Could not verify JWT: JWSError JWSInvalidSignature",
            "extensions": {"path": "$", "code": "invalid-jwt"}});
        return Json(json!({"errors": [error]})).into_response();
    }
    let failure = host.failures.pop();
    match failure {
        Some(Failure::Unavailable) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(Failure::GraphQlError) => {
            let error = json!({"errors": [{"message": "the database is unavailable"}]});
            return Json(error).into_response();
        }
        Some(Failure::Garbled) | None => {}
    }
    let (operation, variables) = (
        request["operationName"].as_str().unwrap().to_owned(),
        request["variables"].clone(),
    );
    let (field, outcome) = match operation.as_str() {
        "RegisterHost" => ("register_host", host.register()),
        "Heartbeat" => {
            host.idle_seconds = variables["idle_seconds"].clone();
            ("heartbeat", host.heartbeat())
        }
        "LeaveHost" => ("leave_host", host.leave(&variables)),
        "ClaimSlot" => ("claim_slot", host.claim(&variables)),
        "ReportSlot" => ("report_slot", host.report(&variables)),
        "ReplaceSlot" => ("replace_slot", host.replace(&variables)),
        _ => ("own_instance", "READ"),
    };
    let data = match field {
        "own_instance" => host.row(),
        _ => {
            let next = host.next_token.clone().filter(|next| *next != token);
            let ends = host.slots.iter().filter(|slot| slot.seconds_left.is_some());
            let ends = ends.map(|slot| {
                json!({"slot_id": slot.id, "session_id": slot.user.map(|user| user.1),
                       "end_cause": "USER", "end_by": "2026-11-29T15:20:00Z",
                       "seconds_left": slot.seconds_left})
            });
            let ends: Vec<_> = ends.collect();
            json!([{"outcome": outcome, "status": host.status, "token": next, "ends": ends}])
        }
    };
    host.log.push((operation, outcome.to_owned()));
    fake.0.changed.notify_waiters();
    match failure {
        Some(_) => "<html>".into_response(),
        None => Json(json!({"data": {field: data}})).into_response(),
    }
}
