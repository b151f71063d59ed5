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
            | Self::BudgetHoldsLaunch { .. }
            | Self::NoImage
            | Self::NoLaunchChoice
            | Self::SettingInvalid { .. }
            | Self::NoCapacity { .. }
            | Self::LaunchesDie { .. }
            | Self::PoolHasLived { .. }
            | Self::LaunchLimit { .. }
            | Self::ReplicasAtMaximum { .. } => Topic::Capacity,
            Self::BufferFull { .. }
            | Self::ReplicasSuffice { .. }
            | Self::TargetSized { .. }
            | Self::TargetWithoutHistory { .. }
            | Self::TargetScheduled { .. }
            | Self::ScheduleInvalid { .. } => Topic::Buffer,
            Self::Paused
            | Self::BudgetUsed { .. }
            | Self::BudgetWithoutPrices { .. }
            | Self::TimeWithoutPrice { .. } => Topic::Region,
            Self::Surplus { .. }
            | Self::NeededAgain { .. }
            | Self::OverMaximum { .. }
            | Self::ImageNotServed { .. }
            | Self::Interrupted { .. }
            | Self::RebalanceAdvised { .. }
            | Self::MakesRoom { .. }
            | Self::MaxAgeReached { .. }
            | Self::OldNotReplacedYet { .. }
            | Self::NotReplacedYet { .. }
            | Self::OccupiedOnOldImage { .. }
            | Self::LeftByAgent { .. }
            | Self::LeaveHeld { .. }
            | Self::SessionsEndQuickly { .. }
            | Self::SuspectKept { .. }
            | Self::DrainingOccupied { .. } => Topic::Drain,
            Self::DrainedAndStillThere { .. }
            | Self::DrainDeadline { .. }
            | Self::NeverCameUp { .. }
            | Self::Lost { .. }
            | Self::AgentRevoked { .. }
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
            Self::TokenAges { .. }
            | Self::KeyRotates
            | Self::TokenNotTaken { .. }
            | Self::RenewalsLeft { .. } => Topic::Token,
            Self::NotClaimed | Self::LimitComes | Self::SessionsNotEnded { .. } => Topic::Slots,
            Self::FirstImage
            | Self::Warm { .. }
            | Self::WayBack
            | Self::BakedLongEnough { .. }
            | Self::UpgradeTooLate { .. }
            | Self::UpgradeNotNamed { .. }
            | Self::UpgradeDying { .. }
            | Self::NoRoomForUpgrade { .. }
            | Self::AppVersionUnknown { .. }
            | Self::AppVersionNotServed { .. }
            | Self::ReplicaImage
            | Self::ImageUnknown { .. }
            | Self::UsersOnRetiredImage { .. } => Topic::Image,
            Self::StillWarming { .. }
            | Self::AwaitsAppVersion { .. }
            | Self::AppVersionWarms { .. }
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
            | Self::AddressOfEc2 { .. }
            | Self::NoPublicAddress { .. }
            | Self::AddressesUnknown { .. } => Topic::Address,
            Self::LeavesHeld { .. }
            | Self::SessionsEndQuicklyEverywhere { .. }
            | Self::Guard { .. }
            | Self::ReplicaGuard { .. } => Topic::Guard,
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
            Self::LaunchesDie { pool, why, .. } => format!("{pool} rests: {why}"),
            Self::LaunchLimit { limit, .. } => {
                format!("launches fewer: at most {limit} an hour (launches_per_hour)")
            }
            Self::BudgetHoldsLaunch { .. } => {
                "did not launch: the month's budget is spent".to_owned()
            }
            Self::BudgetUsed { percent, .. } => {
                format!("{percent} % of the month's budget are spent")
            }
            Self::BudgetWithoutPrices { .. } => "a budget, and no prices".to_owned(),
            Self::TimeWithoutPrice { .. } => "machine time without a price".to_owned(),
            Self::NeededAgain { missing } => format!("{missing} slots are missing again"),
            Self::NoImage | Self::NoLaunchChoice => format!("cannot launch: {self}"),
            Self::StepBound { wanted, step } => {
                format!("launches fewer: {wanted} needed, at most {step} a pass")
            }
            Self::Surplus { target, free } => format!("free {free} of {target}"),
            Self::TargetScheduled {
                target, schedule, ..
            } => format!("target {target} by schedule {schedule}"),
            Self::ScheduleInvalid { schedule, .. } => {
                format!("schedule {schedule} does not count: it cannot work")
            }
            Self::ReplicaSurplus { min, free } => format!("idle, available {free} of {min}"),
            Self::OverMaximum { max, .. } => format!("more instances than the maximum of {max}"),
            Self::ImageNotServed { .. } => "its image is no longer served".to_owned(),
            Self::ImageUnknown { image } => {
                format!("kept, and not counted as free: no row of image {image}")
            }
            Self::TokenAges { .. } => "half of its time is over".to_owned(),
            Self::TokenNotTaken { .. } => "its agent does not use its next token".to_owned(),
            Self::AgentRevoked { .. } => "its agent's token is revoked".to_owned(),
            Self::Interrupted { .. } => "EC2 reclaims it within two minutes".to_owned(),
            Self::RebalanceAdvised { .. } => "EC2 may reclaim it soon".to_owned(),
            Self::NotReplacedYet { .. } => {
                "kept until it is replaced: EC2 may reclaim it soon".to_owned()
            }
            Self::MaxAgeReached { .. } => "it has reached its greatest age".to_owned(),
            Self::OldNotReplacedYet { .. } => "kept until it is replaced: too old".to_owned(),
            Self::LeftByAgent { says, .. } => format!("its agent took it out of service: {says}"),
            Self::LeaveHeld { says } => format!("kept, though its agent wants to leave: {says}"),
            Self::SessionsEndQuickly {
                connected: true, ..
            } => "its sessions end within seconds".to_owned(),
            Self::SessionsEndQuickly { .. } => "its users cannot connect".to_owned(),
            Self::SuspectKept { .. } => "kept, though it fails its users".to_owned(),
            Self::SessionsEndQuicklyEverywhere { instances, .. } => {
                format!("sessions end within seconds on {instances} instances: none is replaced")
            }
            Self::OccupiedOnOldImage { .. } => "kept on an image no longer served".to_owned(),
            Self::MakesRoom { .. } => "makes room for a more important image".to_owned(),
            Self::DrainingOccupied { .. } => "kept while draining".to_owned(),
            Self::DrainedAndStillThere { .. } => "drained, but still running".to_owned(),
            Self::DrainDeadline { .. } => "its drain's deadline is over".to_owned(),
            Self::NeverCameUp { .. } => "not ACTIVE in time".to_owned(),
            Self::Lost { .. } => "lost: no heartbeat".to_owned(),
            Self::DownAtEc2 {
                state,
                status,
                state_reason,
                ..
            } => {
                let why = state_reason.as_ref();
                let why = why.map(|why| format!(", {}", why.code)).unwrap_or_default();
                format!("{state} at EC2, its row {status}{why}")
            }
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
            Self::SessionsNotEnded { sessions, .. } => {
                format!("{sessions} sessions not ended by their agents")
            }
            Self::AddressOfEc2 { .. } => "EC2 gave it another".to_owned(),
            Self::NoPublicAddress { instances, .. } => {
                format!("no public address: {instances} instances cannot register")
            }
            Self::Warm { named: true, .. } => "warm, and the app version names it".to_owned(),
            Self::Warm { named: false, .. } => "warm, and swap_when_warm is set".to_owned(),
            Self::BakedLongEnough { .. } => "the time for a rollback is over".to_owned(),
            Self::UpgradeTooLate { free, demand, .. } => {
                format!("not warm in time, free {free} of {demand}: the old image stays")
            }
            Self::AppVersionUnknown { client_sha }
            | Self::AppVersionNotServed { client_sha, .. } => {
                format!("no image serves {client_sha}, which the app version names")
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
