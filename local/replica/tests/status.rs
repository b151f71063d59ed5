//! The `replica` program, on a loopback address of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap fails the test"
)]

use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const ADDRESS: &str = "127.14.0.9";

struct Replica {
    process: Child,
    url: String,
}

impl Replica {
    async fn start() -> Self {
        let free = TcpListener::bind((ADDRESS, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let user_data = folder.path().join("user-data");
        let lines = format!("SCALING_CAPACITY=3\nREPLICA_API_PORT={}\n", free.port());
        std::fs::write(&user_data, lines).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_replica"))
            .env("INSTANCE_PRIVATE_IP", ADDRESS)
            .env("USER_DATA_FILE", &user_data)
            .spawn()
            .unwrap();
        let replica = Self {
            process,
            url: format!("http://{free}"),
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while reqwest::get(&replica.url).await.is_err() {
            assert!(
                Instant::now() < deadline,
                "the replica did not respond within 20 s"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        replica
    }

    async fn set(&self, change: &Value) -> reqwest::StatusCode {
        let url = format!("{}/_replica", self.url);
        let request = reqwest::Client::new().put(url).json(change);
        request.send().await.unwrap().status()
    }

    async fn status(&self) -> (u16, Value) {
        let answer = reqwest::get(format!("{}/any/path", self.url))
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test]
async fn replica_responds_as_set() {
    let replica = Replica::start().await;
    let body = |capacity: u64, termination: bool| json!({"capacity": capacity, "termination": termination});
    assert_eq!(replica.status().await, (200, body(3, false)));
    replica.set(&json!({"capacity": 1})).await;
    assert_eq!(replica.status().await, (200, body(1, false)));
    replica.set(&json!({"termination": true})).await;
    assert_eq!(replica.status().await, (200, body(1, true)));
    replica.set(&json!({"status": 503})).await;
    assert_eq!(replica.status().await, (503, body(1, true)));

    replica.set(&json!({"hang": true})).await;
    let silent = tokio::time::timeout(Duration::from_millis(300), replica.status());
    assert!(silent.await.is_err(), "a hanging replica responded");
    // The control endpoint still responds.
    replica.set(&json!({"hang": false, "status": 200})).await;
    assert_eq!(replica.status().await, (200, body(1, true)));
    assert_eq!(replica.set(&json!({"capcity": 1})).await.as_u16(), 422);
}
