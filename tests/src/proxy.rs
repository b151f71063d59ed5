//! Stands before a server, remembers what it is asked, and breaks it for whoever asks through it.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use local_stack::ports::Ports;
use serde_json::Value;

use crate::http::{self, Message};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the server, and its answer back.
    Open,
    /// To nobody: the connection is closed at once.
    Down,
    /// To the server; its answer is lost, and the connection closed.
    AnswerLost,
}

pub struct Proxy {
    url: String,
    state: Arc<Mutex<State>>,
}

/// Decides by a request's name, and the how-manieth of that name it is, from 1.
type Fault = Box<dyn Fn(&str, usize) -> Way + Send>;

#[derive(Default)]
struct State {
    seen: Vec<String>,
    fault: Option<Fault>,
    /// How many of each name the fault has decided on.
    decided: HashMap<String, usize>,
}

impl State {
    fn way_of(&mut self, request: String) -> Way {
        let way = match &self.fault {
            None => Way::Open,
            Some(fault) => {
                let nth = self.decided.entry(request.clone()).or_default();
                *nth += 1;
                fault(&request, *nth)
            }
        };
        self.seen.push(request);
        way
    }
}

impl Proxy {
    /// Before the server at `upstream`, a URL without a path. `name` says what a request is.
    ///
    /// # Errors
    /// When no port is free, or `upstream` is not on this machine.
    pub fn before(upstream: &str, name: fn(&Message) -> Option<String>) -> Result<Self> {
        let upstream = upstream
            .strip_prefix("http://")
            .with_context(|| format!("{upstream} is not a URL of this machine"))?
            .to_owned();
        let port = Ports::free().reserve("a proxy")?;
        let url = format!("http://127.0.0.1:{}", port.port());
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        http::serve(port.into_listener(), move |request| {
            let what = name(request).unwrap_or_else(|| request.start.clone());
            let way = lock(&shared).way_of(what);
            let closed = || io::Error::other("closed on purpose");
            match way {
                Way::Open => pass_on(request, &upstream),
                Way::Down => Err(closed()),
                Way::AnswerLost => pass_on(request, &upstream).and_then(|_| Err(closed())),
            }
        });
        Ok(Self { url, state })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// What came since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).seen)
    }

    /// From now on, `fault` decides.
    pub fn disturb(&self, fault: impl Fn(&str, usize) -> Way + Send + 'static) {
        let mut state = lock(&self.state);
        state.decided.clear();
        state.fault = Some(Box::new(fault));
    }

    /// From now on, everything is passed on.
    pub fn heal(&self) {
        lock(&self.state).fault = None;
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Over a connection of its own: one that is kept might be closed by the server at any time.
fn pass_on(request: &Message, upstream: &str) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream)?;
    server.set_nodelay(true)?;
    server.write_all(&request.bytes)?;
    Message::read(&mut BufReader::new(server))?
        .map(|answer| answer.bytes)
        .ok_or_else(|| io::Error::other("no answer"))
}

/// The operation that a GraphQL request names.
pub fn graphql_operation(request: &Message) -> Option<String> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    Some(body["operationName"].as_str()?.to_owned())
}

/// The action that a request to DynamoDB names: `DynamoDB_20120810.UpdateItem`.
pub fn dynamodb_action(request: &Message) -> Option<String> {
    let (_, action) = request.header("x-amz-target")?.split_once('.')?;
    Some(action.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn requests_are_passed_on_refused_or_answered_for_nothing_as_told() {
        let answered = Arc::new(AtomicUsize::new(0));
        let counted = answered.clone();
        let port = Ports::free().reserve("a server").unwrap();
        let upstream = format!("http://127.0.0.1:{}", port.port());
        http::serve(port.into_listener(), move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(http::json("200 OK", &[], b"{}"))
        });
        let proxy = Proxy::before(&upstream, |request| Some(request.path().to_owned())).unwrap();
        let client = reqwest::Client::new();
        let ask = async |path: &str| {
            let url = format!("{}{path}", proxy.url());
            client.get(url).send().await.is_ok()
        };

        assert!(ask("/a").await);
        proxy.disturb(|path, nth| match (path, nth) {
            ("/down", _) => Way::Down,
            (_, 1) => Way::AnswerLost,
            _ => Way::Open,
        });
        assert!(!ask("/down").await && !ask("/down").await);
        assert_eq!(answered.load(Ordering::Relaxed), 1);
        assert!(!ask("/a").await, "the first since it was disturbed");
        assert_eq!(answered.load(Ordering::Relaxed), 2);
        assert!(ask("/a").await);
        proxy.heal();
        assert!(ask("/down").await);
        assert_eq!(proxy.take(), ["/a", "/down", "/down", "/a", "/a", "/down"]);
        assert!(proxy.take().is_empty());
    }
}
