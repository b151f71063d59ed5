//! The summary of a reason: a short clause for the status page. It leaves out what differs between
//! instances, so that the page can count those with the same summary.

use super::Reason;
use crate::scaling::topic::Topic;

impl Reason {
    /// What a note with this reason is about.
    pub fn topic(&self) -> Topic {
        match self {
            Self::BelowTarget { .. }
            | Self::ImageBelowTarget { .. }
            | Self::ReplicasBelowMinimum { .. }
            | Self::IntentOpen { .. }
            | Self::IntentTooOld { .. } => Topic::Launch,
            Self::AtMaximum { .. }
            | Self::StepBound { .. }
            | Self::NoImage
            | Self::NoLaunchChoice
            | Self::NoCapacity { .. }
            | Self::ReplicasAtMaximum { .. } => Topic::Capacity,
            Self::BufferFull { .. } | Self::ReplicasSuffice { .. } => Topic::Buffer,
            Self::Paused => Topic::Region,
            Self::Surplus { .. }
            | Self::OverMaximum { .. }
            | Self::ImageNotServed { .. }
            | Self::TokenEnds { .. }
            | Self::Interrupted { .. }
            | Self::RebalanceAdvised { .. }
            | Self::MakesRoom { .. }
            | Self::NotReplacedYet { .. }
            | Self::OccupiedOnOldImage { .. }
            | Self::DrainingOccupied { .. } => Topic::Drain,
            Self::DrainedAndStillThere { .. }
            | Self::NeverCameUp { .. }
            | Self::Lost { .. }
            | Self::Committed
            | Self::DownAtEc2 { .. }
            | Self::OrphanOf { .. } => Topic::Terminate,
            Self::TerminatedAtEc2 | Self::MissingAndUnknown { .. } => Topic::Removal,
            Self::NotListed
            | Self::ListedAgain
            | Self::MissingStill { .. }
            | Self::NotListedButKnown { .. }
            | Self::MissingButBeating { .. }
            | Self::YoungOrphan { .. } => Topic::Drift,
            Self::Silent { .. } => Topic::Heartbeat,
            Self::NotClaimed => Topic::Slots,
            Self::FirstImage
            | Self::Warm { .. }
            | Self::WayBack
            | Self::BakedLongEnough { .. }
            | Self::UpgradeTooLate { .. }
            | Self::UpgradeNotNamed { .. }
            | Self::UpgradeDying { .. }
            | Self::NoRoomForUpgrade { .. }
            | Self::ReplicaImage
            | Self::ImageUnknown { .. }
            | Self::UsersOnRetiredImage { .. } => Topic::Image,
            Self::StillWarming { .. }
            | Self::AwaitsAppVersion { .. }
            | Self::StillBaking { .. } => Topic::Upgrade,
            Self::ReplicaTerminated
            | Self::ReplicaInError { .. }
            | Self::ReplicaSurplus { .. }
            | Self::ReplicaUnknownFor { .. }
            | Self::UnknownReplicas { .. } => Topic::Replica,
            Self::AddressOfDeleted
            | Self::AddressOfGone
            | Self::AddressOfUnknown
            | Self::AddressFree
            | Self::AddressMoveNotListed { .. }
            | Self::AddressesWithoutReplica { .. }
            | Self::AddressElsewhere { .. }
            | Self::AddressesOnOne { .. }
            | Self::AddressPoolEmpty { .. }
            | Self::AddressesUnknown { .. } => Topic::Address,
            Self::Guard { .. } | Self::ReplicaGuard { .. } => Topic::Guard,
        }
    }

    /// The reason without seconds, users and names of settings. Where the text is about no single
    /// instance and short, it is the text.
    pub fn summary(&self) -> String {
        match self {
            Self::BelowTarget {
                target,
                waiting,
                free,
                starting,
            } => {
                let users = match waiting {
                    0 => String::new(),
                    waiting => format!(", {} waiting", super::text::users(*waiting)),
                };
                format!("free {free} of {target}{}{users}", and_starting(*starting))
            }
            Self::ImageBelowTarget {
                state,
                target,
                free,
                starting,
            } => format!(
                "free {free} of {target} on the {state} image{}",
                and_starting(*starting)
            ),
            Self::ReplicasBelowMinimum {
                min,
                free,
                starting,
            } => format!("available {free} of {min}{}", and_starting(*starting)),
            Self::IntentOpen { .. } => "recorded by an earlier pass".to_owned(),
            Self::IntentTooOld { hours } => {
                format!("a launch that was recorded {hours} h ago is not launched again")
            }
            Self::AtMaximum { max, .. } | Self::ReplicasAtMaximum { max, .. } => {
                format!("did not launch: maximum of {max} reached")
            }
            Self::NoCapacity { .. } => format!("did not launch: {self}"),
            Self::NoImage | Self::NoLaunchChoice => format!("cannot launch: {self}"),
            Self::StepBound { wanted, step } => {
                format!("launches fewer: {wanted} needed, at most {step} a pass")
            }
            Self::Surplus { target, free } => format!("free {free} of {target}"),
            Self::ReplicaSurplus { min, free } => format!("idle, available {free} of {min}"),
            Self::OverMaximum { max, .. } => format!("more instances than the maximum of {max}"),
            Self::ImageNotServed { .. } => "its image is no longer served".to_owned(),
            Self::ImageUnknown { image } => {
                format!("kept, and not counted as free: no row of image {image}")
            }
            Self::TokenEnds { .. } => "its agent token expires soon".to_owned(),
            Self::Interrupted { .. } => "EC2 reclaims it within two minutes".to_owned(),
            Self::RebalanceAdvised { .. } => "EC2 may reclaim it soon".to_owned(),
            Self::NotReplacedYet { .. } => {
                "kept until it is replaced: EC2 may reclaim it soon".to_owned()
            }
            Self::OccupiedOnOldImage { .. } => "kept on an image no longer served".to_owned(),
            Self::MakesRoom { .. } => "makes room for a more important image".to_owned(),
            Self::DrainingOccupied { .. } => "kept while draining".to_owned(),
            Self::DrainedAndStillThere { .. } => "drained, but still running".to_owned(),
            Self::NeverCameUp { .. } => "not ACTIVE in time".to_owned(),
            Self::Lost { .. } => "lost: no heartbeat".to_owned(),
            Self::DownAtEc2 { state, status, .. } => format!("{state} at EC2, its row {status}"),
            Self::OrphanOf { .. } => "no row and no open launch".to_owned(),
            Self::YoungOrphan { .. } => "kept: no row yet, but launched just now".to_owned(),
            Self::Silent { .. } => "no heartbeat, not counted as free".to_owned(),
            Self::MissingAndUnknown { .. } => "EC2 does not know its id".to_owned(),
            Self::MissingStill { .. } => "EC2 does not list it".to_owned(),
            Self::NotListedButKnown { .. } => {
                "EC2 does not list it, but knows its id: were its tags removed?".to_owned()
            }
            Self::MissingButBeating { .. } => "EC2 does not list it, but its agent sends \
                 heartbeats: are the functions in the right AWS account?"
                .to_owned(),
            Self::NotClaimed => "nobody connected in time".to_owned(),
            Self::Warm { named: true, .. } => "warm, and the app version names it".to_owned(),
            Self::Warm { named: false, .. } => "warm, and swap_when_warm is set".to_owned(),
            Self::BakedLongEnough { .. } => "the time for a rollback is over".to_owned(),
            Self::UpgradeTooLate { free, demand, .. } => {
                format!("not warm in time, free {free} of {demand}: the old image stays")
            }
            Self::UpgradeNotNamed { client_sha, .. } => {
                format!("no app version named {client_sha} in time: the old image stays")
            }
            Self::NoRoomForUpgrade { .. } => {
                "no room for an instance of it: the old image stays".to_owned()
            }
            Self::ReplicaUnknownFor { .. } => "its status is unknown for too long".to_owned(),
            Self::AddressMoveNotListed { .. } => "recorded by an earlier pass".to_owned(),
            _ => self.to_string(),
        }
    }
}

fn and_starting(starting: u32) -> String {
    match starting {
        0 => String::new(),
        starting => format!(", {starting} starting"),
    }
}
