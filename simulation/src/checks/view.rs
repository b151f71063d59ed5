//! A region as a pass observed it, with which its decisions are compared.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use shared::ids::{ClientSha, ImageId, InstanceId, RegionName};
use shared::model::{Image, ImageState, InstanceStatus};
use shared::scaling::target;
use shared::settings::{ADAPTIVE, Upgrades};
use testing::{ENVIRONMENT, Tables};

use super::context::StepContext;
use super::images;
use super::launches::live_in_stores;

/// The longest lag of listings in the simulation.
const LONGEST_LAG: SignedDuration = SignedDuration::from_mins(1);

/// A region as a pass observed it.
#[derive(Debug)]
pub(super) struct View {
    pub images: BTreeMap<ImageId, Image>,
    pub rows: BTreeMap<InstanceId, Row>,
    target: u32,
    /// The algorithm sizes its target, which is `target` or more: how much more, a check does not know.
    is_sized: bool,
    waiting: u32,
    pub live: u32,
    pub max: u32,
    pub upgrades: Upgrades,
    /// The commit that the app version names.
    pub named: Option<ClientSha>,
    pub at: Timestamp,
}

#[derive(Debug)]
pub(super) struct Row {
    pub image: ImageId,
    /// The number of free slots to which users may be assigned.
    pub free: u32,
    pub noticed: bool,
}

impl View {
    pub(super) fn of(context: &StepContext<'_>, tables: &Tables, region: &RegionName) -> Self {
        let now = context.world.now();
        let settings = &tables.regions[region].settings;
        let oldest_valid = now - settings.timeouts.heartbeat;
        let mut rows: BTreeMap<_, _> = tables
            .instances
            .iter()
            .filter(|(_, row)| row.region == *region)
            .map(|(id, row)| {
                let seen = Row {
                    image: row.image_id.clone(),
                    free: 0,
                    noticed: row.notice.is_some(),
                };
                (id.clone(), seen)
            })
            .collect();
        let is_open = |id: &InstanceId| {
            let heard = tables.heartbeats.get(id);
            let active = tables
                .instances
                .get(id)
                .is_some_and(|row| row.status == InstanceStatus::Active && row.notice.is_none());
            // A heartbeat counts as the pass counts it: no older than the database's last outage.
            active
                && heard.is_some_and(|beat| {
                    beat.beat_at > oldest_valid || is_observed_since(tables, region, oldest_valid)
                })
        };
        for slot in tables.slots.values() {
            if slot.is_free(now)
                && let Some(row) = rows.get_mut(&slot.instance_id)
                && is_open(&slot.instance_id)
            {
                row.free += 1;
            }
        }
        let images = tables.images.iter().filter(|((of, _), _)| of == region);
        let enabled = settings.enabled;
        Self {
            images: images
                .map(|((_, id), image)| (id.clone(), image.clone()))
                .collect(),
            rows,
            target: if enabled {
                target(settings, now).slots
            } else {
                0
            },
            is_sized: settings.algorithm == ADAPTIVE,
            waiting: match enabled {
                true => tables.demand(region, now),
                false => 0,
            },
            live: live(context, tables, region),
            max: images::max_live(tables, region),
            upgrades: settings.upgrades,
            named: tables
                .app_versions
                .get(ENVIRONMENT)
                .map(|app| app.client_sha.clone()),
            at: now,
        }
    }

    /// The demand for free slots. Users in line who are demand are clients of the current image.
    pub(super) fn demand(&self, state: ImageState) -> u32 {
        match state {
            ImageState::Current => self.target.saturating_add(self.waiting),
            _ => self.target,
        }
    }

    /// The free slots of an image, without those of the `drained` instances.
    pub(super) fn free_without(&self, image: &ImageId, drained: &[&InstanceId]) -> u32 {
        let of_image =
            |(id, row): &(&InstanceId, &Row)| row.image == *image && !drained.contains(id);
        let rows = self.rows.iter().filter(of_image);
        rows.map(|(_, row)| row.free).sum()
    }

    /// The states of the served images with too few free slots on running machines, as far as is known.
    pub(super) fn short_of(
        &self,
        context: &StepContext<'_>,
        region: &RegionName,
    ) -> BTreeSet<ImageState> {
        let is_short = |image: &Image| {
            self.is_sized
                || self.free_and_running(context, region, &image.id) < self.demand(image.state)
        };
        self.images
            .values()
            .filter(|image| image.state.is_served() && is_short(image))
            .map(|image| image.state)
            .collect()
    }

    /// The free slots of an image, without those of machines that have ended since.
    pub(super) fn free_and_running(
        &self,
        context: &StepContext<'_>,
        region: &RegionName,
        image: &ImageId,
    ) -> u32 {
        let host = context.world.host(region);
        let state = host.state();
        let now = context.world.now();
        let runs = |id: &InstanceId| {
            let machine = state.ec2.machines.get(id);
            machine.is_some_and(|machine| machine.is_live(now))
        };
        let rows = self.rows.iter();
        let own = rows.filter(|(id, row)| row.image == *image && runs(id));
        own.map(|(_, row)| row.free).sum()
    }
}

/// Whether passes observe the region only since then: before that, no heartbeat could be missed.
fn is_observed_since(tables: &Tables, region: &RegionName, oldest_valid: Timestamp) -> bool {
    let fence = tables.fences.get(region);
    fence
        .and_then(|fence| fence.watched_since)
        .is_some_and(|since| since > oldest_valid)
}

/// Rows, machines without a row, and the machines that open intents may still become.
pub(super) fn live(context: &StepContext<'_>, tables: &Tables, region: &RegionName) -> u32 {
    let host = context.world.host(region);
    let state = host.state();
    // A listing may show terminated machines as they were.
    let (now, listed) = (context.world.now(), context.world.now() - LONGEST_LAG);
    let strays = state.ec2.machines.iter().filter(|(id, machine)| {
        (machine.is_live(now) || machine.is_live(listed)) && !tables.instances.contains_key(*id)
    });
    let strays = u32::try_from(strays.count()).unwrap_or(u32::MAX);
    live_in_stores(context, tables, region).saturating_add(strays)
}
