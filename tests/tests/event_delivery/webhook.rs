//! A webhook that records its requests and gives prepared answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Long enough for anything on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Status(u16),
    /// 503 with a Retry-After of this many seconds.
    RetryAfter(u16),
}

#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

#[derive(Debug)]
struct Hook {
    received: watch::Sender<Vec<Received>>,
    /// The answers to the next requests; 200 once there are none left.
    answers: Mutex<VecDeque<Answer>>,
    held: watch::Sender<bool>,
    at_once: Mutex<(usize, usize)>,
}

/// Dropping it leaves no server behind: the runtime of its test ends first.
#[derive(Debug)]
pub(crate) struct Webhook {
    hook: Arc<Hook>,
    url: String,
}

impl Webhook {
    pub(crate) async fn start() -> Result<Self> {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await?)
    }

    pub(crate) fn start_on(listener: TcpListener) -> Result<Self> {
        let url = format!("http://{}/hasura-event", listener.local_addr()?);
        let hook = Arc::new(Hook {
            received: watch::Sender::default(),
            answers: Mutex::default(),
            held: watch::Sender::new(false),
            at_once: Mutex::default(),
        });
        let router = Router::new()
            .route("/hasura-event", post(receive))
            .with_state(Arc::clone(&hook));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { hook, url })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn answer(&self, answers: &[Answer]) {
        let mut next = self
            .hook
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        next.extend(answers);
    }

    /// Delays all answers until `release`.
    pub(crate) fn hold(&self) {
        self.hook.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.hook.held.send_replace(false);
    }

    /// The requests so far.
    pub(crate) fn so_far(&self) -> Vec<Received> {
        self.hook.received.borrow().clone()
    }

    /// Waits for `count` requests, and returns all of them.
    pub(crate) async fn received(&self, count: usize) -> Result<Vec<Received>> {
        let mut received = self.hook.received.subscribe();
        let enough = received.wait_for(|received| received.len() >= count);
        let result = tokio::time::timeout(LIMIT, enough).await;
        let seen = self.so_far().len();
        let enough = result.with_context(|| format!("{seen} requests of {count} came"))??;
        Ok(enough.clone())
    }

    /// The most requests that were open at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        let at_once = self
            .hook
            .at_once
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        at_once.1
    }
}

async fn receive(State(hook): State<Arc<Hook>>, headers: HeaderMap, body: Bytes) -> Response {
    let _open = Open::new(&hook);
    let body = serde_json::from_slice(&body).unwrap_or_default();
    hook.received
        .send_modify(|received| received.push(Received { headers, body }));
    let answer = hook
        .answers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .pop_front();
    let mut held = hook.held.subscribe();
    // The other half lives as long as `hook`.
    let _ = held.wait_for(|held| !held).await;
    match answer {
        None => StatusCode::OK.into_response(),
        Some(Answer::Status(status)) => StatusCode::from_u16(status)
            .unwrap_or(StatusCode::IM_A_TEAPOT)
            .into_response(),
        Some(Answer::RetryAfter(seconds)) => {
            let seconds = [(header::RETRY_AFTER, seconds.to_string())];
            (StatusCode::SERVICE_UNAVAILABLE, seconds).into_response()
        }
    }
}

/// Counts a request while it is open, also when its sender gives up.
struct Open<'a>(&'a Hook);

impl<'a> Open<'a> {
    fn new(hook: &'a Hook) -> Self {
        let mut at_once = hook.at_once.lock().unwrap_or_else(PoisonError::into_inner);
        at_once.0 += 1;
        at_once.1 = at_once.1.max(at_once.0);
        Self(hook)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut at_once = self
            .0
            .at_once
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        at_once.0 -= 1;
    }
}
