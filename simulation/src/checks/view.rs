//! A region as a pass was shown it: what it decides is judged by that.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use shared::ids::{ClientSha, ImageId, InstanceId, RegionName};
use shared::model::{Image, ImageState, InstanceStatus};
use shared::settings::Upgrades;
use testing::{ENVIRONMENT, SlotStatus, Tables};

use super::Scene;
use super::images;
use super::launches::live_in_stores;

/// A refused user counts as waiting for so long.
const WAITING: SignedDuration = SignedDuration::from_mins(1);

/// As long as listings ever lag here.
const LONGEST_LAG: SignedDuration = SignedDuration::from_mins(1);

/// A region as a pass was shown it.
#[derive(Debug)]
pub(super) struct View {
    pub images: BTreeMap<ImageId, Image>,
    pub rows: BTreeMap<InstanceId, Row>,
    target: u32,
    waiting: u32,
    pub live: u32,
    pub max: u32,
    pub upgrades: Upgrades,
    /// What the app version names.
    pub named: Option<ClientSha>,
    pub at: Timestamp,
}

#[derive(Debug)]
pub(super) struct Row {
    pub image: ImageId,
    /// Its free slots, if users may be put there.
    pub free: u32,
    pub noticed: bool,
}

impl View {
    pub(super) fn of(scene: &Scene<'_>, tables: &Tables, region: &RegionName) -> Self {
        let now = scene.world.now();
        let settings = &tables.regions[region].settings;
        let heard_after = now - settings.timeouts.heartbeat;
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
            // As heard as the pass takes it to be: since its database was down, too.
            active
                && heard.is_some_and(|beat| {
                    beat.beat_at > heard_after || is_new(tables, region, heard_after)
                })
        };
        for slot in tables.slots.values() {
            if slot.status == SlotStatus::Waiting
                && let Some(row) = rows.get_mut(&slot.instance_id)
                && is_open(&slot.instance_id)
            {
                row.free += 1;
            }
        }
        let waiting: BTreeSet<_> = tables
            .waiting_users
            .iter()
            .filter(|(_, waits)| waits.region == *region && waits.last_at >= now - WAITING)
            .map(|((user, _), _)| user)
            .collect();
        let images = tables.images.iter().filter(|((of, _), _)| of == region);
        let enabled = settings.enabled;
        Self {
            images: images
                .map(|((_, id), image)| (id.clone(), image.clone()))
                .collect(),
            rows,
            target: if enabled { settings.target_free } else { 0 },
            waiting: match enabled {
                true => u32::try_from(waiting.len()).unwrap_or(u32::MAX),
                false => 0,
            },
            live: live(scene, tables, region),
            max: images::most(tables, region),
            upgrades: settings.upgrades,
            named: tables
                .app_versions
                .get(ENVIRONMENT)
                .map(|app| app.client_sha.clone()),
            at: now,
        }
    }

    /// Who waits is taken for a client of the current image.
    pub(super) fn demand(&self, state: ImageState) -> u32 {
        match state {
            ImageState::Current => self.target.saturating_add(self.waiting),
            _ => self.target,
        }
    }

    pub(super) fn free_without(&self, image: &ImageId, drained: &[&InstanceId]) -> u32 {
        let of_image =
            |(id, row): &(&InstanceId, &Row)| row.image == *image && !drained.contains(id);
        let rows = self.rows.iter().filter(of_image);
        rows.map(|(_, row)| row.free).sum()
    }

    /// The served images with too few free slots, machines that are down not counted.
    pub(super) fn short_of(&self, scene: &Scene<'_>, region: &RegionName) -> BTreeSet<ImageState> {
        let is_short = |image: &Image| {
            self.free_and_running(scene, region, &image.id) < self.demand(image.state)
        };
        self.images
            .values()
            .filter(|image| image.state.is_served() && is_short(image))
            .map(|image| image.state)
            .collect()
    }

    /// Free slots of an image, without those of machines that have gone since.
    pub(super) fn free_and_running(
        &self,
        scene: &Scene<'_>,
        region: &RegionName,
        image: &ImageId,
    ) -> u32 {
        let host = scene.world.host(region);
        let state = host.state();
        let now = scene.world.now();
        let runs = |id: &InstanceId| {
            let machine = state.ec2.machines.get(id);
            machine.is_some_and(|machine| machine.is_live(now))
        };
        let rows = self.rows.iter();
        let own = rows.filter(|(id, row)| row.image == *image && runs(id));
        own.map(|(_, row)| row.free).sum()
    }
}

/// Nobody could be heard before passes looked.
fn is_new(tables: &Tables, region: &RegionName, heard_after: Timestamp) -> bool {
    let fence = tables.fences.get(region);
    fence
        .and_then(|fence| fence.watched_since)
        .is_some_and(|since| since > heard_after)
}

/// Rows, machines without one, and what open intents may still become.
pub(super) fn live(scene: &Scene<'_>, tables: &Tables, region: &RegionName) -> u32 {
    let host = scene.world.host(region);
    let state = host.state();
    // Listings show what has gone as it was.
    let (now, listed) = (scene.world.now(), scene.world.now() - LONGEST_LAG);
    let strays = state.ec2.machines.iter().filter(|(id, machine)| {
        (machine.is_live(now) || machine.is_live(listed)) && !tables.instances.contains_key(*id)
    });
    let strays = u32::try_from(strays.count()).unwrap_or(u32::MAX);
    live_in_stores(scene, tables, region).saturating_add(strays)
}
