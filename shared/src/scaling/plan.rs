//! What a decision returns: data that the executor carries out, with the reason for each step.

mod json;
mod summary;
mod text;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::reason::Reason;
use super::rows::Row;
use crate::ids::{AddressId, ClientSha, ImageId, InstanceId, LaunchId};
use crate::model::{
    DrainCause, ImageState, InstanceAddresses, NewInstance, Refusal, ReplicaStatus, TerminateIf,
};
use crate::settings::LaunchChoice;

/// One thing to do. It carries every id and count that it needs: the executor makes no choices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Action {
    /// Repeat a launch that an earlier pass recorded, with the same client token.
    ResumeLaunch { launch: LaunchId },
    /// Record since when a complete EC2 listing does not contain the instance.
    NoteMissing { instance: InstanceId },
    /// Clear that time: the instance is listed again.
    NotePresent { instance: InstanceId },
    /// Record the addresses that EC2 gave the instance.
    NoteAddresses { addresses: InstanceAddresses },
    /// Commit the instance to `TERMINATING`, and terminate it if `ask_ec2` is set. It is not set
    /// where EC2 is already terminating the instance or does not know it.
    Terminate {
        instance: InstanceId,
        condition: TerminateIf,
        ask_ec2: bool,
    },
    /// Insert a `TERMINATING` row for a machine that has no row and no open launch, and terminate
    /// it.
    TerminateOrphan { orphan: NewInstance },
    /// Delete the row of an instance that no longer exists at EC2.
    Remove { instance: InstanceId },
    /// Release allocated slots that nobody connected to within `claim_seconds`.
    ReleaseUnclaimed { slots: u32 },
    /// Write to sessions whose limit comes by when they are to end, for their agents.
    MarkEnds { sessions: u32 },
    /// Launch instances with the first option that EC2 has capacity for.
    Launch {
        image: ImageId,
        client_sha: ClientSha,
        options: Vec<LaunchOption>,
    },
    /// Take an instance out of service.
    Drain {
        instance: InstanceId,
        cause: DrainCause,
    },
    /// Take a drain for surplus back.
    Reopen { instance: InstanceId },
    /// Store the next token of the instance's agent. The launch is what the token names.
    RenewToken {
        instance: InstanceId,
        launch: LaunchId,
    },
    /// Record that a pool rests, because its instances did not live.
    RestPool { refusal: Refusal },
    /// Delete that record, because an instance of the pool has lived.
    ForgetRest { refusal: Refusal },
    /// Terminate a replica: it has no row.
    DeleteReplica { instance: InstanceId },
    /// Associate an Elastic IP with the replica `to`. `from` is the replica that carries it now.
    MoveAddress {
        address: AddressId,
        ip: IpAddr,
        to: InstanceId,
        from: Option<InstanceId>,
    },
    /// Record which replicas have an unknown status, and since when.
    RememberUnknown {
        since: BTreeMap<InstanceId, Timestamp>,
    },
    /// Change the state of an image. When an image becomes current, the one before bakes.
    MoveImage {
        image: ImageId,
        from: ImageState,
        to: ImageState,
    },
}

/// A launch choice, and how many instances of it are needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaunchOption {
    pub count: u32,
    #[serde(flatten)]
    pub choice: LaunchChoice,
}

impl LaunchOption {
    /// The largest number of instances that can come of it, whichever options are taken.
    pub(crate) fn most(options: &[Self]) -> u32 {
        options.iter().map(|option| option.count).max().unwrap_or(0)
    }

    /// The options with at most this many instances each.
    pub(crate) fn within(options: &[Self], most: u32) -> Vec<Self> {
        let bounded = |option: &Self| Self {
            count: option.count.min(most),
            choice: option.choice.clone(),
        };
        options.iter().map(bounded).collect()
    }
}

/// Something to do, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub action: Action,
    pub reason: Reason,
}

/// Why something was *not* done, or what an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub instance: Option<InstanceId>,
    pub reason: Reason,
    /// An operator has to act: the note is logged as an error and sent to the alert topic.
    pub alert: bool,
}

impl Note {
    /// True when both have the same reason for the same instance, with any numbers.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.instance == other.instance
            && std::mem::discriminant(&self.reason) == std::mem::discriminant(&other.reason)
    }
}

/// One image's buffer. Each image has its own, because its clients cannot use another image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageCounts {
    pub image: ImageId,
    pub client_sha: ClientSha,
    pub state: ImageState,
    /// The free slots that it should have.
    pub demand: u32,
    pub free: u32,
    pub starting: u32,
}

impl ImageCounts {
    pub(super) fn missing(&self) -> u32 {
        self.demand
            .saturating_sub(self.free.saturating_add(self.starting))
    }

    /// Enough slots are free now, without those that start.
    pub(super) fn is_covered(&self) -> bool {
        self.free >= self.demand
    }
}

/// A replica's status, from EC2 and from the replica itself, and what was decided for it and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaView {
    pub instance: InstanceId,
    #[serde(flatten)]
    pub status: ReplicaStatus,
    pub decided: String,
    /// None where replicas have no external addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<AddressReport>,
}

/// The Elastic IPs that a replica carries, and what was decided about them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressReport {
    /// As EC2 lists them, including those outside of the pool.
    pub carries: Vec<IpAddr>,
    pub decided: String,
}

/// The numbers that the decision is based on: slots, and instances in `live` and `max`. `free` and
/// `starting` are those of the current image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub target: u32,
    pub free: u32,
    pub starting: u32,
    pub waiting: u32,
    pub occupied: u32,
    pub live: u32,
    pub max: u32,
}

/// What a pass does (steps), and what it does not do and why (notes).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    #[serde(rename = "figures")]
    pub counts: Counts,
    /// Each image that has a buffer: first the current one, then baking, then warming ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageCounts>,
    /// Every replica that EC2 lists. Empty except with the algorithm `replica`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaView>,
    /// The pools that rest, those included that this plan records.
    #[serde(skip)]
    pub refusals: Vec<Refusal>,
    pub steps: Vec<Step>,
    pub notes: Vec<Note>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub(super) fn deleted_replicas(&self) -> HashSet<&InstanceId> {
        let deleted = self.steps.iter().filter_map(|step| match &step.action {
            Action::DeleteReplica { instance } => Some(instance),
            _ => None,
        });
        deleted.collect()
    }

    /// Whether this choice in this subnet rests for the image, by what is known or what the plan
    /// records.
    pub fn rests(
        &self,
        choice: &LaunchChoice,
        subnet_id: &str,
        image: &ImageId,
        now: Timestamp,
    ) -> bool {
        let mut refusals = self.refusals.iter();
        refusals.any(|refusal| refusal.covers(choice, subnet_id, image, now))
    }

    pub(super) fn of_image(&self, image: &ImageId) -> Option<&ImageCounts> {
        self.images.iter().find(|counts| counts.image == *image)
    }

    pub(super) fn drain(&mut self, row: &Row<'_>, cause: DrainCause, reason: Reason) {
        let instance = row.instance.id.clone();
        self.end(row, Action::Drain { instance, cause }, reason);
    }

    pub(super) fn terminate(
        &mut self,
        row: &Row<'_>,
        condition: TerminateIf,
        ask_ec2: bool,
        reason: Reason,
    ) {
        let action = Action::Terminate {
            instance: row.instance.id.clone(),
            condition,
            ask_ec2,
        };
        self.end(row, action, reason);
    }

    pub(super) fn remove(&mut self, row: &Row<'_>, reason: Reason) {
        let instance = row.instance.id.clone();
        self.end(row, Action::Remove { instance }, reason);
    }

    /// Later decisions see at the row that its instance leaves.
    fn end(&mut self, row: &Row<'_>, action: Action, reason: Reason) {
        row.set_ended();
        self.push(action, reason);
    }

    pub(super) fn push(&mut self, action: Action, reason: Reason) {
        self.steps.push(Step { action, reason });
    }

    pub(super) fn note(&mut self, instance: Option<&InstanceId>, reason: Reason) {
        self.notes.push(Note {
            instance: instance.cloned(),
            reason,
            alert: false,
        });
    }

    pub(super) fn alert(&mut self, instance: Option<&InstanceId>, reason: Reason) {
        self.notes.push(Note {
            instance: instance.cloned(),
            reason,
            alert: true,
        });
    }
}
