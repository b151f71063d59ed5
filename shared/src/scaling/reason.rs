//! Why a thing is done or not, as data and as a sentence.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use crate::ids::{ClientSha, ImageId, InstanceId, LaunchId};
use crate::model::{ImageState, InstanceStatus, MachineState};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    // Launching
    BelowTarget {
        target: u32,
        waiting: u32,
        free: u32,
        starting: u32,
    },
    ImageBelowTarget {
        state: ImageState,
        target: u32,
        free: u32,
        starting: u32,
    },
    IntentOpen {
        unrecorded_count: u32,
    },
    IntentTooOld {
        hours: i64,
    },
    // Not launching
    AtMaximum {
        missing_slots: u32,
        live: u32,
        max: u32,
    },
    StepBound {
        wanted: u32,
        step: u32,
    },
    NoImage,
    NoLaunchChoice,
    NoCapacity {
        until: Timestamp,
    },
    BufferFull {
        target: u32,
        free: u32,
        starting: u32,
    },
    Paused,
    // Draining
    Surplus {
        target: u32,
        free: u32,
    },
    OverMaximum {
        live: u32,
        max: u32,
    },
    ImageNotServed {
        image: ImageId,
    },
    ImageUnknown {
        image: ImageId,
    },
    TokenEnds {
        hours: i64,
        occupied: u32,
    },
    Interrupted {
        occupied: u32,
    },
    RebalanceAdvised {
        occupied: u32,
    },
    MakesRoom {
        state: ImageState,
    },
    // Moving an image on
    FirstImage,
    Warm {
        free: u32,
        named: bool,
    },
    WayBack,
    BakedLongEnough {
        seconds: i64,
    },
    UpgradeTooLate {
        seconds: i64,
        free: u32,
        demand: u32,
    },
    UpgradeNotNamed {
        seconds: i64,
        client_sha: ClientSha,
    },
    UpgradeDying {
        instance: InstanceId,
    },
    NoRoomForUpgrade {
        live: u32,
        max: u32,
    },
    // Not moving it on
    StillWarming {
        image: ImageId,
        free: u32,
        demand: u32,
        starting: u32,
    },
    AwaitsAppVersion {
        image: ImageId,
        client_sha: ClientSha,
    },
    StillBaking {
        image: ImageId,
        until: Timestamp,
    },
    UsersOnRetiredImage {
        image: ImageId,
        users: u32,
        seconds: i64,
    },
    // Replicas
    ReplicasBelowMinimum {
        min: u32,
        free: u32,
        starting: u32,
    },
    ReplicasSuffice {
        min: u32,
        free: u32,
        starting: u32,
    },
    ReplicasAtMaximum {
        missing: u32,
        live: u32,
        max: u32,
    },
    ReplicaTerminated,
    ReplicaInError {
        state: MachineState,
    },
    ReplicaSurplus {
        min: u32,
        free: u32,
    },
    ReplicaUnknownFor {
        seconds: i64,
    },
    ReplicaGuard {
        unknown: usize,
        most: usize,
    },
    UnknownReplicas {
        count: usize,
    },
    ReplicaImage,
    // Moving an external address
    AddressOfDeleted,
    AddressOfGone,
    AddressOfUnknown,
    AddressFree,
    AddressMoveNotListed {
        seconds: i64,
    },
    // Not moving one
    AddressesWithoutReplica {
        free: u32,
        unknown: u32,
    },
    AddressElsewhere {
        ip: IpAddr,
        carrier: String,
    },
    AddressesOnOne {
        count: usize,
    },
    AddressPoolEmpty {
        tag: String,
    },
    AddressesUnknown {
        why: String,
    },
    // Not draining
    NotReplacedYet {
        occupied: u32,
    },
    OccupiedOnOldImage {
        occupied: u32,
    },
    // Terminating
    DrainedAndStillThere {
        seconds: i64,
    },
    NeverCameUp {
        seconds: i64,
    },
    Lost {
        silent_seconds: i64,
        occupied: u32,
    },
    Committed,
    DownAtEc2 {
        state: MachineState,
        status: InstanceStatus,
        occupied: u32,
    },
    OrphanOf {
        launch: Option<LaunchId>,
        age_seconds: i64,
    },
    // Not terminating
    DrainingOccupied {
        occupied: u32,
        seconds: i64,
    },
    Silent {
        silent_seconds: i64,
        occupied: u32,
    },
    YoungOrphan {
        age_seconds: i64,
    },
    Guard {
        gone: u32,
        orphaned: u32,
        lost: u32,
        allowed: u32,
    },
    // Verifying
    NotListed,
    ListedAgain,
    TerminatedAtEc2,
    MissingAndUnknown {
        seconds: i64,
    },
    MissingStill {
        seconds: i64,
    },
    NotListedButKnown {
        seconds: i64,
    },
    MissingButBeating {
        seconds: i64,
    },
    // Slots
    NotClaimed,
}

impl Reason {
    /// Which reason it is, without its numbers: its variant's name.
    pub fn name(&self) -> String {
        let debug = format!("{self:?}");
        debug
            .split([' ', '{'])
            .next()
            .unwrap_or_default()
            .to_owned()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowTarget {
                target,
                waiting,
                free,
                starting,
            } => write!(
                f,
                "free {free} and starting {starting} are below target {target} + waiting {waiting}"
            ),
            Self::IntentOpen { unrecorded_count } => {
                write!(
                    f,
                    "an earlier pass recorded it; {unrecorded_count} without a row"
                )
            }
            Self::IntentTooOld { hours } => {
                write!(
                    f,
                    "recorded {hours} h ago: looked up only, never launched again"
                )
            }
            Self::AtMaximum {
                missing_slots,
                live,
                max,
            } => write!(
                f,
                "too few slots by {missing_slots}, with {live} instances live of at most {max} (max_instances)"
            ),
            Self::StepBound { wanted, step } => {
                write!(f, "{wanted} wanted, {step} a pass (scale_up_step)")
            }
            Self::NoImage => f.write_str("the region has no CURRENT image in table `images`"),
            Self::NoLaunchChoice => f.write_str("the region's `launch_choices` are empty"),
            Self::NoCapacity { until } => {
                write!(
                    f,
                    "EC2 had no capacity for any launch choice; asked again after {until}"
                )
            }
            Self::BufferFull {
                target,
                free,
                starting,
            } => {
                write!(
                    f,
                    "free {free} and starting {starting} meet the target of {target}"
                )
            }
            Self::Paused => f.write_str("the region is paused"),
            Self::Surplus { target, free } => {
                write!(
                    f,
                    "free {free} exceeds the target of {target} by a whole instance"
                )
            }
            Self::OverMaximum { live, max } => {
                write!(f, "{live} instances live exceed the maximum of {max}")
            }
            Self::ImageNotServed { image } => write!(f, "image {image} is not served any more"),
            Self::ImageUnknown { image } => write!(
                f,
                "image {image} has no row in table `images`: kept, and not counted as free"
            ),
            Self::TokenEnds { hours, occupied } => write!(
                f,
                "{hours} h old: its agent's token ends soon (AGENT_TOKEN_DAYS), {} there",
                users(*occupied)
            ),
            Self::ImageBelowTarget {
                state,
                target,
                free,
                starting,
            } => write!(
                f,
                "free {free} and starting {starting} of this {state} image are below target {target}"
            ),
            Self::MakesRoom { state } => write!(
                f,
                "at max_instances, and users come before this {state} image"
            ),
            Self::FirstImage => {
                f.write_str("the region's first image, and it is ACTIVE or needs no instance")
            }
            Self::Warm { free, named: true } => {
                write!(
                    f,
                    "warm (free {free}), and the app version names its client_sha"
                )
            }
            Self::Warm { free, named: false } => {
                write!(f, "warm (free {free}), and the region swaps when warm")
            }
            Self::WayBack => f.write_str("the app version names its client_sha again"),
            Self::BakedLongEnough { seconds } => {
                write!(f, "replaced {seconds} s ago (bake_seconds)")
            }
            Self::UpgradeTooLate {
                seconds,
                free,
                demand,
            } => write!(
                f,
                "free {free} of {demand} after {seconds} s (upgrade_seconds): the old image stays"
            ),
            Self::UpgradeNotNamed {
                seconds,
                client_sha,
            } => write!(
                f,
                "warm, but no app version named {client_sha} within {seconds} s \
                 (upgrade_seconds): the old image stays"
            ),
            Self::UpgradeDying { instance } => write!(
                f,
                "{instance} of this image did not come up or died, and none is healthy: the old \
                 image stays"
            ),
            Self::NoRoomForUpgrade { live, max } => write!(
                f,
                "no room for one instance of it beside {live} live of at most {max} \
                 (max_instances + upgrade_surge): the old image stays"
            ),
            Self::StillWarming {
                image,
                free,
                demand,
                starting,
            } => write!(
                f,
                "upgrade to {image}: free {free} of {demand}, starting {starting}"
            ),
            Self::AwaitsAppVersion { image, client_sha } => write!(
                f,
                "upgrade to {image}: warm, waits for the app version to name {client_sha}"
            ),
            Self::StillBaking { image, until } => {
                write!(f, "{image} is kept ready for a way back until {until}")
            }
            Self::UsersOnRetiredImage {
                image,
                users: there,
                seconds,
            } => write!(
                f,
                "{} still on {image}, retired {seconds} s ago (old_image_seconds)",
                users(*there)
            ),
            Self::ReplicasBelowMinimum {
                min,
                free,
                starting,
            } => write!(
                f,
                "available {free} and creating {starting} are below {min}"
            ),
            Self::ReplicasSuffice {
                min,
                free,
                starting,
            } => write!(f, "available {free} and creating {starting} meet {min}"),
            Self::ReplicasAtMaximum { missing, live, max } => write!(
                f,
                "{missing} less than should be available, with {live} replicas live of at most {max}"
            ),
            Self::ReplicaTerminated => f.write_str("it says that it is terminated"),
            Self::ReplicaInError { state } => {
                write!(f, "in error: EC2 neither builds nor runs it ({state})")
            }
            Self::ReplicaSurplus { min, free } => write!(
                f,
                "it has nothing to do, and {free} available exceed {min} by a whole replica"
            ),
            Self::ReplicaUnknownFor { seconds } => {
                write!(
                    f,
                    "no word from it for {seconds} s (replica_unknown_seconds)"
                )
            }
            Self::ReplicaGuard { unknown, most } => write!(
                f,
                "guard: {unknown} replicas give no word at once, more than {most}: none is \
                 replaced. Check the way to them, then invoke reconcile with \
                 {{\"regions\":[…],\"approve_mass_removal\":true}}"
            ),
            Self::ReplicaImage => f.write_str("replicas need no warming, and no way back"),
            Self::AddressOfDeleted => f.write_str("the replica that has it is deleted"),
            Self::AddressOfGone => f.write_str("EC2 deletes the replica that has it"),
            Self::AddressOfUnknown => f.write_str("the replica that has it gives no word"),
            Self::AddressFree => f.write_str("it is free"),
            Self::AddressMoveNotListed { seconds } => write!(
                f,
                "a pass {seconds} s ago recorded this, and EC2 does not list it yet"
            ),
            Self::AddressesWithoutReplica { free, unknown } => write!(
                f,
                "no healthy replica is without an address: {free} are free or will be, {unknown} \
                 are on replicas that give no word"
            ),
            Self::AddressElsewhere { ip, carrier } => write!(
                f,
                "{ip} has the pool's tag, and is on {carrier}, which is no replica: left alone"
            ),
            Self::AddressesOnOne { count } => {
                write!(f, "{count} addresses of the pool are on it: left alone")
            }
            Self::AddressPoolEmpty { tag } => {
                write!(f, "no Elastic IP has the tag {tag} (replica_address_tag)")
            }
            Self::AddressesUnknown { why } => write!(f, "no address is moved: {why}"),
            Self::UnknownReplicas { count } => write!(f, "{count} give no word now"),
            Self::Interrupted { occupied } => write!(
                f,
                "EC2 takes it within two minutes (interruption warning), {} there",
                users(*occupied)
            ),
            Self::RebalanceAdvised { occupied } => write!(
                f,
                "EC2 may take it soon (rebalance recommendation), {} there",
                users(*occupied)
            ),
            Self::NotReplacedYet { occupied } => write!(
                f,
                "EC2 may take it soon (rebalance recommendation): kept until it is replaced, not \
                 counted as free; {} there",
                users(*occupied)
            ),
            Self::OccupiedOnOldImage { occupied } => {
                write!(
                    f,
                    "kept: {} on an image that is not served any more",
                    users(*occupied)
                )
            }
            Self::DrainedAndStillThere { seconds } => {
                write!(f, "draining and empty, and still there after {seconds} s")
            }
            Self::NeverCameUp { seconds } => {
                write!(f, "not ACTIVE {seconds} s after its launch (boot_seconds)")
            }
            Self::Lost {
                silent_seconds,
                occupied,
            } => write!(
                f,
                "lost: no heartbeat for {silent_seconds} s (lost_seconds), {} there",
                users(*occupied)
            ),
            Self::Committed => f.write_str("TERMINATING is committed and EC2 still has it"),
            Self::DownAtEc2 {
                state,
                status,
                occupied,
            } => write!(
                f,
                "{state} at EC2 while its row is {status} with {}",
                users(*occupied)
            ),
            Self::OrphanOf {
                launch: Some(launch),
                age_seconds,
            } => write!(
                f,
                "no row, launch {launch} is closed, and it is {age_seconds} s old"
            ),
            Self::OrphanOf {
                launch: None,
                age_seconds,
            } => {
                write!(
                    f,
                    "no row, no launch in its tags, and it is {age_seconds} s old"
                )
            }
            Self::DrainingOccupied { occupied, seconds } => {
                write!(f, "draining for {seconds} s, kept: {}", users(*occupied))
            }
            Self::Silent {
                silent_seconds,
                occupied,
            } => write!(
                f,
                "no heartbeat for {silent_seconds} s: not counted as free; {} there",
                users(*occupied)
            ),
            Self::YoungOrphan { age_seconds } => write!(
                f,
                "no row and no open launch, but only {age_seconds} s old: left alone, listings lag"
            ),
            Self::Guard {
                gone,
                orphaned,
                lost,
                allowed,
            } => write!(
                f,
                "guard: {gone} gone, {orphaned} orphaned and {lost} unheard of at once, more than \
                 {allowed}: none is removed. Check EC2 and the database, then invoke reconcile \
                 with {{\"regions\":[…],\"approve_mass_removal\":true}}"
            ),
            Self::NotListed => f.write_str("a complete listing of EC2 does not name it"),
            Self::ListedAgain => f.write_str("EC2 lists it again"),
            Self::TerminatedAtEc2 => f.write_str("EC2 says terminated"),
            Self::MissingAndUnknown { seconds } => {
                write!(f, "missing for {seconds} s and unknown to EC2 by its id")
            }
            Self::MissingStill { seconds } => write!(f, "missing for {seconds} s"),
            Self::NotListedButKnown { seconds } => write!(
                f,
                "missing from listings for {seconds} s, but EC2 knows its id: were its tags removed?"
            ),
            Self::MissingButBeating { seconds } => write!(
                f,
                "missing from EC2 for {seconds} s, but its agent sends heartbeats: are the \
                 functions in the right AWS account?"
            ),
            Self::NotClaimed => f.write_str("allocated, and no connection came in claim_seconds"),
        }
    }
}

fn users(occupied: u32) -> String {
    match occupied {
        1 => "1 user".to_owned(),
        n => format!("{n} users"),
    }
}
