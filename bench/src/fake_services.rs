//! Stand-ins for everything that `assign-user` calls: Lambda's runtime API, the identity provider's
//! key set, Hasura.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use local_stack::keys::UserKeys;
use local_stack::ports::Ports;
use local_stack::token::Token;
use scaling_tests::http::{self, Message};
use serde_json::{Value, json};

use crate::runtime_api;

/// Longer than anything here takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The stand-ins, and the measurements that they take.
pub(crate) struct FakeServices {
    address: String,
    polled: Receiver<Instant>,
    work: Sender<()>,
    answered: Receiver<(Duration, Vec<u8>)>,
    hasura_requests: Arc<AtomicUsize>,
}

impl FakeServices {
    pub(crate) fn start(keys: &UserKeys) -> Result<Self> {
        let port = Ports::free().reserve("the runtime API")?;
        let address = format!("127.0.0.1:{}", port.port());
        let (polled_tx, polled) = mpsc::channel();
        let (work, work_rx) = mpsc::channel();
        let (answered_tx, answered) = mpsc::channel();
        let hasura_requests = Arc::new(AtomicUsize::new(0));
        let script = Script {
            key_set: keys.key_set().to_string().into_bytes(),
            event: event(&Token::new("alice").sign(keys)?)?,
            slot: slot(),
            polled: polled_tx,
            work: Mutex::new(work_rx),
            answered: answered_tx,
            hasura_requests: hasura_requests.clone(),
            clock: Mutex::new(Stopwatch::default()),
        };
        http::serve(port.into_listener(), move |request| script.respond(request));
        Ok(Self {
            address,
            polled,
            work,
            answered,
            hasura_requests,
        })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The time at which the function polled for its next event.
    pub(crate) fn next_poll(&self) -> Result<Instant> {
        self.polled
            .recv_timeout(TIMEOUT)
            .context("assign-user has not polled for an event")
    }

    /// Gives the function one event. Returns the time that the function itself worked, without the
    /// time in which Hasura had its request.
    pub(crate) fn invoke(&self) -> Result<Duration> {
        self.next_poll()?;
        self.work.send(())?;
        let (own, answer) = self
            .answered
            .recv_timeout(TIMEOUT)
            .context("assign-user has not answered")?;
        let status =
            serde_json::from_slice(&answer).map(|answer: Value| answer["statusCode"] == 200);
        ensure!(
            status.is_ok_and(|is_ok| is_ok),
            "assign-user answered {}",
            String::from_utf8_lossy(&answer)
        );
        Ok(own)
    }

    /// The number of requests to Hasura since the last call.
    pub(crate) fn take_hasura_requests(&self) -> usize {
        self.hasura_requests.swap(0, Ordering::Relaxed)
    }
}

/// The answers of the stand-ins.
struct Script {
    key_set: Vec<u8>,
    event: Vec<u8>,
    slot: Vec<u8>,
    polled: Sender<Instant>,
    work: Mutex<Receiver<()>>,
    answered: Sender<(Duration, Vec<u8>)>,
    hasura_requests: Arc<AtomicUsize>,
    clock: Mutex<Stopwatch>,
}

impl Script {
    fn respond(&self, request: &Message) -> io::Result<Vec<u8>> {
        let path = request.path();
        if path.ends_with("/invocation/next") {
            self.next_event()
        } else if path == "/v1/graphql" {
            self.clock(Stopwatch::pause);
            self.hasura_requests.fetch_add(1, Ordering::Relaxed);
            self.clock(Stopwatch::start);
            Ok(http::json("200 OK", &[], &self.slot))
        } else if path == "/keys" {
            Ok(http::json("200 OK", &[], &self.key_set))
        } else {
            // The response of the function, or its report of an error.
            let own = self.clock(Stopwatch::pause);
            self.clock(|clock| *clock = Stopwatch::default());
            let answer = (own, request.body.clone());
            self.answered.send(answer).map_err(io::Error::other)?;
            Ok(http::json("202 Accepted", &[], b"{}"))
        }
    }

    /// Keeps the poll for an event open until there is work.
    fn next_event(&self) -> io::Result<Vec<u8>> {
        self.polled.send(Instant::now()).map_err(io::Error::other)?;
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.recv().map_err(io::Error::other)?;
        let event = runtime_api::invocation(&self.event);
        self.clock(Stopwatch::start);
        Ok(event)
    }

    /// Changes the stopwatch of the function's own work.
    fn clock<T>(&self, change: impl FnOnce(&mut Stopwatch) -> T) -> T {
        change(&mut self.clock.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Adds up the time in which the function works itself.
#[derive(Default)]
struct Stopwatch {
    since: Option<Instant>,
    total: Duration,
}

impl Stopwatch {
    fn start(&mut self) {
        self.since = Some(Instant::now());
    }

    /// Stops the time, and returns the total.
    fn pause(&mut self) -> Duration {
        self.total += self
            .since
            .take()
            .map_or(Duration::ZERO, |since| since.elapsed());
        self.total
    }
}

fn event(token: &str) -> Result<Vec<u8>> {
    let mut event: Value = serde_json::from_str(include_str!("../../events/assign-user.json"))?;
    event["headers"]["authorization"] = json!(format!("Bearer {token}"));
    Ok(event.to_string().into_bytes())
}

/// Hasura's answer: a slot.
fn slot() -> Vec<u8> {
    let row = json!({
        "outcome": "ASSIGNED", "slot_id": "6f1c2b9e-3d0a-4f0e-9a70-2f5d3a1b7c11",
        "ip_addr": "203.0.113.9", "region": "us-east-1", "instance_id": "i-0123456789abcdef0",
        "app_version": "3.1.0", "app_client_sha": "3f1e9c0a7d5b4e62",
    });
    json!({"data": {"assign_slot": [row]}})
        .to_string()
        .into_bytes()
}
