//! The EC2 emulator, in a process of its own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::Value;

use crate::dir::{StackDir, private_folder};
use crate::health;
use crate::ports::ReservedPort;
use crate::process::{Process, Program};
use crate::project;

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The speed of instances and of the agents on them. Unset options have the emulator's defaults.
#[derive(Args, Clone, Debug, Default)]
pub struct Ec2Options {
    /// The EC2 emulator's world: a JSON file with its regions, subnets, security groups and images
    #[arg(long = "ec2-world", value_name = "FILE")]
    pub world: Option<PathBuf>,
    /// Time of an instance from pending to running
    #[arg(long = "ec2-pending-ms", value_name = "MS")]
    pub pending_ms: Option<u64>,
    /// Time of an instance from shutting-down to terminated
    #[arg(long = "ec2-shutting-down-ms", value_name = "MS")]
    pub shutting_down_ms: Option<u64>,
    /// How far listings of instances lag behind
    #[arg(long = "ec2-listing-lag-ms", value_name = "MS")]
    pub listing_lag_ms: Option<u64>,
    /// How long a terminated instance stays listed
    #[arg(long = "ec2-terminated-visible-ms", value_name = "MS")]
    pub terminated_visible_ms: Option<u64>,
    /// Time of a host agent from its start to its first request
    #[arg(long, value_name = "MS")]
    pub agent_boot_ms: Option<u64>,
    /// Time from the assignment of a slot to its user's connection
    #[arg(long, value_name = "MS")]
    pub agent_connect_ms: Option<u64>,
    /// Length of a user's session, or the shortest length if there is a maximum
    #[arg(long, value_name = "MS")]
    pub agent_session_ms: Option<u64>,
    /// The longest length of a session; lengths then vary at random
    #[arg(long, value_name = "MS")]
    pub agent_session_max_ms: Option<u64>,
    /// Time between two heartbeats of an agent
    #[arg(long, value_name = "MS")]
    pub agent_heartbeat_ms: Option<u64>,
    /// Time between two reads of its slots by an agent
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

/// Replaces the faults that the EC2 emulator injects; `{}` removes them all.
///
/// # Errors
/// When the emulator does not answer, or does not know a fault.
pub async fn set_faults(control_url: &str, faults: &Value) -> Result<()> {
    let put = reqwest::Client::new().put(format!("{control_url}/faults"));
    let answer = put.json(faults).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status);
    answer.context("set the faults of the EC2 emulator")?;
    Ok(())
}

/// A running EC2 emulator. Dropping it stops it and the agents on its instances.
#[derive(Debug)]
pub struct Ec2Emulator {
    process: Process,
    endpoint: String,
}

impl Ec2Emulator {
    /// Starts the emulator and waits until it responds. It posts its `EventBridge` events to
    /// `events_url`.
    ///
    /// # Errors
    /// When a program was not built or does not start: quotes its log.
    pub async fn start(
        dir: &StackDir,
        port: ReservedPort,
        options: &Ec2Options,
        events_url: &str,
    ) -> Result<Self> {
        let endpoint = format!("http://127.0.0.1:{}", port.port());
        let data = dir.data("ec2");
        private_folder(&data)?;
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
            .ready(START_TIMEOUT, async || health::responds(&ledger).await)
            .await?;
        Ok(Self { process, endpoint })
    }

    /// The URL of the EC2 API, for every region.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The URL of the emulator's ledger, faults and settings.
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
