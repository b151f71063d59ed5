//! Why something is done or not: as data, as a text for logs, and as a summary for the status page.

mod summary;
mod text;

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use crate::ids::{ClientSha, ImageId, InstanceId, LaunchId};
use crate::model::{ImageState, InstanceStatus, MachineState};

/// A variant's name in snake_case is the code that decisions are stored with: it must not change.
/// `free`, `starting` and `target` are slots, `live` and `max` instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    // Launching
    /// Free and starting slots of the current image are fewer than target and waiting users need.
    BelowTarget {
        target: u32,
        waiting: u32,
        free: u32,
        starting: u32,
    },
    /// The same of the buffer of an image that warms or bakes.
    ImageBelowTarget {
        state: ImageState,
        target: u32,
        free: u32,
        starting: u32,
    },
    /// An earlier pass recorded the launch and may not have finished it.
    IntentOpen {
        unrecorded_count: u32,
    },
    /// EC2 no longer knows the client token, so the launch must not be repeated.
    IntentTooOld {
        hours: i64,
    },
    // Not launching
    /// `max_instances` leaves no room for the missing slots.
    AtMaximum {
        missing_slots: u32,
        live: u32,
        max: u32,
    },
    /// `scale_up_step` bounds what one pass launches.
    StepBound {
        wanted: u32,
        step: u32,
    },
    NoImage,
    NoLaunchChoice,
    /// EC2 refused every launch choice. `until` is when the first refusal expires.
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
    /// `max_instances` was lowered.
    OverMaximum {
        live: u32,
        max: u32,
    },
    ImageNotServed {
        image: ImageId,
    },
    /// A missing row does not mean that the image is retired.
    ImageUnknown {
        image: ImageId,
    },
    /// The host agent's token expires soon, `AGENT_TOKEN_DAYS` after the launch.
    TokenEnds {
        hours: i64,
        occupied: u32,
    },
    /// EC2 sent a spot interruption warning.
    Interrupted {
        occupied: u32,
    },
    /// EC2 sent a rebalance recommendation.
    RebalanceAdvised {
        occupied: u32,
    },
    /// The region is at its maximum, and a more important image needs the room.
    MakesRoom {
        state: ImageState,
    },
    // Moving an image
    FirstImage,
    /// `named`: the app version names the image; otherwise `swap_when_warm` is set.
    Warm {
        free: u32,
        named: bool,
    },
    /// Rolls the upgrade back.
    WayBack,
    BakedLongEnough {
        seconds: i64,
    },
    /// The image was not warm by its deadline, `upgrade_seconds`.
    UpgradeTooLate {
        seconds: i64,
        free: u32,
        demand: u32,
    },
    /// The image was warm, but its deadline passed before an app version named it.
    UpgradeNotNamed {
        seconds: i64,
        client_sha: ClientSha,
    },
    /// Its instances fail to boot or die.
    UpgradeDying {
        instance: InstanceId,
    },
    NoRoomForUpgrade {
        live: u32,
        max: u32,
    },
    // Not moving an image
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
    /// Kept for a rollback.
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
    /// Counted in capacity, as `min_available` is.
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
    /// The replica itself reports it.
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
    /// So many unknown replicas look like a broken network: none is replaced.
    ReplicaGuard {
        unknown: usize,
        most: usize,
    },
    /// How many replicas have an unknown status.
    UnknownReplicas {
        count: usize,
    },
    /// Replicas of a new image are not warmed, and the image before is not kept.
    ReplicaImage,
    // Moving an external address
    AddressOfDeleted,
    AddressOfGone,
    AddressOfUnknown,
    AddressFree,
    /// EC2 listings lag: the move is repeated.
    AddressMoveNotListed {
        seconds: i64,
    },
    // Not moving an address
    AddressesWithoutReplica {
        free: u32,
        unknown: u32,
    },
    /// An address of the pool is attached to something else.
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
    /// EC2 did not list the addresses.
    AddressesUnknown {
        why: String,
    },
    // Not draining
    /// Drained only when the buffer is full without it.
    NotReplacedYet {
        occupied: u32,
    },
    OccupiedOnOldImage {
        occupied: u32,
    },
    // Terminating
    /// Its host agent should have shut it down.
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
    /// A pass stopped between the commit and the call, or EC2 did not act on the call.
    Committed,
    DownAtEc2 {
        state: MachineState,
        status: InstanceStatus,
        occupied: u32,
    },
    /// `launch` is the launch that its tags name.
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
    /// So many at once look like a wrong view of EC2 or of the database: none is removed.
    Guard {
        gone: u32,
        orphaned: u32,
        lost: u32,
        allowed: u32,
    },
    // Drift
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
    /// The variant's name, without its fields. Alerts with the same name are about the same thing.
    pub fn name(&self) -> String {
        let debug = format!("{self:?}");
        debug
            .split([' ', '{'])
            .next()
            .unwrap_or_default()
            .to_owned()
    }
}
