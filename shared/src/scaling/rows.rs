//! A snapshot's rows, each beside its machine and its image.
//!
//! Decisions read all rows several times. They look nothing up for it: both maps of the snapshot
//! are in the order of ids, so that one walk pairs them. In a large region the memory bounds the
//! speed, so what several decisions need of a row is derived once and kept close together, and most
//! of them read only the rows that are not ordinary. A row also knows that the plan ends its
//! instance.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::snapshot::Snapshot;
use super::{replacing, suspects};
use crate::ids::{ImageId, InstanceId};
use crate::model::{Image, ImageState, Instance, InstanceStatus, Machine, SlotCounts};

pub(super) struct Rows<'s>(Vec<Entry<'s>>);

pub(super) enum Entry<'s> {
    Row(Row<'s>),
    /// A machine without a row.
    Stray(&'s Machine),
}

/// An instance's row, and what the rest of the snapshot says of the instance.
pub(super) struct Row<'s> {
    pub(super) instance: &'s Instance,
    pub(super) machine: Option<&'s Machine>,
    pub(super) slots: SlotCounts,
    /// None if its image has no row.
    image: Option<&'s Image>,
    /// Nothing runs on its machine any more.
    pub(super) is_down: bool,
    pub(super) is_lost: bool,
    /// Its `WAITING` slots count as free. They do not if no user can be assigned to them, if EC2 has
    /// announced to take the instance, or if it is old.
    pub(super) is_free: bool,
    /// It has reached its greatest age, and its turn to be replaced has come.
    pub(super) is_old: bool,
    is_ordinary: bool,
    is_ended: Cell<bool>,
}

impl<'s> Rows<'s> {
    pub(super) fn of(snapshot: &'s Snapshot, now: Timestamp) -> Self {
        let by_id = |image: &'s Image| (&image.id, image);
        let images: BTreeMap<_, _> = snapshot.images.iter().map(by_id).collect();
        let heartbeat = snapshot.settings.timeouts.heartbeat;
        let old: BTreeSet<&InstanceId> = replacing::old_instances(snapshot, &images, now);
        let row = |instance: &'s Instance, machine: Option<&'s Machine>| {
            let is_down = machine.is_some_and(|machine| machine.state.is_down());
            let is_lost = snapshot.is_lost(instance, now);
            let is_old = old.contains(&instance.id);
            let is_free = instance.status == InstanceStatus::Active
                && instance.notice.is_none()
                && !is_old
                && !is_down
                && snapshot.silence(instance, now) < heartbeat;
            Row {
                instance,
                machine,
                slots: instance.slots,
                image: images.get(&instance.image_id).copied(),
                is_down,
                is_lost,
                is_free,
                is_old,
                is_ordinary: is_free
                    && !is_lost
                    && machine.is_some()
                    && instance.active_at.is_some()
                    && instance.missing_since.is_none()
                    && instance.leave_reason.is_none()
                    && instance.ends.due == 0
                    && instance.ends.overdue == 0
                    && !suspects::is_suspect(instance),
                is_ended: Cell::new(false),
            }
        };
        let entries = snapshot.rows_with_machines().filter_map(|pair| match pair {
            (Some(instance), machine) => Some(Entry::Row(row(instance, machine))),
            (None, machine) => machine.map(Entry::Stray),
        });
        let mut all = Vec::with_capacity(snapshot.instances.len().max(snapshot.machines.len()));
        all.extend(entries);
        Self(all)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Row<'s>> {
        self.0.iter().filter_map(|entry| match entry {
            Entry::Row(row) => Some(row),
            Entry::Stray(_) => None,
        })
    }

    /// All but the ordinary rows: those of instances that are `ACTIVE` and listed as running, whose
    /// agents send heartbeats and do not want to leave, for which EC2 has announced nothing, which are
    /// not old, have no session to end, and do not fail their users. Only the region's buffers can be a reason to end those.
    pub(super) fn unusual(&self) -> impl Iterator<Item = &Row<'s>> {
        self.iter().filter(|row| !row.is_ordinary)
    }

    /// The same, and the machines without a row, by id.
    pub(super) fn unusual_and_strays(&self) -> impl Iterator<Item = &Entry<'s>> {
        self.0.iter().filter(|entry| match entry {
            Entry::Row(row) => !row.is_ordinary,
            Entry::Stray(_) => true,
        })
    }

    /// The rows of an image of the region.
    pub(super) fn of_image(&self, image: &ImageId) -> impl Iterator<Item = &Row<'s>> {
        self.iter().filter(move |row| row.image_id() == Some(image))
    }

    pub(super) fn strays(&self) -> impl Iterator<Item = &'s Machine> {
        self.0.iter().filter_map(|entry| match entry {
            Entry::Row(_) => None,
            Entry::Stray(machine) => Some(*machine),
        })
    }

    /// How many instances leave, by their status or by the plan so far, and so will make room.
    pub(super) fn leaving_count(&self) -> u32 {
        let leaves = |row: &&Row<'_>| {
            row.is_ended() || (!row.is_ordinary && !row.instance.status.is_in_service())
        };
        u32::try_from(self.iter().filter(leaves).count()).unwrap_or(u32::MAX)
    }
}

impl<'s> Row<'s> {
    /// None if the image has no row.
    pub(super) fn image_id(&self) -> Option<&'s ImageId> {
        self.image.map(|image| &image.id)
    }

    /// It may still register: nothing runs on it yet, and EC2 has announced nothing.
    pub(super) fn is_starting(&self) -> bool {
        self.instance.status == InstanceStatus::PreConnection
            && !self.is_down
            && self.instance.notice.is_none()
    }

    pub(super) fn image_state(&self) -> Option<ImageState> {
        self.image.map(|image| image.state)
    }

    pub(super) fn is_served(&self) -> bool {
        self.image_state().is_some_and(ImageState::is_served)
    }

    /// Whether the plan drains, terminates or removes the instance.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended.get()
    }

    pub(super) fn set_ended(&self) {
        self.is_ended.set(true);
    }

    /// The instance runs, and no decision before has ended it.
    pub(super) fn stays(&self) -> bool {
        !self.is_ended() && !self.is_down
    }
}
