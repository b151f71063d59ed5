//! An HTTP proxy in front of a server. It records requests and injects faults.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use local_stack::ports::Ports;
use serde_json::Value;

use crate::http::{self, Message};

/// How a request is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Forwarded, and answered with the server's answer.
    Forwarded,
    /// The connection is closed at once; the server does not receive the request.
    Refused,
    /// Forwarded; the server's answer is dropped and the connection closed.
    AnswerDropped,
}

pub struct Proxy {
    url: String,
    state: Arc<Mutex<State>>,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub name: String,
    pub began: Instant,
    pub ended: Instant,
    /// The size of the answer.
    pub bytes: usize,
}

/// Decides by a request's name and by its number among the requests of that name, from 1.
type Fault = Box<dyn Fn(&str, usize) -> Handling + Send>;

#[derive(Default)]
struct State {
    seen: Vec<String>,
    exchanges: Vec<Exchange>,
    fault: Option<Fault>,
    /// The number of requests of each name that the fault has decided on.
    decided: HashMap<String, usize>,
}

impl State {
    fn handling_of(&mut self, request: String) -> Handling {
        let handling = match &self.fault {
            None => Handling::Forwarded,
            Some(fault) => {
                let nth = self.decided.entry(request.clone()).or_default();
                *nth += 1;
                fault(&request, *nth)
            }
        };
        self.seen.push(request);
        handling
    }
}

impl Proxy {
    /// Starts a proxy in front of the server at `upstream`, a URL without a path. `name` names a
    /// request.
    ///
    /// # Errors
    /// When no port is free, or `upstream` is not on this machine.
    pub fn start(upstream: &str, name: fn(&Message) -> Option<String>) -> Result<Self> {
        let upstream = upstream
            .strip_prefix("http://")
            .with_context(|| format!("{upstream} is not a URL of this machine"))?
            .to_owned();
        let port = Ports::free().reserve("a proxy")?;
        let url = format!("http://127.0.0.1:{}", port.port());
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        http::serve(port.into_listener(), move |request| {
            let name = name(request).unwrap_or_else(|| request.start.clone());
            let handling = lock(&shared).handling_of(name.clone());
            let closed = || io::Error::other("closed on purpose");
            match handling {
                Handling::Forwarded => {
                    let began = Instant::now();
                    let answer = forward(request, &upstream)?;
                    lock(&shared).exchanges.push(Exchange {
                        name,
                        began,
                        ended: Instant::now(),
                        bytes: answer.len(),
                    });
                    Ok(answer)
                }
                Handling::Refused => Err(closed()),
                Handling::AnswerDropped => forward(request, &upstream).and_then(|_| Err(closed())),
            }
        });
        Ok(Self { url, state })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The names of the requests since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).seen)
    }

    /// The requests that were answered since the last call, in the order of their answers.
    pub fn take_exchanges(&self) -> Vec<Exchange> {
        std::mem::take(&mut lock(&self.state).exchanges)
    }

    /// Lets `fault` decide about each request from now on.
    pub fn disturb(&self, fault: impl Fn(&str, usize) -> Handling + Send + 'static) {
        let mut state = lock(&self.state);
        state.decided.clear();
        state.fault = Some(Box::new(fault));
    }

    /// Forwards everything from now on.
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

/// Uses a new connection for each request: the server might close a kept one at any time.
fn forward(request: &Message, upstream: &str) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream)?;
    server.set_nodelay(true)?;
    server.write_all(&request.bytes)?;
    Message::read(&mut BufReader::new(server))?
        .map(|answer| answer.bytes)
        .ok_or_else(|| io::Error::other("no answer"))
}

/// The `operationName` of a GraphQL request.
pub fn graphql_operation(request: &Message) -> Option<String> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    Some(body["operationName"].as_str()?.to_owned())
}

/// The action of a request to DynamoDB, from its header: `DynamoDB_20120810.UpdateItem`.
pub fn dynamodb_action(request: &Message) -> Option<String> {
    let (_, action) = request.header("x-amz-target")?.split_once('.')?;
    Some(action.to_owned())
}

/// The `Action` of a request to EC2.
pub fn ec2_action(request: &Message) -> Option<String> {
    let (_, action) = form_urlencoded::parse(&request.body).find(|(name, _)| name == "Action")?;
    Some(action.into_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn requests_are_forwarded_or_disturbed_as_the_fault_decides() {
        let answered = Arc::new(AtomicUsize::new(0));
        let counted = answered.clone();
        let port = Ports::free().reserve("a server").unwrap();
        let upstream = format!("http://127.0.0.1:{}", port.port());
        http::serve(port.into_listener(), move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(http::json("200 OK", &[], b"{}"))
        });
        let proxy = Proxy::start(&upstream, |request| Some(request.path().to_owned())).unwrap();
        let client = reqwest::Client::new();
        let ask = async |path: &str| {
            let url = format!("{}{path}", proxy.url());
            client.get(url).send().await.is_ok()
        };

        assert!(ask("/a").await);
        proxy.disturb(|path, nth| match (path, nth) {
            ("/down", _) => Handling::Refused,
            (_, 1) => Handling::AnswerDropped,
            _ => Handling::Forwarded,
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
