//! How fast the emulated world turns. Given on the command line, and changed while it runs by
//! `PATCH /_emulator/settings`.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

/// Delays of the emulated EC2, in milliseconds.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// From `pending` to `running`. The real EC2 takes some 16 s.
    #[arg(long, default_value_t = 2000)]
    pub pending_ms: u64,
    /// From `shutting-down` to `terminated`, and from `stopping` to `stopped`.
    #[arg(long, default_value_t = 2000)]
    pub shutting_down_ms: u64,
    /// By how much every Describe* of instances is behind the truth.
    #[arg(long, default_value_t = 1000)]
    pub listing_lag_ms: u64,
    /// How long a terminated instance is still listed. The real EC2 says about an hour.
    #[arg(long, default_value_t = 3_600_000)]
    pub terminated_visible_ms: u64,
    /// For agents that start from now on.
    #[command(flatten)]
    pub agent: AgentSettings,
}

/// What the agents are told about their own pace, in milliseconds.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSettings {
    /// From the agent's start to its first request (`AGENT_BOOT_MS`).
    #[arg(long = "agent-boot-ms", default_value_t = 1000)]
    pub boot_ms: u64,
    /// From the assignment of a slot to its user's connection (`AGENT_CONNECT_MS`).
    #[arg(long = "agent-connect-ms", default_value_t = 1000)]
    pub connect_ms: u64,
    /// How long a user's session runs, at the least if there is a maximum (`AGENT_SESSION_MS`).
    #[arg(long = "agent-session-ms", default_value_t = 60_000)]
    pub session_ms: u64,
    /// How long it runs at the most: each is of another length then (`AGENT_SESSION_MAX_MS`).
    #[arg(long = "agent-session-max-ms")]
    pub session_max_ms: Option<u64>,
    /// Between two heartbeats (`AGENT_HEARTBEAT_MS`).
    #[arg(long = "agent-heartbeat-ms", default_value_t = 5000)]
    pub heartbeat_ms: u64,
    /// Between two looks at its slots (`AGENT_POLL_MS`).
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

    /// These settings with the fields of `patch` put over them; the error names a field that is
    /// unknown or has a wrong value.
    pub fn patched(&self, patch: &serde_json::Value) -> Result<Self, serde_json::Error> {
        let mut merged = serde_json::to_value(self)?;
        merge(&mut merged, patch);
        serde_json::from_value(merged)
    }
}

impl Default for Settings {
    /// The defaults of the command line, which are defined there and only there.
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
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let patched = Settings::default()
            .patched(&json!({"pending_ms": 7, "agent": {"session_ms": 9}}))
            .unwrap();
        assert_eq!(patched.pending_ms, 7);
        assert_eq!(patched.agent.session_ms, 9);
        assert_eq!(patched.agent.poll_ms, Settings::default().agent.poll_ms);
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let error = Settings::default()
            .patched(&json!({"agent": {"sesion_ms": 9}}))
            .unwrap_err();
        assert!(error.to_string().contains("sesion_ms"), "{error}");
    }
}
