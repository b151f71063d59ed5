//! What a decision returns: data that a person can read and the actor can carry out.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::reason::Reason;
use crate::ids::{AddressId, ClientSha, ImageId, InstanceId, LaunchId};
use crate::model::TerminateIf;
use crate::model::{ImageState, NewInstance, ReplicaStatus};
use crate::settings::LaunchChoice;

/// One thing to do. It carries every id and count that it needs: the actor makes no choices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Action {
    /// Ask EC2 again, under the same token, for what an earlier pass recorded.
    ResumeLaunch { launch: LaunchId },
    /// Start the clock of an instance that a complete listing missed.
    NoteMissing { instance: InstanceId },
    /// Stop that clock: it is listed again.
    NotePresent { instance: InstanceId },
    /// Commit the instance to `TERMINATING` and, unless EC2 has already given it up, terminate it.
    Terminate {
        instance: InstanceId,
        condition: TerminateIf,
        ask_ec2: bool,
    },
    /// Insert a row for a machine that nobody knows of, as `TERMINATING`, and terminate it.
    TerminateOrphan { orphan: NewInstance },
    /// Delete the row of an instance that is gone for certain.
    Remove { instance: InstanceId },
    /// Give allocated slots back that no connection claimed in time.
    ReleaseUnclaimed { slots: u32 },
    /// Launch instances, trying the options in this order until one has room.
    Launch {
        image: ImageId,
        client_sha: ClientSha,
        options: Vec<LaunchOption>,
    },
    /// Take an empty instance out of service.
    Drain { instance: InstanceId },
    /// Delete a machine that has no row.
    DeleteReplica { instance: InstanceId },
    /// Have a replica carry an Elastic IP, which `from` carries until then, or nobody.
    MoveAddress {
        address: AddressId,
        ip: IpAddr,
        to: InstanceId,
        from: Option<InstanceId>,
    },
    /// Write down which replicas give no word, and since when.
    RememberUnknown {
        since: BTreeMap<InstanceId, Timestamp>,
    },
    /// Move an image on in its upgrade. The current one bakes when another takes its place.
    MoveImage {
        image: ImageId,
        from: ImageState,
        to: ImageState,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResumeLaunch { launch } => write!(f, "resume launch {launch}"),
            Self::NoteMissing { instance } => write!(f, "note {instance} as missing"),
            Self::NotePresent { instance } => write!(f, "note {instance} as listed again"),
            Self::Terminate { instance, .. } => write!(f, "terminate {instance}"),
            Self::TerminateOrphan { orphan } => write!(f, "terminate orphan {}", orphan.id),
            Self::Remove { instance } => write!(f, "remove the row of {instance}"),
            Self::ReleaseUnclaimed { slots } => write!(f, "release {slots} unclaimed"),
            Self::Launch { image, options, .. } => {
                write!(f, "launch from {image}: ")?;
                for (place, LaunchOption { choice, count }) in options.iter().enumerate() {
                    let or = if place == 0 { "" } else { ", or " };
                    write!(f, "{or}{count} x {choice}")?;
                }
                Ok(())
            }
            Self::Drain { instance } => write!(f, "drain {instance}"),
            Self::DeleteReplica { instance } => write!(f, "delete replica {instance}"),
            Self::MoveAddress { ip, to, from, .. } => match from {
                Some(from) => write!(f, "move address {ip} from {from} to {to}"),
                None => write!(f, "give address {ip} to {to}"),
            },
            Self::RememberUnknown { since } => {
                write!(f, "remember {} unknown replicas", since.len())
            }
            Self::MoveImage { image, from, to } => write!(f, "move {image} from {from} to {to}"),
        }
    }
}

/// A launch choice, and how many instances of it would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaunchOption {
    pub count: u32,
    #[serde(flatten)]
    pub choice: LaunchChoice,
}

impl LaunchOption {
    /// What is launched at most: one of the options is taken.
    pub(super) fn most(options: &[Self]) -> u32 {
        options.iter().map(|option| option.count).max().unwrap_or(0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    #[serde(flatten)]
    pub action: Action,
    #[serde(rename = "because", serialize_with = "with_sentence")]
    pub reason: Reason,
}

/// For programs the reason's data, for people its sentence.
fn with_sentence<S: Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Said<'r> {
        #[serde(flatten)]
        reason: &'r Reason,
        text: String,
    }
    Said {
        reason,
        text: reason.to_string(),
    }
    .serialize(serializer)
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.action, self.reason)
    }
}

/// Why something was *not* done, or what an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    #[serde(flatten, serialize_with = "with_sentence")]
    pub reason: Reason,
    /// Somebody has to look: logged as an error and sent to the alert topic.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub alert: bool,
}

impl Note {
    /// The same reason about the same instance, whatever its figures are.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.instance == other.instance
            && std::mem::discriminant(&self.reason) == std::mem::discriminant(&other.reason)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instance {
            Some(instance) => write!(f, "{instance}: {}", self.reason),
            None => write!(f, "{}", self.reason),
        }
    }
}

/// One image's buffer: of its own, since its clients are served by no other.
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

    /// Without those that are about to leave, enough is there.
    pub(super) fn is_covered(&self) -> bool {
        self.free >= self.demand
    }
}

/// A replica as the provider and it told, and what was decided for it, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaView {
    pub instance: InstanceId,
    #[serde(flatten)]
    pub status: ReplicaStatus,
    pub decided: String,
    /// None where replicas carry no external addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<AddressReport>,
}

/// The Elastic IPs that a replica carries, and what was decided about them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressReport {
    /// As EC2 lists them, those outside of the pool included.
    pub carries: Vec<IpAddr>,
    pub decided: String,
}

impl fmt::Display for AddressReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("address")?;
        for ip in &self.carries {
            write!(f, " {ip}")?;
        }
        write!(f, ": {}", self.decided)
    }
}

/// The numbers that the decision rested on. `free` and `starting` are of the current image.
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

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    #[serde(rename = "figures")]
    pub counts: Counts,
    /// Of each image that has a buffer: the current one, then those that bake, then those that
    /// warm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageCounts>,
    /// Of the algorithm `replica`: all that the provider lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaView>,
    pub steps: Vec<Step>,
    pub notes: Vec<Note>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Instances that a step of this plan already ends or drains.
    pub(super) fn leaving(&self) -> HashSet<InstanceId> {
        self.steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Terminate { instance, .. }
                | Action::Remove { instance }
                | Action::Drain { instance } => Some(instance.clone()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn deleted_replicas(&self) -> HashSet<&InstanceId> {
        let deleted = self.steps.iter().filter_map(|step| match &step.action {
            Action::DeleteReplica { instance } => Some(instance),
            _ => None,
        });
        deleted.collect()
    }

    pub(super) fn of_image(&self, image: &ImageId) -> Option<&ImageCounts> {
        self.images.iter().find(|counts| counts.image == *image)
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

impl fmt::Display for Plan {
    /// As the golden plans of the tests show it, and an operator reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            target,
            free,
            starting,
            waiting,
            occupied,
            live,
            max,
        } = self.counts;
        writeln!(
            f,
            "target {target}, free {free}, starting {starting}, waiting {waiting}, \
             occupied {occupied}, live {live} of {max}"
        )?;
        for image in self
            .images
            .iter()
            .filter(|image| image.state != ImageState::Current)
        {
            let ImageCounts {
                image,
                state,
                demand,
                free,
                starting,
                ..
            } = image;
            writeln!(
                f,
                "{image} {state}: {demand} wanted, free {free}, starting {starting}"
            )?;
        }
        for replica in &self.replicas {
            let ReplicaView {
                instance,
                status,
                decided,
                address,
            } = replica;
            write!(f, "{instance} {status}: {decided}")?;
            if let Some(address) = address {
                write!(f, "; {address}")?;
            }
            writeln!(f)?;
        }
        for step in &self.steps {
            writeln!(f, "- {step}")?;
        }
        for note in &self.notes {
            writeln!(f, "{} {note}", if note.alert { "!" } else { "·" })?;
        }
        Ok(())
    }
}
