//! A database with a defect in upgrades.

use std::collections::BTreeMap;

use shared::db::Observation;
use shared::ids::{ImageId, InstanceId, RegionName};
use shared::model::{Image, ImageState, InstanceStatus};
use testing::Tables;

type Images = BTreeMap<(RegionName, ImageId), Image>;

/// A defect of what the database does for upgrades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpgradeDefect {
    /// The current image stays current when another one becomes current.
    KeepsPreviousCurrent,
    /// A request for another image leaves the previous one warming.
    KeepsPreviousWarming,
    /// An image is moved under the version in force, and not under the caller's.
    IgnoresFence,
    /// The previous image retires immediately, so that there is no way back.
    RetiresPreviousEarly,
    /// Reading a region fails its warming image.
    FailsWarmingOnRead,
    /// With each drain, an instance of the warming image is drained, too.
    DrainsWarming,
    /// With each drain, an instance of the current image is drained, too.
    DrainsCurrent,
    /// The app version is reported to name the warming image.
    MisreadsAppVersion,
    /// The retirement of an image is reported as written and not written.
    NeverRetires,
    /// The surge is reported as a part of the maximum at all times.
    AlwaysAddsSurge,
}

impl UpgradeDefect {
    /// Changes what a pass observes, and the rows with it.
    pub(super) fn change_observation(self, tables: &mut Tables, seen: &mut Observation) {
        match self {
            Self::AlwaysAddsSurge => {
                seen.settings.max_instances += seen.settings.upgrades.surge;
            }
            Self::MisreadsAppVersion => {
                let warms = |image: &&Image| image.state == ImageState::Warming;
                if let Some(image) = seen.images.iter().find(warms) {
                    seen.app_sha = Some(image.client_sha.clone());
                }
            }
            Self::FailsWarmingOnRead => {
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

    /// Changes the rows after an image was moved correctly.
    pub(super) fn change_moved_images(
        self,
        tables: &mut Tables,
        before: &Images,
        region: &RegionName,
        image: &ImageId,
    ) {
        match self {
            Self::KeepsPreviousCurrent => {
                Self::restore(tables, before, |state| state == ImageState::Current);
            }
            Self::RetiresPreviousEarly => {
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

    /// Restores the images that were in such a state before.
    pub(super) fn restore(tables: &mut Tables, before: &Images, of: impl Fn(ImageState) -> bool) {
        for (key, image) in before.iter().filter(|(_, image)| of(image.state)) {
            tables.images.insert(key.clone(), image.clone());
        }
    }

    /// Another instance that is drained, too.
    pub(super) fn also_drained(self, tables: &Tables, region: &RegionName) -> Option<InstanceId> {
        let state = match self {
            Self::DrainsWarming => ImageState::Warming,
            Self::DrainsCurrent => ImageState::Current,
            _ => return None,
        };
        let state_of = |id: &ImageId| {
            let image = tables.images.get(&(region.clone(), id.clone()));
            image.map(|image| image.state)
        };
        let instance = tables.instances.iter().find(|(id, row)| {
            row.region == *region
                && row.status == InstanceStatus::Active
                && state_of(&row.image_id) == Some(state)
                && !tables.is_occupied(id)
        });
        instance.map(|(id, _)| id.clone())
    }
}
