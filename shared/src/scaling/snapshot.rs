//! What a decision may depend on, and what several decisions derive from it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::plan::Plan;
use crate::ids::{ClientSha, InstanceId, LaunchId};
use crate::model::{
    AddressListing, AddressMoves, CapacityRefusal, Image, ImageState, Instance, InstanceStatus,
    Intent, Machine, ReplicaAnswer,
};
use crate::settings::RegionSettings;

/// All that a decision may depend on, from one observation under one lock.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub settings: RegionSettings,
    pub images: Vec<Image>,
    /// Postgres' rows, by id.
    pub instances: BTreeMap<InstanceId, Instance>,
    /// EC2's complete listing of our machines, by id.
    pub machines: BTreeMap<InstanceId, Machine>,
    /// Of the instances that were missing for long: EC2 knows none of them by id.
    pub unknown_to_ec2: BTreeSet<InstanceId>,
    pub open_intents: Vec<Intent>,
    pub refusals: Vec<CapacityRefusal>,
    pub waiting: u32,
    /// What running replicas said, by id.
    pub answers: BTreeMap<InstanceId, ReplicaAnswer>,
    /// Since when replicas have given no word, as earlier passes wrote it down.
    pub unknown_since: BTreeMap<InstanceId, Timestamp>,
    /// The account's Elastic IPs, where replicas carry some of them.
    pub addresses: AddressListing,
    /// What earlier passes wrote down before they moved one.
    pub address_moves: AddressMoves,
    /// What clients of this environment should run, by the app version.
    pub app_sha: Option<ClientSha>,
    /// Since when passes have looked at the region without a long gap.
    pub watched_since: Timestamp,
    /// From this age on an instance is replaced, before its agent's token ends.
    pub renew_after: SignedDuration,
    /// An operator has seen the guard's report and lets this pass remove them all.
    pub mass_removal_approved: bool,
}

impl Snapshot {
    pub fn image_state(&self, instance: &Instance) -> Option<ImageState> {
        self.images
            .iter()
            .find(|image| image.id == instance.image_id)
            .map(|image| image.state)
    }

    pub fn is_served(&self, instance: &Instance) -> bool {
        self.image_state(instance)
            .is_some_and(ImageState::is_served)
    }

    /// What bounds the region now. An upgrade may add to it as long as it is not over: until
    /// the last instance of an image that is not the current one has gone.
    pub fn max_instances(&self) -> u32 {
        let settings = &self.settings;
        let max = settings.max_instances;
        if settings.upgrades.surge == 0 {
            return max;
        }
        let upgrading = |state| matches!(state, ImageState::Warming | ImageState::Baking);
        let leaves = |state| matches!(state, ImageState::Retired | ImageState::Failed);
        let is_on = self.images.iter().any(|image| upgrading(image.state))
            || self
                .instances
                .values()
                .any(|instance| self.image_state(instance).is_some_and(leaves));
        if is_on {
            max.saturating_add(settings.upgrades.surge)
        } else {
            max
        }
    }

    /// Instances that will make room by themselves, also by the plan so far.
    pub fn leaving_count(&self, plan: &Plan) -> u32 {
        let leaving = plan.leaving();
        let going = self
            .instances
            .values()
            .filter(|instance| !instance.status.is_in_service() || leaving.contains(&instance.id));
        u32::try_from(going.count()).unwrap_or(u32::MAX)
    }

    /// Whether the instance's free slots may be counted on: not those that no user could be given,
    /// nor those of an instance that EC2 is about to take or whose token ends soon.
    pub fn counts_as_free(
        &self,
        instance: &Instance,
        down: &BTreeSet<&InstanceId>,
        now: Timestamp,
    ) -> bool {
        instance.status == InstanceStatus::Active
            && instance.notice.is_none()
            && !down.contains(&instance.id)
            && !self.needs_renewal(instance, now)
            && self.silence(instance, now) < self.settings.timeouts.heartbeat
    }

    /// Whether users are served from an image that has fewer free slots than it should.
    pub fn is_short_of_slots(&self, now: Timestamp) -> bool {
        let down = self.down();
        let counts = |instance: &Instance| self.counts_as_free(instance, &down, now);
        self.images
            .iter()
            .filter(|image| image.state.is_served())
            .any(|image| {
                let own = self
                    .instances
                    .values()
                    .filter(|instance| instance.image_id == image.id && counts(instance));
                let free: u32 = own.map(|instance| instance.slots.waiting).sum();
                free < self.settings.target_free.saturating_add(self.waiting)
            })
    }

    pub fn current_image(&self) -> Option<&Image> {
        self.images
            .iter()
            .find(|image| image.state == ImageState::Current)
    }

    /// What an open intent has asked for beyond the rows that its launch already has.
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

    /// Rows and machines side by side, by id: both lists are in that order, so that one walk
    /// finds what belongs together, however many there are.
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

    /// The machines on which nothing runs any more.
    pub fn down(&self) -> BTreeSet<&InstanceId> {
        self.machines
            .values()
            .filter(|m| m.state.is_down())
            .map(|machine| &machine.id)
            .collect()
    }

    /// Instances that EC2 has not terminated ∪ rows ∪ what open intents may still become.
    pub fn live(&self) -> u32 {
        let rows_and_strays = self
            .rows_with_machines()
            .filter(|pair| match pair {
                (Some(_), _) => true,
                (None, Some(machine)) => {
                    // Those of an open launch are counted with its intent.
                    let launch = machine.launch_id.as_ref();
                    !machine.state.is_going() && !launch.is_some_and(|id| self.has_open_intent(id))
                }
                (None, None) => false,
            })
            .count();
        let unrecorded_count: u32 = self
            .open_intents
            .iter()
            .map(|intent| self.unrecorded_count(intent))
            .sum();
        u32::try_from(rows_and_strays)
            .unwrap_or(u32::MAX)
            .saturating_add(unrecorded_count)
    }

    /// How long the host agent has been silent while somebody could have heard it.
    pub fn silence(&self, instance: &Instance, now: Timestamp) -> SignedDuration {
        now.duration_since(instance.heard_at().max(self.watched_since))
    }

    /// Its agent's token ends soon, and with it its heartbeats.
    pub fn needs_renewal(&self, instance: &Instance, now: Timestamp) -> bool {
        now.duration_since(instance.launched_at) >= self.renew_after
    }

    pub fn has_open_intent(&self, launch: &LaunchId) -> bool {
        self.open_intents
            .iter()
            .any(|intent| intent.launch_id == *launch)
    }
}
