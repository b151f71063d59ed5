//! The actions of operators and passes on images.

use jiff::SignedDuration;
use shared::ids::{ClientSha, ImageId, RegionName};
use shared::model::ImageState;
use testing::Tables;

use super::Generator;
use crate::database::steps::{Action, IMAGES, NEW_IMAGE, Set, Step};

/// The moves that exist, which are also the most frequent ones.
const MOVES: [(ImageState, ImageState); 5] = [
    (ImageState::Warming, ImageState::Current),
    (ImageState::Warming, ImageState::Current),
    (ImageState::Warming, ImageState::Failed),
    (ImageState::Baking, ImageState::Current),
    (ImageState::Baking, ImageState::Retired),
];

impl Generator {
    pub(super) fn set_region(&mut self) -> Action {
        let set = Set {
            enabled: self.random.chance(70),
            target_free: *self.random.pick(&[0, 1, 2, 3, 4]),
            swap_when_warm: self.random.chance(30),
        };
        Action::SetRegion(self.known_region(), set)
    }

    pub(super) fn set_image(&mut self) -> Action {
        let states = [
            ImageState::Current,
            ImageState::Current,
            ImageState::Baking,
            ImageState::Warming,
            ImageState::Retired,
            ImageState::Failed,
        ];
        let image = self.image();
        Action::SetImage(self.known_region(), image, *self.random.pick(&states))
    }

    fn image(&mut self) -> ImageId {
        (*self.random.pick(&[IMAGES[0], IMAGES[1], NEW_IMAGE])).into()
    }

    pub(super) fn request_upgrade(&mut self, tables: &Tables) -> Action {
        let region = self.region();
        let image = match self.in_state(tables, &region, ImageState::Baking) {
            Some(baking) if self.random.chance(55) => baking,
            _ => self.image(),
        };
        self.ask_for(tables, region, image)
    }

    /// Sometimes with a commit that the image was not built from.
    fn ask_for(&mut self, tables: &Tables, region: RegionName, image: ImageId) -> Action {
        let key = (region, image);
        let known = tables.images.get(&key).map(|row| row.client_sha.clone());
        let current = self.in_state(tables, &key.0, ImageState::Current);
        let sha = match (known, current) {
            (Some(sha), _) if self.random.chance(85) => sha,
            (None, Some(current)) if self.random.chance(90) => {
                let row = &tables.images[&(key.0.clone(), current)];
                row.client_sha.clone()
            }
            _ => ClientSha::from("sha-of-ami-3"),
        };
        Action::Upgrade(key.0, key.1, sha)
    }

    /// Mostly a move that a pass may make, often as the first write of a pass. The request for the
    /// image comes at the moment of the pass's observation or just after it.
    pub(super) fn move_image(&mut self, tables: &Tables) -> Action {
        let fence = self.fence();
        let (from, to) = *self.random.pick(&MOVES);
        let image = match self.in_state(tables, &fence.region, from) {
            Some(image) if self.random.chance(85) => image,
            _ => self.image(),
        };
        let to = if self.random.chance(12) { from } else { to };
        let action = Action::MoveImage(fence.clone(), image.clone(), from, to);
        let when = self.random.below(10);
        if when < 3 {
            return action;
        }
        let mut at = self.now;
        if when >= 6 {
            if when >= 8 {
                at += SignedDuration::from_micros(1);
            }
            let action = self.ask_for(tables, fence.region.clone(), image);
            self.planned.push_back(Step { at, action });
        }
        self.planned.push_back(Step { at, action });
        Action::BeginPass(fence)
    }

    /// One of a region's images in a state, if there is one.
    fn in_state(
        &mut self,
        tables: &Tables,
        region: &RegionName,
        state: ImageState,
    ) -> Option<ImageId> {
        let rows = tables.images.iter();
        let images: Vec<_> = rows
            .filter(|((of, _), image)| of == region && image.state == state)
            .map(|((_, id), _)| id.clone())
            .collect();
        (!images.is_empty()).then(|| self.random.pick(&images).clone())
    }
}
