//! The EC2 emulator's ledger: every call, every instance, and each state with its time.

use std::collections::BTreeMap;

use serde::Deserialize;
use testing::invariants::launches::LaunchRequest;
use testing::invariants::removals::TerminationRequest;
use testing::invariants::{self, MachineHistory};

#[derive(Debug, Deserialize)]
pub struct Ledger {
    pub calls: Vec<Call>,
    pub instances: Vec<Machine>,
    pub addresses: Vec<Address>,
    pub events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
pub struct Call {
    /// Starts at 1, without a gap. The emulator keeps the newest 20,000 calls.
    pub seq: u64,
    pub at_ms: i64,
    /// The access key that signed the request.
    pub access_key: String,
    pub region: String,
    pub action: String,
    pub params: BTreeMap<String, String>,
    /// `ok`, or the error's code.
    pub outcome: String,
}

#[derive(Debug, Deserialize)]
pub struct Machine {
    pub id: String,
    pub region: String,
    pub state: Option<String>,
    /// The same for all instances of one launch.
    pub reservation_id: String,
    pub client_token: Option<String>,
    pub image_id: String,
    pub instance_type: String,
    pub subnet_id: String,
    pub security_group_ids: Vec<String>,
    pub ebs_optimized: bool,
    pub shutdown_behavior: String,
    pub metadata_options: MetadataOptions,
    pub tags: BTreeMap<String, String>,
    pub user_data: Option<String>,
    pub ip: String,
    /// The address within its network.
    pub private_ip: String,
    pub transitions: Vec<Transition>,
    /// `user`, `instance` or `spot`.
    pub ended_by: Option<String>,
    pub agent: Option<Agent>,
}

/// An Elastic IP with all of its associations, past and present.
#[derive(Debug, Deserialize)]
pub struct Address {
    pub region: String,
    pub allocation_id: String,
    pub public_ip: String,
    pub tags: BTreeMap<String, String>,
    pub associations: Vec<Association>,
}

#[derive(Debug, Deserialize)]
pub struct Association {
    /// `None` for a network interface of something else.
    pub instance_id: Option<String>,
    pub at_ms: i64,
    pub until_ms: Option<i64>,
    /// `request`, `reassociation`, `replacement` or `termination`.
    pub ended_by: Option<String>,
}

/// The host agent's process on a machine.
#[derive(Debug, Deserialize)]
pub struct Agent {
    pub pid: i32,
    pub ended_at_ms: Option<i64>,
}

/// An event that EC2 sent to `EventBridge`.
#[derive(Debug, Deserialize)]
pub struct Event {
    pub deliveries: Vec<Delivery>,
}

#[derive(Debug, Deserialize)]
pub struct Delivery {
    /// `delivered` if a function was invoked with it.
    pub outcome: String,
}

#[derive(Debug, Deserialize)]
pub struct MetadataOptions {
    pub http_endpoint: String,
    pub http_tokens: String,
    pub http_put_response_hop_limit: u32,
}

#[derive(Debug, Deserialize)]
pub struct Transition {
    pub state: String,
    pub at_ms: i64,
}

impl Ledger {
    /// # Panics
    /// When the emulator does not return a ledger.
    pub async fn read(control_url: &str) -> Self {
        Self::since(control_url, 0).await
    }

    /// Like [`Self::read`], with only the calls after the one with the number `seq`.
    ///
    /// # Panics
    /// As [`Self::read`].
    pub async fn since(control_url: &str, seq: u64) -> Self {
        let url = format!("{control_url}/ledger?since={seq}");
        let answer = reqwest::get(&url)
            .await
            .unwrap_or_else(|error| panic!("{url}: {error}"));
        answer
            .json()
            .await
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    pub fn calls<'l>(&'l self, action: &'l str) -> impl Iterator<Item = &'l Call> {
        self.calls.iter().filter(move |call| call.action == action)
    }

    pub fn in_state<'l>(&'l self, state: &'l str) -> impl Iterator<Item = &'l Machine> {
        self.instances
            .iter()
            .filter(move |machine| machine.state.as_deref() == Some(state))
    }
}

impl Call {
    /// The request of a `RunInstances` call.
    pub fn launch_request(&self) -> Option<LaunchRequest> {
        if self.action != "RunInstances" {
            return None;
        }
        let parameter = |name: &str| self.params.get(name).cloned().unwrap_or_default();
        Some(LaunchRequest {
            token: parameter("ClientToken"),
            launch: self.tag("scaling:launch").unwrap_or_default().to_owned(),
            count: parameter("MaxCount").parse().unwrap_or_default(),
            parameters: self.params.clone(),
        })
    }

    /// The machines of a `TerminateInstances` call.
    pub fn terminations(&self) -> Vec<TerminationRequest> {
        if self.action != "TerminateInstances" {
            return Vec::new();
        }
        let ids = self.params.iter();
        ids.filter(|(name, _)| name.starts_with("InstanceId."))
            .map(|(_, id)| TerminationRequest {
                at_ms: self.at_ms,
                id: id.clone(),
            })
            .collect()
    }

    /// The value of a tag in the request of a launch.
    pub fn tag(&self, key: &str) -> Option<&str> {
        let (name, _) = self.params.iter().find(|(_, value)| *value == key)?;
        let tag = name.strip_suffix(".Key")?;
        self.params.get(&format!("{tag}.Value")).map(String::as_str)
    }
}

impl Address {
    /// The current association.
    pub fn now(&self) -> Option<&Association> {
        let last = self.associations.last();
        last.filter(|association| association.until_ms.is_none())
    }
}

impl Machine {
    /// The agent's token in its user data. Replicas have none.
    pub fn agent_token(&self) -> Option<&str> {
        let mut lines = self.user_data.as_deref()?.lines();
        lines.find_map(|line| line.strip_prefix("SCALING_AGENT_TOKEN="))
    }

    /// Its life, for the invariants.
    pub fn history(&self) -> MachineHistory {
        let tag = self.tags.get("scaling:launch");
        let states = self.transitions.iter();
        MachineHistory {
            id: self.id.clone(),
            region: self.region.clone(),
            token: self.client_token.clone().unwrap_or_default(),
            launch: tag.cloned().unwrap_or_default(),
            reservation: self.reservation_id.clone(),
            states: states.map(|it| (it.state.clone(), it.at_ms)).collect(),
            ended_by: self.ended_by.clone(),
            agent: match &self.agent {
                None => invariants::Agent::NeverStarted,
                Some(agent) => agent
                    .ended_at_ms
                    .map_or(invariants::Agent::Running, invariants::Agent::Ended),
            },
        }
    }

    /// Whether the machine is pending or running.
    pub fn is_up(&self) -> bool {
        matches!(self.state.as_deref(), Some("pending" | "running"))
    }

    pub fn states(&self) -> Vec<&str> {
        self.transitions
            .iter()
            .map(|transition| transition.state.as_str())
            .collect()
    }
}
