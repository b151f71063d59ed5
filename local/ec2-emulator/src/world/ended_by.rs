//! What ended an instance, in EC2's codes and words.
//!
//! Codes: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html>.

use serde::{Deserialize, Serialize, Serializer};

use crate::clock::UnixMillis;
use crate::faults::InterruptAction;

/// What ended an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// A request to EC2.
    User,
    /// The instance's own shutdown.
    Instance,
    /// A spot interruption, which terminated or stopped the instance.
    Spot(InterruptAction),
    /// EC2 accepted the launch but could not complete it.
    Launch(LaunchFailure),
}

/// Why EC2 ends an instance after it has accepted its launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaunchFailure {
    #[serde(rename = "Server.InsufficientInstanceCapacity")]
    InsufficientCapacity,
    #[serde(rename = "Server.InternalError")]
    ServerError,
    #[serde(rename = "Server.SpotInstanceTermination")]
    SpotTermination,
    /// Most often a missing permission for the KMS key of an encrypted volume.
    #[serde(rename = "Client.InternalError")]
    ClientError,
    #[serde(rename = "Client.InvalidKMSKey.InvalidState")]
    InvalidKey,
    #[serde(rename = "Client.InvalidSnapshot.NotFound")]
    SnapshotNotFound,
    #[serde(rename = "Client.VolumeLimitExceeded")]
    VolumeLimit,
}

impl EndedBy {
    /// The word for it in the ledger.
    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Instance => "instance",
            Self::Spot(_) => "spot",
            Self::Launch(_) => "launch",
        }
    }

    /// The code in EC2's `stateReason`.
    pub(super) fn code(self) -> &'static str {
        match self {
            // EC2's documentation of failed launches has this code with this message:
            // <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html>.
            // A client must therefore read the message to learn the cause.
            Self::Launch(LaunchFailure::VolumeLimit) => LaunchFailure::ServerError.name(),
            _ => self.name(),
        }
    }

    /// The cause's name, with which the message in EC2's `stateReason` begins.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::User => "Client.UserInitiatedShutdown",
            Self::Instance => "Client.InstanceInitiatedShutdown",
            Self::Spot(InterruptAction::Terminate) => LaunchFailure::SpotTermination.name(),
            Self::Spot(InterruptAction::Stop) => "Server.SpotInstanceShutdown",
            Self::Launch(failure) => failure.name(),
        }
    }

    /// The message in EC2's `stateReason`, without the name in front of it.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::User => "User initiated shutdown",
            Self::Instance => "Instance initiated shutdown",
            Self::Spot(InterruptAction::Terminate) => LaunchFailure::SpotTermination.message(),
            Self::Spot(InterruptAction::Stop) => "Spot instance shutdown",
            Self::Launch(failure) => failure.message(),
        }
    }

    /// EC2's reason of the last transition, for an instance that ended at `at`.
    pub(super) fn transition_reason(self, at: UnixMillis) -> String {
        let who = match self {
            Self::User => "User initiated",
            Self::Instance => "Instance initiated",
            Self::Spot(_) | Self::Launch(LaunchFailure::SpotTermination) => "Service initiated",
            // A failed launch has only the code.
            Self::Launch(_) => return self.code().to_owned(),
        };
        format!("{who} ({})", at.to_gmt())
    }
}

impl LaunchFailure {
    fn name(self) -> &'static str {
        match self {
            Self::InsufficientCapacity => "Server.InsufficientInstanceCapacity",
            Self::ServerError => "Server.InternalError",
            Self::SpotTermination => "Server.SpotInstanceTermination",
            Self::ClientError => "Client.InternalError",
            Self::InvalidKey => "Client.InvalidKMSKey.InvalidState",
            Self::SnapshotNotFound => "Client.InvalidSnapshot.NotFound",
            Self::VolumeLimit => "Client.VolumeLimitExceeded",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::InsufficientCapacity => "Insufficient capacity to satisfy instance request",
            Self::ServerError => "Internal error on launch",
            Self::SpotTermination => "Spot instance termination",
            Self::ClientError => "Client error on launch",
            Self::InvalidKey => "The KMS key provided is in an incorrect state",
            Self::SnapshotNotFound => "The specified snapshot was not found",
            Self::VolumeLimit => "Volume limit exceeded",
        }
    }
}

impl Serialize for EndedBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
