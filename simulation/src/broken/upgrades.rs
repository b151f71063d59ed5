//! Upgrades, done wrong.

use std::collections::BTreeMap;

use shared::db::Observation;
use shared::ids::{ImageId, InstanceId, RegionName};
use shared::model::{Image, ImageState, InstanceStatus};
use testing::Tables;

use super::Variant;
use super::assigner::Assigning;
use super::database::Writing;
use super::{assigner, database, variant};
use crate::checks::Check;
use crate::world::World;

type Images = BTreeMap<(RegionName, ImageId), Image>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upgrading {
    /// The current image stays current when another takes its place.
    LeavesTwoCurrent,
    /// Who asks for another image leaves the one before warming.
    WarmsTwo,
    /// An image is moved under the version in force, whoever asks.
    WithoutFence,
    /// The image before goes at once, without a way back.
    RetiresAtOnce,
    /// Looking at a region gives up what warms there.
    MovesByLooking,
    /// Whatever is drained, something that warms goes with it.
    DrainsWhatWarms,
    /// What warms is taken for the buffer: the one in service goes already.
    DrainsWhatServes,
    /// The app version is taken to name what warms.
    MisreadsAppVersion,
    /// It is not written that an image retires.
    NeverRetires,
    /// The surge is taken for a part of the maximum.
    SurgesAlways,
}

impl Upgrading {
    /// What a pass is shown, and what becomes of the rows by that.
    pub(super) fn when_shown(self, tables: &mut Tables, seen: &mut Observation) {
        match self {
            Self::SurgesAlways => {
                seen.settings.max_instances += seen.settings.upgrades.surge;
            }
            Self::MisreadsAppVersion => {
                let warms = |image: &&Image| image.state == ImageState::Warming;
                if let Some(image) = seen.images.iter().find(warms) {
                    seen.app_sha = Some(image.client_sha.clone());
                }
            }
            Self::MovesByLooking => {
                let now = seen.now;
                for image in &seen.images {
                    if image.state == ImageState::Warming && image.since < now {
                        let key = (seen.settings.name.clone(), image.id.clone());
                        tables.set_image_state(&key, ImageState::Failed, now);
                    }
                }
            }
            _ => {}
        }
    }

    /// An image was moved by the book.
    pub(super) fn when_moved(
        self,
        tables: &mut Tables,
        before: &Images,
        region: &RegionName,
        image: &ImageId,
    ) {
        match self {
            Self::LeavesTwoCurrent => {
                Self::put_back(tables, before, |state| state == ImageState::Current);
            }
            Self::RetiresAtOnce => {
                let key = (region.clone(), image.clone());
                let Some(since) = tables.images.get(&key).map(|image| image.since) else {
                    return;
                };
                let others: Vec<_> = tables
                    .images
                    .iter()
                    .filter(|((of, _), image)| of == region && image.state == ImageState::Baking)
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in others {
                    tables.set_image_state(&key, ImageState::Retired, since);
                }
            }
            _ => {}
        }
    }

    /// Images that were in such a state are in it again.
    pub(super) fn put_back(tables: &mut Tables, before: &Images, of: impl Fn(ImageState) -> bool) {
        for (key, image) in before.iter().filter(|(_, image)| of(image.state)) {
            tables.images.insert(key.clone(), image.clone());
        }
    }

    /// An instance in service that is drained, too.
    pub(super) fn drained_as_well(
        self,
        tables: &Tables,
        region: &RegionName,
    ) -> Option<InstanceId> {
        let wanted = match self {
            Self::DrainsWhatWarms => ImageState::Warming,
            Self::DrainsWhatServes => ImageState::Current,
            _ => return None,
        };
        let state_of = |id: &ImageId| {
            let image = tables.images.get(&(region.clone(), id.clone()));
            image.map(|image| image.state)
        };
        let own = tables.instances.iter().find(|(id, row)| {
            row.region == *region
                && row.status == InstanceStatus::Active
                && state_of(&row.image_id) == Some(wanted)
                && !tables.is_occupied(id)
        });
        own.map(|(id, _)| id.clone())
    }
}

fn upgrading(world: &mut World, how: Upgrading) {
    database(world, Writing::Upgrading(how));
}

pub(super) const VARIANTS: &[Variant] = &[
    variant(
        "users are put on what warms",
        Check::AssignedOnlyServed,
        4,
        |world| {
            assigner(world, Assigning::AlsoWarming);
        },
    ),
    variant(
        "any build will do for a client",
        Check::AssignedOwnBuild,
        2,
        |world| {
            assigner(world, Assigning::AnyBuild);
        },
    ),
    variant(
        "two images are current",
        Check::OneCurrentOneWarming,
        2,
        |world| {
            upgrading(world, Upgrading::LeavesTwoCurrent);
        },
    ),
    variant("two images warm", Check::OneCurrentOneWarming, 2, |world| {
        upgrading(world, Upgrading::WarmsTwo);
    }),
    variant(
        "an image is moved without the fence",
        Check::NoWriteBelowFence,
        41,
        |world| {
            upgrading(world, Upgrading::WithoutFence);
        },
    ),
    variant(
        "the image before retires at once",
        Check::ImagesMoveOnEdges,
        2,
        |world| {
            upgrading(world, Upgrading::RetiresAtOnce);
        },
    ),
    variant(
        "who looks moves an image",
        Check::ImagesMovedByWhoMay,
        2,
        |world| {
            upgrading(world, Upgrading::MovesByLooking);
        },
    ),
    variant(
        "the app version is misread",
        Check::ImagesMoveForAReason,
        3,
        |world| {
            upgrading(world, Upgrading::MisreadsAppVersion);
        },
    ),
    variant("what warms is drained", Check::WarmingIsLeft, 28, |world| {
        upgrading(world, Upgrading::DrainsWhatWarms);
    }),
    variant(
        "what serves is drained for what warms",
        Check::UpgradeTakesNoFreeSlot,
        3,
        |world| {
            upgrading(world, Upgrading::DrainsWhatServes);
        },
    ),
    variant("no image retires", Check::Settles, 2, |world| {
        upgrading(world, Upgrading::NeverRetires);
    }),
    variant(
        "the surge is there without an upgrade",
        Check::LiveWithinMaximum,
        5,
        |world| {
            upgrading(world, Upgrading::SurgesAlways);
        },
    ),
];
