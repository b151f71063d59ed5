//! Why something is done or not: as data, as a text for logs, and as a summary for the status page.

mod summary;
mod text;

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use crate::ids::{ClientSha, ImageId, InstanceId, LaunchId, RegionName};
use crate::model::{CapacityPool, ImageState, InstanceStatus, MachineState, StateReason};
use crate::settings::ScheduleKind;

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
    /// The budget of the month is spent, and `limit_to_budget` is set.
    BudgetHoldsLaunch {
        missing_slots: u32,
        spent: u64,
        budget: u32,
        currency: String,
        until: Timestamp,
    },
    /// This share of the month's budget is spent, or more.
    BudgetUsed {
        percent: u32,
        spent: u64,
        budget: u32,
        currency: String,
    },
    /// `monthly_budget` is set, and the region has no prices.
    BudgetWithoutPrices {
        budget: u32,
    },
    /// Machine time of this month has no price: the budget counts without it.
    TimeWithoutPrice {
        hours: u64,
    },
    NoImage,
    NoLaunchChoice,
    /// A column of `regions` that only launches need cannot work. `choices_left`: launches go on with
    /// other launch choices.
    SettingInvalid {
        row: RegionName,
        column: String,
        problem: String,
        choices_left: bool,
    },
    /// Every launch choice rests. `until` is when the first one may be used again.
    NoCapacity {
        until: Timestamp,
        why: String,
    },
    /// Instances of a pool ended before they had served. It rests: for one image, if `image` is set.
    LaunchesDie {
        pool: CapacityPool,
        #[serde(skip_serializing_if = "Option::is_none")]
        image: Option<ImageId>,
        instances: u32,
        /// One of them.
        first: InstanceId,
        why: String,
        until: Timestamp,
    },
    /// An instance of the pool has lived.
    PoolHasLived {
        pool: CapacityPool,
    },
    /// `launches_per_hour` is used up until `until`.
    LaunchLimit {
        launched: u32,
        limit: u32,
        until: Timestamp,
    },
    BufferFull {
        target: u32,
        free: u32,
        starting: u32,
    },
    /// `adaptive`: in `seconds`, which a new slot takes, so many users arrive and sessions end. The target
    /// is the difference, and the spread times the safety factor. At most one user of `goal` may wait.
    TargetSized {
        target: u32,
        seconds: u32,
        arrivals_tenths: u32,
        ends_tenths: u32,
        spread_tenths: u32,
        safety_tenths: u32,
        goal: u32,
    },
    /// `adaptive` knows of no users or no boots of the region: the target is its floor.
    TargetWithoutHistory {
        target: u32,
    },
    Paused,
    /// A schedule says how many slots are to be free. `from` may be to come: launches take time.
    TargetScheduled {
        target: u32,
        schedule: i64,
        kind: ScheduleKind,
        from: Timestamp,
        until: Timestamp,
        set_by: String,
        note: String,
    },
    /// A row of `schedules` cannot work: it does not count.
    ScheduleInvalid {
        schedule: i64,
        problem: String,
    },
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
    /// EC2 sent a spot interruption warning.
    Interrupted {
        occupied: u32,
    },
    /// EC2 sent a rebalance recommendation.
    RebalanceAdvised {
        occupied: u32,
    },
    /// `max_age_seconds`.
    MaxAgeReached {
        seconds: i64,
        occupied: u32,
    },
    /// The region is at its maximum, and a more important image needs the room.
    MakesRoom {
        state: ImageState,
    },
    /// The buffer is short again: a drain for surplus is taken back.
    NeededAgain {
        missing: u32,
    },
    // Tokens of host agents
    /// Half of its time is over.
    TokenAges {
        hours_left: i64,
    },
    /// It is not signed with the key that is, or will be, Hasura's.
    KeyRotates,
    /// The agent fetches its next token with a heartbeat, but has not used it.
    TokenNotTaken {
        hours: i64,
    },
    /// How many instances are left for the next passes.
    RenewalsLeft {
        instances: usize,
    },
    /// An operator took the rights of the instance's agent away.
    AgentRevoked {
        occupied: u32,
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
    // Not serving the app version
    /// None of the region's images was built for the client that the app version names.
    AppVersionUnknown {
        client_sha: ClientSha,
    },
    /// Only images that are not served any more were built for it.
    AppVersionNotServed {
        image: ImageId,
        state: ImageState,
        client_sha: ClientSha,
    },
    /// Its image is not served yet.
    AppVersionWarms {
        image: ImageId,
        client_sha: ClientSha,
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
    /// The same of an instance that has reached its greatest age.
    OldNotReplacedYet {
        occupied: u32,
    },
    OccupiedOnOldImage {
        occupied: u32,
    },
    // Leaving by themselves
    /// The host agent took the instance out of service.
    LeftByAgent {
        says: String,
        occupied: u32,
    },
    /// The host agent wants to, and too many others of the region left within the hour.
    LeaveHeld {
        says: String,
    },
    /// How many instances stay for that reason, and what the first of them says.
    LeavesHeld {
        instances: u32,
        says: String,
    },
    // Failing users
    /// So many users in a row failed on it. `connected`: their sessions ended within `seconds`;
    /// otherwise nobody of them connected.
    SessionsEndQuickly {
        users: u32,
        connected: bool,
        seconds: u32,
        occupied: u32,
    },
    /// The same, but it is the last one that serves its image, or too many others drain for it.
    SuspectKept {
        users: u32,
        draining: u32,
    },
    /// So many instances fail their users, and no more than `others` are known to do better.
    SessionsEndQuicklyEverywhere {
        instances: u32,
        others: u32,
        first: InstanceId,
        seconds: u32,
    },
    // Terminating
    /// Its host agent should have shut it down.
    DrainedAndStillThere {
        seconds: i64,
    },
    /// `drain_deadline_seconds` are over, and its agent has not ended its sessions.
    DrainDeadline {
        seconds: i64,
        occupied: u32,
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
        #[serde(skip_serializing_if = "Option::is_none")]
        state_reason: Option<StateReason>,
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
    // Addresses of instances
    /// Users of the region get this address (`address_source`).
    AddressOfEc2 {
        ip: IpAddr,
    },
    /// EC2 gives these instances no address of the kind that users of the region get.
    NoPublicAddress {
        instances: u32,
        /// One of them, and its subnet.
        first: InstanceId,
        #[serde(skip_serializing_if = "Option::is_none")]
        subnet: Option<String>,
    },
    // Slots
    NotClaimed,
    /// Limits of sessions come, or deadlines of drains.
    LimitComes,
    /// Agents did not end sessions by the time that they were told.
    SessionsNotEnded {
        sessions: u32,
        instances: u32,
        first: InstanceId,
    },
}

impl Reason {
    /// The code that decisions are stored with, and of a setting also its column. Alerts with the same name are
    /// about the same thing.
    pub fn name(&self) -> String {
        if let Self::SettingInvalid { column, .. } = self {
            return format!("setting_invalid {column}");
        }
        let code = serde_json::to_value(self).unwrap_or_default();
        code["reason"].as_str().unwrap_or_default().to_owned()
    }
}
