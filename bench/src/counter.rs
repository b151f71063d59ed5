//! Stands before a server, passes every request on, and remembers what it was.

use std::io::{self, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use local_stack::ports::Ports;
use serde_json::Value;

use crate::http::{self, Message};

pub(crate) struct Counter {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Counter {
    /// Before the server at `upstream`, a URL without a path. `name` says what a request is.
    pub(crate) fn before(upstream: &str, name: fn(&Message) -> Option<String>) -> Result<Self> {
        let upstream = upstream
            .strip_prefix("http://")
            .with_context(|| format!("{upstream} is not a URL of this machine"))?
            .to_owned();
        let port = Ports::free().reserve("a counter")?;
        let url = format!("http://127.0.0.1:{}", port.port());
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let shared = seen.clone();
        http::serve(port.into_listener(), move |request| {
            let what = name(request).unwrap_or_else(|| request.start.clone());
            let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(what);
            drop(seen);
            pass_on(request, &upstream)
        });
        Ok(Self { url, seen })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What came since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
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
pub(crate) fn graphql_operation(request: &Message) -> Option<String> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    Some(body["operationName"].as_str()?.to_owned())
}

/// The action that a request to DynamoDB names: `DynamoDB_20120810.UpdateItem`.
pub(crate) fn dynamodb_action(request: &Message) -> Option<String> {
    let (_, action) = request.header("x-amz-target")?.split_once('.')?;
    Some(action.to_owned())
}
