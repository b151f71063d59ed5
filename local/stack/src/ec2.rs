//! The project's own EC2, in a process of its own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::Value;

use crate::dir::StackDir;
use crate::http;
use crate::ports::Reserved;
use crate::process::{Process, Program};
use crate::project;

const START_TIME: Duration = Duration::from_secs(30);

/// How fast instances and the agents on them are; what is not set is the
/// emulator's own default.
#[derive(Args, Clone, Debug, Default)]
pub struct Ec2Options {
    /// The subnets, groups and images that there are, as a JSON file
    #[arg(long = "ec2-world", value_name = "FILE")]
    pub world: Option<PathBuf>,
    /// An instance's time from pending to running
    #[arg(long = "ec2-pending-ms", value_name = "MS")]
    pub pending_ms: Option<u64>,
    /// An instance's time from shutting-down to terminated
    #[arg(long = "ec2-shutting-down-ms", value_name = "MS")]
    pub shutting_down_ms: Option<u64>,
    /// How far listings are behind
    #[arg(long = "ec2-listing-lag-ms", value_name = "MS")]
    pub listing_lag_ms: Option<u64>,
    /// How long a terminated instance is still listed
    #[arg(long = "ec2-terminated-visible-ms", value_name = "MS")]
    pub terminated_visible_ms: Option<u64>,
    /// An agent's time from its start to its first request
    #[arg(long, value_name = "MS")]
    pub agent_boot_ms: Option<u64>,
    /// From the assignment of a slot to its user's connection
    #[arg(long, value_name = "MS")]
    pub agent_connect_ms: Option<u64>,
    /// How long a user's session runs, or at the least if there is a maximum
    #[arg(long, value_name = "MS")]
    pub agent_session_ms: Option<u64>,
    /// How long it runs at the most: then each is of another length
    #[arg(long, value_name = "MS")]
    pub agent_session_max_ms: Option<u64>,
    /// Between two heartbeats of an agent
    #[arg(long, value_name = "MS")]
    pub agent_heartbeat_ms: Option<u64>,
    /// Between two looks of an agent at its slots
    #[arg(long, value_name = "MS")]
    pub agent_poll_ms: Option<u64>,
}

impl Ec2Options {
    fn args(&self) -> Vec<String> {
        let delays = [
            ("--pending-ms", self.pending_ms),
            ("--shutting-down-ms", self.shutting_down_ms),
            ("--listing-lag-ms", self.listing_lag_ms),
            ("--terminated-visible-ms", self.terminated_visible_ms),
            ("--agent-boot-ms", self.agent_boot_ms),
            ("--agent-connect-ms", self.agent_connect_ms),
            ("--agent-session-ms", self.agent_session_ms),
            ("--agent-session-max-ms", self.agent_session_max_ms),
            ("--agent-heartbeat-ms", self.agent_heartbeat_ms),
            ("--agent-poll-ms", self.agent_poll_ms),
        ];
        let mut args: Vec<_> = delays
            .into_iter()
            .filter_map(|(flag, ms)| Some(format!("{flag}={}", ms?)))
            .collect();
        if let Some(world) = &self.world {
            args.push(format!("--world={}", world.display()));
        }
        args
    }
}

/// Sets what goes wrong at the emulated EC2 from now on; `{}` heals it.
///
/// # Errors
/// When the emulator does not answer, or does not know such a fault.
pub async fn set_faults(control_url: &str, faults: &Value) -> Result<()> {
    let put = reqwest::Client::new().put(format!("{control_url}/faults"));
    let answer = put.json(faults).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status);
    answer.context("set EC2's faults")?;
    Ok(())
}

/// A running EC2 emulator; the agents on its instances end with it.
#[derive(Debug)]
pub struct Ec2Emulator {
    process: Process,
    endpoint: String,
}

impl Ec2Emulator {
    /// What EC2 tells `EventBridge` is posted to `events_url`.
    pub async fn start(
        dir: &StackDir,
        port: Reserved,
        options: &Ec2Options,
        events_url: &str,
    ) -> Result<Self> {
        let endpoint = format!("http://127.0.0.1:{}", port.port());
        let data = dir.data("ec2");
        std::fs::create_dir_all(&data)?;
        let process = Program::new("ec2-emulator", project::binary("ec2-emulator")?)
            .arg(format!("--listen=127.0.0.1:{}", port.port()))
            .arg(format!("--data-dir={}", data.display()))
            .arg(format!("--events-url={events_url}"))
            .arg(format!(
                "--agent-binary={}",
                project::binary("host-agent")?.display()
            ))
            .arg(format!(
                "--replica-binary={}",
                project::binary("replica")?.display()
            ))
            .args(options.args());
        port.release();
        let process = process.start(dir)?;
        let ledger = format!("{endpoint}/_emulator/ledger");
        process
            .ready(START_TIME, async || http::answers(&ledger).await)
            .await?;
        Ok(Self { process, endpoint })
    }

    /// Where the EC2 API is, for every region.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where the ledger, the faults and the settings are.
    pub fn control_url(&self) -> String {
        format!("{}/_emulator", self.endpoint)
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn stop(&mut self) {
        self.process.stop();
    }
}
