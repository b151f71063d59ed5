//! Lambda's runtime API, played for one process of a function.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use local_stack::ports::Ports;
use scaling_tests::http::{self, Message};
use serde_json::Value;

/// Longer than an invocation takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct RuntimeApi {
    address: String,
    events: Sender<Vec<u8>>,
    answers: Receiver<(Instant, Vec<u8>)>,
}

impl RuntimeApi {
    pub(crate) fn start() -> Result<Self> {
        let port = Ports::free().reserve("the runtime API")?;
        let address = format!("127.0.0.1:{}", port.port());
        let (events, waiting) = mpsc::channel::<Vec<u8>>();
        let (answered, answers) = mpsc::channel();
        let waiting = Mutex::new(waiting);
        http::serve(port.into_listener(), move |request: &Message| {
            if request.path().ends_with("/invocation/next") {
                // The poll stays open until there is an event.
                let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let event = waiting.recv().map_err(io::Error::other)?;
                Ok(invocation(&event))
            } else {
                // The function's response, or its report of an error.
                let answer = (Instant::now(), request.body.clone());
                answered.send(answer).map_err(io::Error::other)?;
                Ok(http::json("202 Accepted", &[], b"{}"))
            }
        });
        Ok(Self {
            address,
            events,
            answers,
        })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Gives the function one event. Returns its response, and when it came.
    pub(crate) fn invoke(&self, event: &[u8]) -> Result<(Instant, Value)> {
        self.events.send(event.to_vec())?;
        let (at, answer) = self
            .answers
            .recv_timeout(TIMEOUT)
            .context("the function has not answered")?;
        let answer = serde_json::from_slice(&answer).context("parse the function's answer")?;
        Ok((at, answer))
    }
}

/// The answer to a poll.
pub(crate) fn invocation(event: &[u8]) -> Vec<u8> {
    let headers = [
        (
            "lambda-runtime-aws-request-id",
            "11111111-1111-4111-8111-111111111111",
        ),
        // The year 2100.
        ("lambda-runtime-deadline-ms", "4102444800000"),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:123456789012:function:measured",
        ),
    ];
    http::json("200 OK", &headers, event)
}
