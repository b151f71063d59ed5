//! The input of a decision, and what several decisions derive from it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::rows::Rows;
use super::tokens::TokenPolicy;
use crate::ids::{ClientSha, InstanceId, LaunchId};
use crate::model::{
    AddressListing, AddressMoves, DrainCause, Flow, Image, ImageState, Instance, InstanceStatus,
    Intent, LaunchTally, Line, Machine, Refusal, ReplicaAnswer, Spending,
};
use crate::settings::RegionSettings;

/// Everything that a decision may depend on, from one observation under one lock.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub settings: RegionSettings,
    pub images: Vec<Image>,
    /// The database's rows, by id.
    pub instances: BTreeMap<InstanceId, Instance>,
    /// EC2's complete listing of our machines, by id.
    pub machines: BTreeMap<InstanceId, Machine>,
    /// Instances that have been missing for `missing_seconds` and that EC2 does not know by their
    /// id, or only as terminated.
    pub unknown_to_ec2: BTreeSet<InstanceId>,
    pub open_intents: Vec<Intent>,
    /// Pools that rest or rested lately.
    pub refusals: Vec<Refusal>,
    /// What was launched in the last hour.
    pub launches: LaunchTally,
    /// Users in line who are demand of this region, each of them once: users of the current image's
    /// hash for whom this is the first of their regions that can launch. Nothing is launched for users
    /// of other hashes beyond the target: they wait for the ends of sessions.
    pub waiting: u32,
    /// All users in line, by client hash, wherever they are demand.
    pub lines: Vec<Line>,
    /// What the algorithm `adaptive` sizes the target by; none with the others.
    pub flow: Option<Flow>,
    /// What the region's instances have cost this month; none without prices.
    pub spending: Option<Spending>,
    /// The status that each running replica reported, by id.
    pub answers: BTreeMap<InstanceId, ReplicaAnswer>,
    /// Since when replicas have not reported their status, as earlier passes recorded it.
    pub unknown_since: BTreeMap<InstanceId, Timestamp>,
    /// The account's Elastic IPs, where replicas carry some of them.
    pub addresses: AddressListing,
    /// What earlier passes recorded before they moved one of them.
    pub address_moves: AddressMoves,
    /// The commit that this environment's clients should run, from the app version.
    pub app_sha: Option<ClientSha>,
    /// Since when passes have observed the region without a long gap. Silence before it does not
    /// count: nobody could have heard a heartbeat.
    pub watched_since: Timestamp,
    /// How agents' tokens are signed; none in a stack of replicas only.
    pub tokens: Option<TokenPolicy>,
    /// An operator has read the guard's alert and approved the removal of all that it lists.
    pub mass_removal_approved: bool,
}

impl Snapshot {
    pub fn image_state(&self, instance: &Instance) -> Option<ImageState> {
        self.images
            .iter()
            .find(|image| image.id == instance.image_id)
            .map(|image| image.state)
    }

    /// The region's maximum now. An upgrade adds its surge until it is over: until the last
    /// instance of a retired or failed image is gone.
    pub fn max_instances(&self) -> u32 {
        let settings = &self.settings;
        let max = settings.max_instances;
        if settings.upgrades.surge == 0 {
            return max;
        }
        let upgrading = |state| matches!(state, ImageState::Warming | ImageState::Baking);
        let over = |state| matches!(state, ImageState::Retired | ImageState::Failed);
        let is_upgrading = self.images.iter().any(|image| upgrading(image.state))
            || self
                .instances
                .values()
                .any(|instance| self.image_state(instance).is_some_and(over));
        if is_upgrading {
            max.saturating_add(settings.upgrades.surge)
        } else {
            max
        }
    }

    /// Whether an image that serves users has fewer free slots than its target. This counts as the
    /// buffer does: otherwise a plan could break the invariant that protects a warming image.
    pub fn is_short_of_slots(&self, now: Timestamp) -> bool {
        let rows = Rows::of(self, now);
        let target = self.target(now).target.slots;
        self.images
            .iter()
            .filter(|image| image.state.is_served())
            .any(|image| {
                let free = rows.of_image(&image.id).filter(|row| row.is_free);
                let free: u32 = free.map(|row| row.instance.slots.waiting).sum();
                free < target.saturating_add(self.waiting)
            })
    }

    /// Whether the drain of the instance may be taken back: it was drained for surplus, and its
    /// agent does not know yet. One that was told may be shutting down already.
    pub fn is_reopenable(&self, instance: &Instance, now: Timestamp) -> bool {
        let has_not_heard = instance
            .draining_since
            .is_some_and(|since| instance.beat_at.is_some_and(|beat| beat < since));
        instance.status == InstanceStatus::Draining
            && instance.drain_cause == Some(DrainCause::Surplus)
            && instance.notice.is_none()
            && has_not_heard
            && self.silence(instance, now) < self.settings.timeouts.heartbeat
    }

    pub fn current_image(&self) -> Option<&Image> {
        self.images
            .iter()
            .find(|image| image.state == ImageState::Current)
    }

    /// How many instances an open intent has requested beyond those that already have a row.
    pub fn unrecorded_count(&self, intent: &Intent) -> u32 {
        let rows = self
            .instances
            .values()
            .filter(|i| i.launch_id == intent.launch_id)
            .count();
        intent
            .request
            .count
            .saturating_sub(u32::try_from(rows).unwrap_or(u32::MAX))
    }

    /// Rows and machines side by side, by id. Both maps are in that order, so that one walk pairs
    /// them in linear time.
    pub fn rows_with_machines(
        &self,
    ) -> impl Iterator<Item = (Option<&Instance>, Option<&Machine>)> {
        let mut rows = self.instances.values().peekable();
        let mut machines = self.machines.values().peekable();
        std::iter::from_fn(move || {
            let order = match (rows.peek(), machines.peek()) {
                (Some(row), Some(machine)) => row.id.cmp(&machine.id),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            Some(match order {
                Ordering::Less => (rows.next(), None),
                Ordering::Equal => (rows.next(), machines.next()),
                Ordering::Greater => (None, machines.next()),
            })
        })
    }

    /// What the maximum bounds: rows, machines that EC2 has not terminated, and what open intents
    /// may still become.
    pub fn live(&self) -> u32 {
        let strays = self.rows_with_machines().filter_map(|pair| match pair {
            (None, stray) => stray,
            (Some(_), _) => None,
        });
        self.live_with(strays)
    }

    /// The same, with the machines that have no row.
    pub(super) fn live_with<'s>(&self, strays: impl Iterator<Item = &'s Machine>) -> u32 {
        let counts = |stray: &&Machine| {
            // The machines of an open launch are counted with its intent.
            !stray.state.is_going() && !self.is_of_open_launch(stray)
        };
        let rows_and_strays = self.instances.len() + strays.filter(counts).count();
        let unrecorded_count: u32 = self
            .open_intents
            .iter()
            .map(|intent| self.unrecorded_count(intent))
            .sum();
        u32::try_from(rows_and_strays)
            .unwrap_or(u32::MAX)
            .saturating_add(unrecorded_count)
    }

    /// How long the host agent has been silent, of the time in which passes observed the region.
    pub fn silence(&self, instance: &Instance, now: Timestamp) -> SignedDuration {
        now.duration_since(instance.heard_at().max(self.watched_since))
    }

    /// The host agent has been silent for `lost_seconds`: the instance is given up, even with users
    /// on it.
    pub fn is_lost(&self, instance: &Instance, now: Timestamp) -> bool {
        matches!(instance.status, InstanceStatus::Active | InstanceStatus::Draining)
            // An instance that was drained before it registered has no agent to lose.
            && instance.active_at.is_some()
            && self.silence(instance, now) >= self.settings.timeouts.lost
    }

    /// The instance was not `ACTIVE` within `boot_seconds`. An agent could not register while
    /// passes could not observe the region: that time does not count.
    pub fn never_came_up(&self, instance: &Instance, now: Timestamp) -> bool {
        instance.status == InstanceStatus::PreConnection
            && now.duration_since(instance.launched_at.max(self.watched_since))
                >= self.settings.timeouts.boot
    }

    /// When the drain of the instance ends its sessions; none if it does not.
    fn drain_deadline(&self, instance: &Instance) -> Option<Timestamp> {
        let deadline = self.settings.endings.drain_deadline?;
        let drains = instance.status == InstanceStatus::Draining
            && instance.drain_cause.is_some_and(DrainCause::has_deadline);
        Some(instance.draining_since.filter(|_| drains)? + deadline)
    }

    /// The deadline of the instance's drain is over, and its agent was told of the end of every session
    /// and has not ended it: as long ago as its heartbeats may be old.
    pub fn is_past_deadline(&self, instance: &Instance, now: Timestamp) -> bool {
        let deadline = self.drain_deadline(instance);
        let is_past = deadline.is_some_and(|at| at + self.settings.timeouts.heartbeat <= now);
        let ends = instance.ends;
        is_past && instance.slots.occupied <= ends.overdue.saturating_add(ends.dying)
    }

    /// The instance has reached the region's `max_age_seconds`.
    pub fn is_of_age(&self, instance: &Instance, now: Timestamp) -> bool {
        let max_age = self.settings.endings.max_age;
        max_age.is_some_and(|max_age| now.duration_since(instance.launched_at) >= max_age)
    }

    pub(super) fn is_of_open_launch(&self, machine: &Machine) -> bool {
        let launch = machine.launch_id.as_ref();
        launch.is_some_and(|id| self.has_open_intent(id))
    }

    pub fn has_open_intent(&self, launch: &LaunchId) -> bool {
        self.open_intents
            .iter()
            .any(|intent| intent.launch_id == *launch)
    }
}
