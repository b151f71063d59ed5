//! What is drained by choice, and what an upgrade may have to do with it: each drain is judged
//! by what its pass was shown.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use shared::db::Fence;
use shared::ids::{ImageId, InstanceId, RegionName};
use shared::model::{ImageState, InstanceStatus};
use shared::testing::{SlotStatus, Tables};

use super::{Check, Scene, Violation, images};
use crate::facts::Fact;
use crate::gate::ProcessId;

/// A refused user counts as waiting for so long.
const WAITING: SignedDuration = SignedDuration::from_mins(1);

/// As long as listings ever lag here.
const LONGEST_LAG: SignedDuration = SignedDuration::from_mins(1);

/// A region as a pass was shown it.
#[derive(Debug)]
struct View {
    images: BTreeMap<ImageId, ImageState>,
    rows: BTreeMap<InstanceId, Row>,
    target: u32,
    waiting: u32,
    live: u32,
    max: u32,
}

#[derive(Debug)]
struct Row {
    image: ImageId,
    /// Its free slots, if users may be put there.
    free: u32,
    noticed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Drains {
    /// The last that was shown in each region, and under which version of the lock.
    views: BTreeMap<RegionName, BTreeMap<i64, View>>,
    /// The instances that are in service.
    serving: BTreeSet<InstanceId>,
}

impl Drains {
    pub(super) fn step(
        &mut self,
        scene: &Scene<'_>,
        tables: &Tables,
        facts: &[(ProcessId, Fact)],
        found: &mut Vec<Violation>,
    ) {
        for (_, fact) in facts {
            match fact {
                Fact::Began { fence } => {
                    let view = View::of(scene, tables, &fence.region);
                    let views = self.views.entry(fence.region.clone()).or_default();
                    // Below it nothing is accepted any more.
                    *views = views.split_off(&fence.version);
                    views.insert(fence.version, view);
                }
                Fact::Wrote {
                    call: "drain",
                    fence,
                    ..
                } => self.drained(scene, tables, fence, found),
                _ => {}
            }
        }
        let serves = |status| {
            matches!(
                status,
                InstanceStatus::PreConnection | InstanceStatus::Active
            )
        };
        let serving = tables
            .instances
            .iter()
            .filter(|(_, row)| serves(row.status));
        let is_same = serving.clone().count() == self.serving.len();
        if !is_same || !serving.clone().all(|(id, _)| self.serving.contains(id)) {
            self.serving = serving.map(|(id, _)| id.clone()).collect();
        }
    }

    fn drained(
        &self,
        scene: &Scene<'_>,
        tables: &Tables,
        fence: &Fence,
        found: &mut Vec<Violation>,
    ) {
        let views = self.views.get(&fence.region);
        let Some(view) = views.and_then(|views| views.get(&fence.version)) else {
            return;
        };
        let drained: Vec<_> = self
            .serving
            .iter()
            .filter(|id| {
                let row = tables.instances.get(*id);
                row.is_some_and(|row| {
                    row.region == fence.region && row.status == InstanceStatus::Draining
                })
            })
            .collect();
        let live = live(scene, tables, &fence.region).max(view.live);
        for id in &drained {
            // What EC2 is about to take is left for that.
            let noticed = tables
                .instances
                .get(*id)
                .is_some_and(|r| r.notice.is_some());
            let Some(row) = view.rows.get(*id).filter(|row| !row.noticed && !noticed) else {
                continue;
            };
            let short = view.short_of(scene, &fence.region);
            match view.images.get(&row.image) {
                Some(ImageState::Warming) if short.is_empty() => {
                    let text = format!("{id} of {} warms, and no user needs its room", row.image);
                    found.push(Violation::new(Check::WarmingIsLeft, text));
                }
                Some(state @ (ImageState::Current | ImageState::Baking)) => {
                    let free = view.free_without(&row.image, &drained);
                    let demand = view.demand(*state);
                    let gives_way =
                        *state == ImageState::Baking && short.contains(&ImageState::Current);
                    if free < demand && live <= view.max && !gives_way {
                        let text = format!(
                            "{id} of {}, which is {state}, was drained: {free} of {demand} are \
                             left, with {live} of {} live",
                            row.image, view.max
                        );
                        found.push(Violation::new(Check::UpgradeTakesNoFreeSlot, text));
                    }
                }
                _ => {}
            }
        }
    }
}

impl View {
    fn of(scene: &Scene<'_>, tables: &Tables, region: &RegionName) -> Self {
        let now = scene.world.now();
        let settings = &tables.regions[region].settings;
        let heard_after = now - settings.waits.heartbeat;
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
                .map(|((_, id), image)| (id.clone(), image.state))
                .collect(),
            rows,
            target: if enabled { settings.target_free } else { 0 },
            waiting: match enabled {
                true => u32::try_from(waiting.len()).unwrap_or(u32::MAX),
                false => 0,
            },
            live: live(scene, tables, region),
            max: images::most(tables, region),
        }
    }

    /// Who waits is taken for a client of the current image.
    fn demand(&self, state: ImageState) -> u32 {
        match state {
            ImageState::Current => self.target.saturating_add(self.waiting),
            _ => self.target,
        }
    }

    fn free_without(&self, image: &ImageId, drained: &[&InstanceId]) -> u32 {
        let of_image =
            |(id, row): &(&InstanceId, &Row)| row.image == *image && !drained.contains(id);
        let rows = self.rows.iter().filter(of_image);
        rows.map(|(_, row)| row.free).sum()
    }

    /// The served images with too few free slots, machines that are down not counted.
    fn short_of(&self, scene: &Scene<'_>, region: &RegionName) -> BTreeSet<ImageState> {
        let host = scene.world.host(region);
        let state = host.state();
        let now = scene.world.now();
        let runs = |id: &InstanceId| {
            let machine = state.ec2.machines.get(id);
            machine.is_some_and(|machine| machine.is_live(now))
        };
        let is_short = |image: &ImageId, state| {
            let own = self
                .rows
                .iter()
                .filter(|(id, row)| row.image == *image && runs(id));
            own.map(|(_, row)| row.free).sum::<u32>() < self.demand(state)
        };
        self.images
            .iter()
            .filter(|(image, state)| state.is_served() && is_short(image, **state))
            .map(|(_, state)| *state)
            .collect()
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
fn live(scene: &Scene<'_>, tables: &Tables, region: &RegionName) -> u32 {
    let rows = tables
        .instances
        .iter()
        .filter(|(_, row)| row.region == *region);
    let host = scene.world.host(region);
    let state = host.state();
    // Listings show what has gone as it was.
    let (now, listed) = (scene.world.now(), scene.world.now() - LONGEST_LAG);
    let strays = state.ec2.machines.iter().filter(|(id, machine)| {
        (machine.is_live(now) || machine.is_live(listed)) && !tables.instances.contains_key(*id)
    });
    let mut items = scene.world.store.items();
    let open: u32 = items
        .of(region)
        .open
        .values()
        .map(|intent| intent.request.count)
        .sum();
    u32::try_from(rows.count() + strays.count())
        .unwrap_or(u32::MAX)
        .saturating_add(open)
}
