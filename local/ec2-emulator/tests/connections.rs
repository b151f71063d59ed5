//! Connections over real TCP: idle ones that end, and calls that hang.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::time::{Duration, Instant};

use ec2_emulator::settings::Settings;
use ec2_emulator::world::DEFAULT_WORLD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// Far longer than any time in these tests.
const LONG: Duration = Duration::from_secs(20);

const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKID/20261121/us-east-1/ec2/aws4_request";

/// Starts an emulator and returns its address.
async fn start(settings: Settings) -> String {
    let emulator = ec2_emulator::start(DEFAULT_WORLD.parse().unwrap(), settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(ec2_emulator::serve(listener, emulator, None));
    address
}

/// Sends a request of `GET` to the EC2 API.
async fn send(stream: &mut TcpStream, action: &str) -> std::io::Result<()> {
    let request = format!(
        "GET /?Action={action}&Version=2016-11-15 HTTP/1.1\r\nhost: ec2\r\n\
         authorization: {AUTHORIZATION}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await
}

/// Reads until the end of an XML response. Returns an empty text if the connection was closed.
async fn receive(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let length = timeout(LONG, stream.read(&mut buffer)).await.unwrap()?;
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if length == 0 || text.contains("Response>") && text.trim_end().ends_with("Response>") {
            return Ok(text);
        }
    }
}

async fn call(stream: &mut TcpStream, action: &str) -> std::io::Result<String> {
    send(stream, action).await?;
    receive(stream).await
}

async fn outcomes(address: &str) -> Vec<String> {
    let url = format!("http://{address}/_emulator/ledger");
    let ledger: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let calls = ledger["calls"].as_array().unwrap();
    let outcome = |call: &Value| call["outcome"].as_str().unwrap().to_owned();
    calls.iter().map(outcome).collect()
}

async fn put_faults(address: &str, faults: Value) {
    let put = reqwest::Client::new().put(format!("http://{address}/_emulator/faults"));
    let reply = put.json(&faults).send().await.unwrap();
    assert!(reply.status().is_success());
}

#[tokio::test]
async fn idle_connection_is_closed_without_a_word() {
    let settings = Settings {
        idle_close_ms: Some(5_000),
        ..Settings::default()
    };
    let address = start(settings).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let mut last = Instant::now();
    for _ in 0..3 {
        // Requests in between keep it open.
        sleep(Duration::from_millis(1_700)).await;
        last = Instant::now();
        let reply = call(&mut stream, "DescribeInstances").await.unwrap();
        assert!(reply.contains("200 OK"), "{reply}");
    }
    assert_eq!(receive(&mut stream).await.unwrap(), "");
    assert!(last.elapsed() >= Duration::from_millis(4_950));
}

#[tokio::test]
async fn call_that_takes_longer_than_idle_limit_gets_its_response() {
    let settings = Settings {
        idle_close_ms: Some(30),
        idle_stale_ms: Some(30),
        ..Settings::default()
    };
    let address = start(settings).await;
    put_faults(&address, json!({"calls": [{"effect": {"delay_ms": 200}}]})).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let reply = call(&mut stream, "DescribeInstances").await.unwrap();
    assert!(reply.contains("200 OK"), "{reply}");
}

#[tokio::test]
async fn connections_stay_open_by_default() {
    let address = start(Settings::default()).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    call(&mut stream, "DescribeInstances").await.unwrap();
    let closed = timeout(Duration::from_millis(300), receive(&mut stream)).await;
    assert!(closed.is_err());
    let reply = call(&mut stream, "DescribeInstances").await.unwrap();
    assert!(reply.contains("200 OK"), "{reply}");
}

#[tokio::test]
async fn stale_connection_is_reset_by_next_request_which_is_not_executed() {
    let settings = Settings {
        idle_stale_ms: Some(5_000),
        ..Settings::default()
    };
    let address = start(settings).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    for _ in 0..3 {
        sleep(Duration::from_millis(1_700)).await;
        call(&mut stream, "DescribeInstances").await.unwrap();
    }
    sleep(Duration::from_millis(5_500)).await;
    let error = call(&mut stream, "DescribeInstances").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(outcomes(&address).await, ["ok"; 3]);

    let mut fresh = TcpStream::connect(&address).await.unwrap();
    let reply = call(&mut fresh, "DescribeInstances").await.unwrap();
    assert!(reply.contains("200 OK"), "{reply}");
}

#[tokio::test]
async fn client_with_pool_fails_on_stale_connection_unless_it_repeats_the_request() {
    let settings = Settings {
        idle_stale_ms: Some(50),
        ..Settings::default()
    };
    let address = start(settings).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let send = || {
        http.post(format!("http://{address}/"))
            .header("authorization", AUTHORIZATION)
            .form(&[("Action", "DescribeInstances")])
            .send()
    };
    assert!(send().await.is_ok());
    sleep(Duration::from_millis(100)).await;
    assert!(send().await.is_err());
    assert!(send().await.is_ok());
}

#[tokio::test]
async fn hanging_call_is_not_executed_and_ends_by_the_clients_timeout() {
    let address = start(Settings::default()).await;
    let hang = json!({"on": {"action": "DescribeInstances"}, "effect": "hang", "times": 1});
    put_faults(&address, json!({"calls": [hang, {"effect": "lost"}]})).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    send(&mut stream, "DescribeInstances").await.unwrap();
    let answered = timeout(Duration::from_millis(300), receive(&mut stream)).await;
    assert!(
        answered.is_err(),
        "neither a response nor the end: {answered:?}"
    );
    drop(stream);
    put_faults(&address, json!({})).await;
    let mut again = TcpStream::connect(&address).await.unwrap();
    let reply = call(&mut again, "DescribeInstances").await.unwrap();
    assert!(reply.contains("200 OK"), "{reply}");
    assert_eq!(outcomes(&address).await, ["hang", "ok"]);
}
