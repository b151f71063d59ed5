//! The delays of the emulated EC2 and of its agents, and how it treats idle connections.
//!
//! They are given on the command line, and can be changed by `PATCH /_emulator/settings`.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::connection::IdleLimits;

/// Settings of the emulated EC2. All delays are in milliseconds.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Time from `pending` to `running`. The real EC2 takes about 16 s.
    #[arg(long, default_value_t = 2000)]
    pub pending_ms: u64,
    /// Time from `shutting-down` to `terminated`, and from `stopping` to `stopped`.
    #[arg(long, default_value_t = 2000)]
    pub shutting_down_ms: u64,
    /// How far `Describe*` of instances, addresses and tags lag behind the current state.
    #[arg(long, default_value_t = 1000)]
    pub listing_lag_ms: u64,
    /// How long a terminated instance is still listed. EC2's documentation says about an hour.
    #[arg(long, default_value_t = 3_600_000)]
    pub terminated_visible_ms: u64,
    /// How long a terminated instance keeps its tags. After that, filters by tag do not find it,
    /// but requests for its id do. EC2 documents no time.
    #[arg(long, default_value_t = 600_000)]
    pub terminated_tagged_ms: u64,
    /// Spot instances do not match the filter `client-token`. It is not documented whether they do.
    #[arg(long)]
    pub hide_spot_client_tokens: bool,
    /// Close connections to the EC2 API that are idle for this time, as load balancers do.
    #[arg(long)]
    pub idle_close_ms: Option<u64>,
    /// Reset connections to the EC2 API on the first request after they were idle for this time.
    /// The request is not executed. So do connections behave that were closed while the client's
    /// process was frozen.
    #[arg(long)]
    pub idle_stale_ms: Option<u64>,
    /// For agents that start after a change.
    #[command(flatten)]
    pub agent: AgentSettings,
}

/// Delays of the host agents, in milliseconds. Each is passed in an environment variable.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSettings {
    /// Time from the agent's start to its first request (`AGENT_BOOT_MS`).
    #[arg(long = "agent-boot-ms", default_value_t = 1000)]
    pub boot_ms: u64,
    /// Time from the assignment of a slot to its user's connection (`AGENT_CONNECT_MS`).
    #[arg(long = "agent-connect-ms", default_value_t = 1000)]
    pub connect_ms: u64,
    /// Length of a user's session; the minimum if a maximum is set (`AGENT_SESSION_MS`).
    #[arg(long = "agent-session-ms", default_value_t = 60_000)]
    pub session_ms: u64,
    /// Maximum length of a session. If set, lengths vary (`AGENT_SESSION_MAX_MS`).
    #[arg(long = "agent-session-max-ms")]
    pub session_max_ms: Option<u64>,
    /// Time between two heartbeats (`AGENT_HEARTBEAT_MS`).
    #[arg(long = "agent-heartbeat-ms", default_value_t = 5000)]
    pub heartbeat_ms: u64,
    /// Time between two reads of the agent's slots (`AGENT_POLL_MS`).
    #[arg(long = "agent-poll-ms", default_value_t = 250)]
    pub poll_ms: u64,
}

impl Settings {
    pub fn pending(&self) -> Duration {
        Duration::from_millis(self.pending_ms)
    }

    pub fn shutting_down(&self) -> Duration {
        Duration::from_millis(self.shutting_down_ms)
    }

    pub fn listing_lag(&self) -> Duration {
        Duration::from_millis(self.listing_lag_ms)
    }

    pub fn terminated_visible(&self) -> Duration {
        Duration::from_millis(self.terminated_visible_ms)
    }

    pub fn terminated_tagged(&self) -> Duration {
        Duration::from_millis(self.terminated_tagged_ms)
    }

    pub fn idle_limits(&self) -> IdleLimits {
        IdleLimits {
            close: self.idle_close_ms.map(Duration::from_millis),
            stale: self.idle_stale_ms.map(Duration::from_millis),
        }
    }

    /// Returns a copy of the settings with the fields of `patch` replaced.
    ///
    /// # Errors
    /// If a field is unknown or has an invalid value; the message names it.
    pub fn patched(&self, patch: &serde_json::Value) -> Result<Self, serde_json::Error> {
        let mut merged = serde_json::to_value(self)?;
        merge(&mut merged, patch);
        serde_json::from_value(merged)
    }
}

impl Default for Settings {
    /// The defaults of the command line, so that each is defined only once.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Defaults {
            #[command(flatten)]
            settings: Settings,
        }
        <Defaults as clap::Parser>::parse_from(["defaults"]).settings
    }
}

fn merge(target: &mut serde_json::Value, patch: &serde_json::Value) {
    match (target.as_object_mut(), patch.as_object()) {
        (Some(target), Some(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        _ => *target = patch.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patch_changes_only_named_fields() {
        let patched = Settings::default()
            .patched(&json!({"pending_ms": 7, "agent": {"session_ms": 9}}))
            .unwrap();
        assert_eq!(patched.pending_ms, 7);
        assert_eq!(patched.agent.session_ms, 9);
        assert_eq!(patched.agent.poll_ms, Settings::default().agent.poll_ms);
    }

    #[test]
    fn unknown_setting_is_named_in_error() {
        let error = Settings::default()
            .patched(&json!({"agent": {"sesion_ms": 9}}))
            .unwrap_err();
        assert!(error.to_string().contains("sesion_ms"), "{error}");
    }
}
