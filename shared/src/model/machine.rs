//! Virtual machines, as EC2 lists them.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::launching::CapacityPool;
use crate::ids::{ClientSha, ImageId, InstanceId, LaunchId};

/// One virtual machine as EC2 lists it, found by the stack's tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    pub id: InstanceId,
    pub state: MachineState,
    pub launched_at: Timestamp,
    /// From the tag `scaling:launch`; none if the machine has the stack's tag by mistake.
    pub launch_id: Option<LaunchId>,
    pub image_id: ImageId,
    pub client_sha: ClientSha,
    pub instance_type: String,
    /// EC2 stops listing it once the machine is terminated.
    pub subnet_id: Option<String>,
    /// A spot instance, not an on-demand one.
    pub spot: bool,
    pub capacity: u32,
    /// The private address; none before EC2 assigns one. In an IPv6-only subnet, the IPv6 address.
    pub address: Option<IpAddr>,
    /// The public address, an Elastic IP included. EC2 assigns one after the launch, if the subnet
    /// or an Elastic IP gives one. In an IPv6-only subnet, the IPv6 address.
    pub public_address: Option<IpAddr>,
    /// Why EC2 or somebody ended the machine.
    pub state_reason: Option<StateReason>,
}

impl Machine {
    /// What it was launched from; none if EC2 does not list its subnet any more.
    pub fn pool(&self) -> Option<CapacityPool> {
        Some(CapacityPool {
            spot: self.spot,
            instance_type: self.instance_type.clone(),
            subnet_id: self.subnet_id.clone()?,
        })
    }
}

/// EC2's reason for a machine's last change of state, such as `Server.SpotInstanceTermination`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReason {
    pub code: String,
    pub message: String,
}

impl fmt::Display for StateReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // EC2's messages mostly begin with the code.
        if self.message.starts_with(&self.code) {
            f.write_str(&self.message)
        } else if self.message.is_empty() {
            f.write_str(&self.code)
        } else {
            write!(f, "{}: {}", self.code, self.message)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineState {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
    Terminated,
}

impl fmt::Display for MachineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl MachineState {
    /// EC2's name of the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }

    /// Whether EC2 has ended the machine for good.
    pub fn is_going(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }

    /// Whether nothing runs on the machine. A stopped machine could be started again, but host
    /// agents never stop theirs, and its users are gone.
    pub fn is_down(self) -> bool {
        self.is_going() || matches!(self, Self::Stopping | Self::Stopped)
    }
}
