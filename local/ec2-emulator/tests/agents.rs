//! The `ec2-emulator` program with real agent processes, which are shell scripts here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap fails the test"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The longest wait for a condition. Each takes well below a second.
const DEADLINE: Duration = Duration::from_secs(20);

/// `TOKEN=secret`.
const NO_TOKEN: &str = "VE9LRU49c2VjcmV0Cg==";
/// `SCALING_AGENT_TOKEN=secret`.
const TOKEN: &str = "U0NBTElOR19BR0VOVF9UT0tFTj1zZWNyZXQK";

struct Emulator {
    process: Child,
    url: String,
    dir: TempDir,
    http: reqwest::Client,
}

impl Emulator {
    /// Starts the emulator with an agent that runs `script`.
    async fn start(script: &str) -> Self {
        Self::start_with(script, None).await
    }

    /// Starts the emulator with an agent and, optionally, a replica that run these scripts.
    async fn start_with(script: &str, replica: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let agent = program("agent", script);
        let replica = replica.map(|script| program("replica", script));
        let port_file = dir.path().join("port");
        let process = Command::new(env!("CARGO_BIN_EXE_ec2-emulator"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--pending-ms",
                "1",
                "--shutting-down-ms",
                "1",
            ])
            .args(["--listing-lag-ms", "0", "--agent-session-ms", "4321"])
            .args(["--agent-session-max-ms", "54321"])
            .arg("--port-file")
            .arg(&port_file)
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .arg("--agent-binary")
            .arg(&agent)
            .args(
                replica
                    .iter()
                    .flat_map(|it| [Path::new("--replica-binary"), it]),
            )
            .env("HASURA_ADMIN_SECRET", "not for agents")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = until(async || fs::read_to_string(&port_file).ok()).await;
        let url = format!("http://127.0.0.1:{}", port.trim());
        Self {
            process,
            url,
            dir,
            http: reqwest::Client::new(),
        }
    }

    async fn call(&self, action: &str, params: &[(&str, &str)]) {
        let credential = "AWS4-HMAC-SHA256 Credential=AKID/20261121/us-east-1/ec2/aws4_request";
        let params = [&[("Action", action)], params].concat();
        let request = self
            .http
            .post(&self.url)
            .header("authorization", credential)
            .form(&params);
        let response = request.send().await.unwrap();
        assert!(
            response.status().is_success(),
            "{}",
            response.text().await.unwrap()
        );
    }

    async fn launch(&self) {
        self.launch_with(NO_TOKEN).await;
    }

    async fn launch_with(&self, user_data: &str) {
        let params = [
            ("ImageId", "ami-01000000000000001"),
            ("InstanceType", "g4dn.xlarge"),
            ("SubnetId", "subnet-01a0000000000000a"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("InstanceInitiatedShutdownBehavior", "terminate"),
            ("UserData", user_data),
        ];
        self.call("RunInstances", &params).await;
    }

    async fn faults(&self, faults: &Value) {
        let url = format!("{}/_emulator/faults", self.url);
        let response = self.http.put(url).json(faults).send().await.unwrap();
        assert!(
            response.status().is_success(),
            "{}",
            response.text().await.unwrap()
        );
    }

    /// Waits until `holds` is true of the first instance in the ledger, and returns it.
    async fn instance(&self, holds: impl Fn(&Value) -> bool) -> Value {
        until(async || self.instances().await.into_iter().next().filter(&holds)).await
    }

    /// Waits until `holds` is true of an instance in the ledger, and returns it.
    async fn any_instance(&self, holds: impl Fn(&Value) -> bool) -> Value {
        until(async || self.instances().await.into_iter().find(&holds)).await
    }

    async fn instances(&self) -> Vec<Value> {
        let response = self
            .http
            .get(format!("{}/_emulator/ledger", self.url))
            .send()
            .await;
        let ledger: Value = response.unwrap().json().await.unwrap();
        ledger["instances"].as_array().unwrap().clone()
    }

    fn agents_dir(&self) -> PathBuf {
        self.dir.path().join("data/agents")
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // An error means that the test has already killed it.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

async fn until<T>(mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "the condition was not met within {DEADLINE:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether the process runs. A zombie, which has an empty command line, does not.
fn is_running(pid: &Value) -> bool {
    let command_line = Path::new("/proc").join(pid.to_string()).join("cmdline");
    fs::read(command_line).is_ok_and(|text| !text.is_empty())
}

#[tokio::test]
async fn agent_gets_its_instance_but_not_the_emulators_environment() {
    let emulator = Emulator::start("env; cat \"$USER_DATA_FILE\"; exec sleep 1000").await;
    emulator.launch().await;
    let instance = emulator
        .instance(|instance| instance["agent"]["pid"].is_u64())
        .await;
    let id = instance["id"].as_str().unwrap();
    let log = emulator.agents_dir().join(format!("{id}.log"));
    let output = until(async || {
        fs::read_to_string(&log)
            .ok()
            .filter(|text| text.contains("TOKEN=secret"))
    })
    .await;
    assert!(output.contains(&format!("INSTANCE_ID={id}\n")), "{output}");
    assert!(output.contains("INSTANCE_IP=127.64.0.1\n"), "{output}");
    assert!(output.contains("AGENT_SESSION_MS=4321\n"), "{output}");
    assert!(output.contains("AGENT_SESSION_MAX_MS=54321\n"), "{output}");
    assert!(!output.contains("HASURA_ADMIN_SECRET"), "{output}");
}

#[tokio::test]
async fn instance_without_agent_token_runs_replica() {
    let print_and_wait = |word: &str| format!("echo {word}; env; exec sleep 1000");
    let replica = print_and_wait("a replica");
    let emulator = Emulator::start_with(&print_and_wait("an agent"), Some(&replica)).await;
    for (user_data, word) in [(NO_TOKEN, "a replica\n"), (TOKEN, "an agent\n")] {
        emulator.launch_with(user_data).await;
        let ids = emulator.instances().await;
        let id = ids.last().unwrap()["id"].as_str().unwrap();
        let log = emulator.agents_dir().join(format!("{id}.log"));
        let output = until(async || {
            fs::read_to_string(&log)
                .ok()
                .filter(|text| text.contains("INSTANCE_PRIVATE_IP=10.1.0."))
        })
        .await;
        assert!(output.starts_with(word), "{output}");
    }
}

#[tokio::test]
async fn agent_exiting_with_success_shuts_its_instance_down() {
    let emulator = Emulator::start("exit 0").await;
    emulator.launch().await;
    let instance = emulator
        .instance(|instance| instance["state"] == "terminated")
        .await;
    assert_eq!(instance["ended_by"], "instance");
    assert_eq!(instance["agent"]["end"], "exit status: 0");
    let id = instance["id"].as_str().unwrap();
    assert!(
        !emulator
            .agents_dir()
            .join(format!("{id}.user-data"))
            .exists(),
        "the user data has a token"
    );
}

#[tokio::test]
async fn crashing_agent_leaves_its_instance_running() {
    let emulator = Emulator::start("exit 3").await;
    emulator.launch().await;
    let instance = emulator
        .instance(|instance| instance["agent"]["end"].is_string())
        .await;
    assert_eq!(instance["agent"]["end"], "exit status: 3");
    assert_eq!(instance["state"], "running");
}

#[tokio::test]
async fn agent_is_killed_with_its_instance() {
    let emulator = Emulator::start("exec sleep 1000").await;
    emulator.launch().await;
    let instance = emulator
        .instance(|instance| instance["agent"]["pid"].is_u64())
        .await;
    emulator
        .call(
            "TerminateInstances",
            &[("InstanceId.1", instance["id"].as_str().unwrap())],
        )
        .await;
    let ended = emulator
        .instance(|instance| instance["agent"]["end"].is_string())
        .await;
    assert_eq!(ended["agent"]["end"], "killed with its instance");
    assert_eq!(ended["ended_by"], "user");
    assert!(!is_running(&instance["agent"]["pid"]));
}

#[tokio::test]
async fn agent_killed_by_fault_leaves_its_instance_running() {
    let emulator = Emulator::start("exec sleep 1000").await;
    emulator.launch().await;
    let instance = emulator
        .instance(|instance| instance["agent"]["pid"].is_u64())
        .await;
    let on = json!({"instance_id": instance["id"]});
    let dies = json!({"on": on, "effect": {"agent_dies": {"after_ms": 1}}});
    emulator.faults(&json!({"instances": [dies]})).await;
    let ended = emulator
        .instance(|instance| instance["agent"]["end"].is_string())
        .await;
    assert_eq!(ended["agent"]["end"], "killed by a fault");
    assert_eq!(ended["state"], "running");
    assert!(!is_running(&instance["agent"]["pid"]));
}

#[tokio::test]
async fn instance_with_no_boot_fault_has_no_agent() {
    let emulator = Emulator::start("exec sleep 1000").await;
    let no_boot = json!({"effect": "no_boot", "times": 1});
    let dies = json!({"effect": {"agent_dies": {}}});
    emulator
        .faults(&json!({"instances": [no_boot, dies]}))
        .await;
    emulator.launch().await;
    // The agent of the second instance starts later than the first one's would have.
    emulator.launch().await;
    let second = emulator
        .any_instance(|it| it["agent"]["end"].is_string())
        .await;
    assert_eq!(second["agent"]["end"], "killed by a fault");
    let first = emulator
        .instance(|instance| instance["state"] == "running")
        .await;
    assert_eq!(first["agent"], Value::Null);
}

#[tokio::test]
async fn lost_response_closes_the_connection() {
    let emulator = Emulator::start("exec sleep 1000").await;
    let lost = json!({"effect": "lost", "times": 1});
    emulator.faults(&json!({"calls": [lost]})).await;
    let credential = "AWS4-HMAC-SHA256 Credential=AKID/20261121/us-east-1/ec2/aws4_request";
    let request = emulator
        .http
        .post(&emulator.url)
        .header("authorization", credential)
        .form(&[("Action", "DescribeInstances")]);
    let again = request.try_clone().unwrap();
    let error = request.send().await.unwrap_err();
    assert!(error.is_request() && !error.is_timeout(), "{error:?}");
    assert!(again.send().await.unwrap().status().is_success());
}

#[tokio::test]
async fn agent_does_not_outlive_killed_emulator() {
    let mut emulator = Emulator::start("exec sleep 1000").await;
    emulator.launch().await;
    let instance = emulator
        .instance(|instance| instance["agent"]["pid"].is_u64())
        .await;
    let pid = &instance["agent"]["pid"];
    assert!(is_running(pid));
    emulator.process.kill().unwrap(); // SIGKILL
    until(async || (!is_running(pid)).then_some(())).await;
}
