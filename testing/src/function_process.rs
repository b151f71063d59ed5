//! A function's program, run as Lambda runs it: it asks a runtime API for events, which are answered
//! here. What it calls (Hasura, the key set, AWS) answers 500.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// Secrets in the variables of every function.
const SECRETS: [(&str, &str); 7] = [
    ("HASURA_TOKEN", "token-of-the-function-for-hasura"),
    ("HASURA_JWT_KEY", "hasura-jwt-key-of-more-than-32-bytes"),
    ("HASURA_EVENT_SECRET", EVENT_SECRET),
    ("STATUS_TOKEN", STATUS_TOKEN),
    ("AWS_ACCESS_KEY_ID", "AKIAOFTHETESTSFUNCTN"),
    (
        "AWS_SECRET_ACCESS_KEY",
        "aws-secret-access-key-of-the-tests",
    ),
    ("AWS_SESSION_TOKEN", "aws-session-token-of-the-tests"),
];

pub const EVENT_SECRET: &str = "hasura-event-secret-of-32-bytes-0";
pub const STATUS_TOKEN: &str = "status-token-of-more-than-32-bytes";

/// Filters that ask for everything, for all that a dependency has, and for more than exists.
const LOUD: [&str; 8] = [
    "trace",
    "debug",
    "lambda_runtime=trace",
    "lambda_runtime::layers=trace,lambda_runtime::runtime=trace",
    "hyper=trace,shared=debug",
    "hyper::proto=trace,hyper_util::client=trace,reqwest::connect=trace,rustls=trace,h2=trace",
    "aws_smithy_runtime::client::orchestrator=trace,aws_sigv4=trace,aws_sdk_dynamodb=trace",
    "info,jsonwebtoken=trace,tower=trace,startup=trace",
];

/// Runs the program with every loud filter and these events, each of which holds some of `secrets`.
///
/// # Panics
/// When the log shows one of them, or a secret of the variables, or the program does not answer.
pub fn assert_no_filter_logs_secrets(program: &str, events: &[Value], secrets: &[&str]) {
    let of_variables = SECRETS.iter().map(|(_, value)| *value);
    let secrets: Vec<_> = secrets.iter().copied().chain(of_variables).collect();
    let assert_one = |level: &str| {
        let log = Run::of(program, level, events, None).log;
        // What is searched is the log.
        assert!(level != "trace" || log.contains(r#""level":"#), "{log}");
        for secret in &secrets {
            assert!(!log.contains(secret), "`{level}` logs {secret}:\n{log}");
        }
    };
    let assert_one = &assert_one;
    // All at once, because the programs mostly wait before they repeat a request.
    thread::scope(|scope| {
        for level in LOUD {
            scope.spawn(move || assert_one(level));
        }
    });
}

/// An event of a function URL.
pub fn url_event(method: &str, path: &str, headers: &Value, cookies: &[&str], body: &str) -> Value {
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": "", "headers": headers,
        "cookies": cookies, "requestContext": {"http": {"method": method}, "timeEpoch": 0},
        "body": body, "isBase64Encoded": false,
    })
}

/// A program that has answered events.
#[derive(Debug)]
pub struct Run {
    /// What it wrote to its standard output, and then to its standard error.
    pub log: String,
}

impl Run {
    /// Runs the program with a filter until it has answered all events. `trace` is the tracing header
    /// that Lambda gives with each of them.
    ///
    /// # Panics
    /// When the program does not answer.
    pub fn of(program: &str, level: &str, events: &[Value], trace: Option<&str>) -> Self {
        Self {
            log: run(program, level, events, trace),
        }
    }
}

fn run(program: &str, level: &str, events: &[Value], trace: Option<&str>) -> String {
    let (runtime, services) = (listen(), listen());
    let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let url = format!("http://{}", address(&services));
    thread::spawn(move || answer_500(&services));
    let mut child = Command::new(program)
        .env_clear()
        .envs(SECRETS)
        .env("LOG_LEVEL", level)
        .env("ENVIRONMENT", "dev")
        .env("STACK_ID", "tests")
        .env("SCALING_TABLE", "tests")
        .env("RECONCILE_FUNCTION_NAME", "tests-reconcile")
        .env("HASURA_URL", &url)
        .env("JWKS_URL", format!("{url}/keys"))
        .env("JWT_ISSUER", "issuer")
        .env("JWT_AUDIENCE", "audience")
        .env("AWS_ENDPOINT_URL", &url)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_LAMBDA_RUNTIME_API", address(&runtime))
        .env("AWS_LAMBDA_FUNCTION_NAME", "tests")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let logs = [
        thread::spawn(move || read_all(stdout)),
        thread::spawn(move || read_all(stderr)),
    ];
    let answered = serve_events(&runtime, &mut child, events, trace);
    let _ = child.kill();
    child.wait().unwrap();
    let log: String = logs.into_iter().map(|log| log.join().unwrap()).collect();
    assert_eq!(answered, events.len(), "{program} with `{level}`:\n{log}");
    log
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn read_all(mut output: impl Read) -> String {
    let mut log = String::new();
    output.read_to_string(&mut log).unwrap();
    log
}

/// Hands out the events, one after the other. Returns how many were answered, or failed, when the program asks
/// for one more, or has ended.
fn serve_events(
    runtime: &TcpListener,
    child: &mut Child,
    events: &[Value],
    trace: Option<&str>,
) -> usize {
    runtime.set_nonblocking(true).unwrap();
    let (mut left, mut answered) = (events.iter(), 0);
    loop {
        let Ok((stream, _)) = runtime.accept() else {
            if child.try_wait().unwrap().is_some() {
                return answered;
            }
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        let line = request_line(&stream);
        if !line.contains("/invocation/next") {
            answered += usize::from(line.contains("/invocation/request-1/"));
            reply(stream, "202 Accepted", "", "{}");
            continue;
        }
        let Some(event) = left.next() else {
            return answered;
        };
        let mut headers = "lambda-runtime-aws-request-id: request-1\r\n\
                       lambda-runtime-deadline-ms: 4102444800000\r\n\
                       lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:1:function:f\r\n"
            .to_owned();
        if let Some(trace) = trace {
            headers.push_str(&format!("lambda-runtime-trace-id: {trace}\r\n"));
        }
        reply(stream, "200 OK", &headers, &event.to_string());
    }
}

fn answer_500(services: &TcpListener) {
    for stream in services.incoming() {
        let Ok(stream) = stream else { return };
        request_line(&stream);
        reply(stream, "500 Internal Server Error", "", "{}");
    }
}

/// Reads a request, and returns its first line. A program that has ended sends none.
fn request_line(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    let _ = reader.read_line(&mut first);
    loop {
        let mut line = String::new();
        let _ = reader.read_line(&mut line);
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let _ = reader.read_exact(&mut vec![0; length]);
    first
}

fn reply(mut stream: TcpStream, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    );
}
