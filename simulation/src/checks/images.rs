//! Images: which states they may have, and who may change them.

use std::collections::{BTreeMap, BTreeSet};

use shared::assign::ClientBuild;
use shared::ids::{ImageId, RegionName};
use shared::model::{Image, ImageState};
use testing::Tables;

use super::rule::{Check, Violation};
use crate::effects::Effect;
use crate::yield_points::ProcessId;

/// Who changes the state of an image. Each may do so along different edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mover {
    /// A pass under the fence that is in force.
    Pass,
    /// A request for an upgrade.
    Request,
    /// An operator, with a write of their own.
    Operator,
}

impl Mover {
    const ALL: [Self; 3] = [Self::Pass, Self::Request, Self::Operator];

    fn may(self, from: Option<ImageState>, to: ImageState) -> bool {
        use ImageState::{Baking, Current, Failed, Retired, Warming};
        match (from, to) {
            // The other half of a swap.
            (Some(Current), Baking) | (Some(Baking), Current) => self != Self::Operator,
            (Some(Warming), Current) | (Some(Baking), Retired) => self == Self::Pass,
            (None | Some(Retired | Failed), Warming) => self == Self::Request,
            (Some(Warming), Failed) => true,
            (Some(Baking), Failed) => self == Self::Operator,
            _ => false,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Images {
    before: BTreeMap<(RegionName, ImageId), Image>,
    /// The highest version under which a pass observed the region.
    fence: BTreeMap<RegionName, i64>,
    /// Who changed images in this step.
    movers: BTreeSet<(RegionName, Mover)>,
}

impl Images {
    pub(super) fn note_manual_change(&mut self, region: &RegionName) {
        self.movers.insert((region.clone(), Mover::Operator));
    }

    pub(super) fn check_step(
        &mut self,
        tables: &Tables,
        effects: &[(ProcessId, Effect)],
        found: &mut Vec<Violation>,
    ) {
        for (_, effect) in effects {
            self.check_effect(tables, effect, found);
        }
        let movers = std::mem::take(&mut self.movers);
        if tables.images == self.before {
            return;
        }
        // The images that exist at the start were not moved.
        if !self.before.is_empty() {
            for (key, image) in &tables.images {
                let before = self.before.get(key).map(|image| image.state);
                if before != Some(image.state) {
                    check_move(key, before, image.state, &movers, found);
                }
            }
        }
        check_single(tables, found);
        self.before.clone_from(&tables.images);
    }

    fn check_effect(&mut self, tables: &Tables, effect: &Effect, found: &mut Vec<Violation>) {
        match effect {
            Effect::PassBegan { fence, .. } => {
                let in_force = self.fence.entry(fence.region.clone()).or_default();
                *in_force = fence.version.max(*in_force);
            }
            Effect::ImageMoved { fence, .. } => {
                let in_force = self.fence.get(&fence.region).copied().unwrap_or(0);
                if fence.version >= in_force {
                    self.movers.insert((fence.region.clone(), Mover::Pass));
                }
            }
            Effect::UpgradeRequested { region, .. } => {
                self.movers.insert((region.clone(), Mover::Request));
            }
            Effect::SlotAssigned {
                request,
                slot,
                repeated: false,
            } => check_build(tables, slot, &request.client, found),
            _ => {}
        }
    }
}

fn check_move(
    (region, image): &(RegionName, ImageId),
    from: Option<ImageState>,
    to: ImageState,
    movers: &BTreeSet<(RegionName, Mover)>,
    found: &mut Vec<Violation>,
) {
    let text = || {
        let from = from.map_or_else(|| "nothing".to_owned(), |from| from.to_string());
        format!("{image} in {region} went from {from} to {to}")
    };
    if !Mover::ALL.into_iter().any(|mover| mover.may(from, to)) {
        found.push(Violation::new(Check::ImagesMoveOnEdges, text()));
        return;
    }
    let here: Vec<_> = movers
        .iter()
        .filter(|(of, _)| of == region)
        .map(|(_, mover)| *mover)
        .collect();
    if !here.iter().any(|mover| mover.may(from, to)) {
        let text = format!("{}; images of the region were moved by {here:?}", text());
        found.push(Violation::new(Check::ImagesMovedByPermittedActor, text));
    }
}

/// Checks that at most one image is current, and at most one warms.
fn check_single(tables: &Tables, found: &mut Vec<Violation>) {
    let mut seen = BTreeMap::new();
    for ((region, id), image) in &tables.images {
        if !matches!(image.state, ImageState::Current | ImageState::Warming) {
            continue;
        }
        if let Some(other) = seen.insert((region, image.state), id) {
            let text = format!("{other} and {id} in {region} are {}", image.state);
            found.push(Violation::new(Check::OneCurrentOneWarming, text));
        }
    }
}

/// Checks that a client got a slot of the build that it requested.
fn check_build(tables: &Tables, slot: &str, client: &ClientBuild, found: &mut Vec<Violation>) {
    let Some(row) = tables
        .slots
        .get(slot)
        .and_then(|slot| tables.instances.get(&slot.instance_id))
    else {
        return;
    };
    let image = tables
        .images
        .get(&(row.region.clone(), row.image_id.clone()));
    let fits = image.is_some_and(|image| match client {
        ClientBuild::CurrentImage => image.state == ImageState::Current,
        ClientBuild::Sha(sha) => image.client_sha == *sha && row.client_sha == *sha,
    });
    if !fits {
        let text = format!("{client:?} was assigned {slot}, which has the image {image:?}");
        found.push(Violation::new(Check::AssignedRequestedBuild, text));
    }
}

/// The number of instances that a region may have now. It may have the surge in addition to its
/// maximum during an upgrade, which is over when the last instance of a retired or failed image is
/// gone.
pub(super) fn max_live(tables: &Tables, region: &RegionName) -> u32 {
    let settings = &tables.regions[region].settings;
    let state_of = |id: &ImageId| {
        let image = tables.images.get(&(region.clone(), id.clone()));
        image.map(|image| image.state)
    };
    let images = tables.images.iter().filter(|((of, _), _)| of == region);
    let upgrades = images
        .map(|(_, image)| image.state)
        .any(|state| matches!(state, ImageState::Warming | ImageState::Baking));
    let leaves = |id| matches!(state_of(id), Some(ImageState::Retired | ImageState::Failed));
    let rows = tables
        .instances
        .values()
        .filter(|row| row.region == *region);
    let is_on = upgrades || rows.map(|row| &row.image_id).any(leaves);
    let surge = if is_on { settings.upgrades.surge } else { 0 };
    settings.max_instances.saturating_add(surge)
}
