//! How images come into service and leave it (`…_upgrades/up.sql`).

use jiff::Timestamp;

use super::tables::Tables;
use shared::db::{DbError, Fence, UpgradeRequested, WriteOutcome, WriteResult};
use shared::ids::{ClientSha, ImageId, RegionName};
use shared::model::{Image, ImageState};

impl Tables {
    /// Asks for a new image in a region.
    ///
    /// # Errors
    /// [`DbError::UnknownRegion`].
    pub fn request_upgrade(
        &mut self,
        region: &RegionName,
        image: &ImageId,
        client_sha: &ClientSha,
        now: Timestamp,
    ) -> Result<UpgradeRequested, DbError> {
        let settings = self.settings_mut(region);
        let swaps_by_itself = settings
            .ok_or_else(|| DbError::UnknownRegion(region.clone()))?
            .upgrades
            .swap_when_warm;
        self.raise_fence(&Fence {
            region: region.clone(),
            version: 0,
        });
        let key = (region.clone(), image.clone());
        let asked = self.images.get(&key).cloned();
        if asked.as_ref().is_some_and(|a| a.client_sha != *client_sha) {
            return Ok(UpgradeRequested::OtherSha);
        }
        for other in self.images_in(region, ImageState::Warming) {
            if other != *image {
                let key = (region.clone(), other);
                self.set_image_state(&key, ImageState::Failed, now);
                let reason = format!("a newer upgrade was asked for, to {image}");
                self.image_reasons.insert(key, reason);
            }
        }
        match asked.map(|image| image.state) {
            Some(ImageState::Warming | ImageState::Current) => {
                return Ok(UpgradeRequested::Already);
            }
            Some(ImageState::Baking) if swaps_by_itself || self.is_current(region, client_sha) => {
                self.make_current(region, image, now);
            }
            Some(ImageState::Baking) => {
                if let Some(row) = self.images.get_mut(&key) {
                    row.since = now;
                }
            }
            Some(ImageState::Retired | ImageState::Failed) => {
                self.set_image_state(&key, ImageState::Warming, now);
            }
            None => {
                let row = Image {
                    id: image.clone(),
                    client_sha: client_sha.clone(),
                    state: ImageState::Warming,
                    since: now,
                };
                self.images.insert(key, row);
            }
        }
        Ok(UpgradeRequested::Requested)
    }

    /// Moves an image from one state to the next, if it still is in the first, and in it since
    /// before the pass looked.
    ///
    /// # Errors
    /// [`DbError::Fenced`]; [`DbError::Refused`] for what no image does.
    pub fn move_image(
        &mut self,
        fence: &Fence,
        image: &ImageId,
        (from, to): (ImageState, ImageState),
        reason: &str,
        now: Timestamp,
    ) -> Result<Vec<WriteResult>, DbError> {
        use ImageState::{Baking, Current, Failed, Retired, Warming};
        if !matches!(
            (from, to),
            (Warming | Baking, Current) | (Warming, Failed) | (Baking, Retired)
        ) {
            return Err(DbError::Refused {
                operation: "move an image on",
                code: "data-exception".to_owned(),
                message: format!("no image goes from {from} to {to}"),
            });
        }
        self.fenced(fence)?;
        let key = (fence.region.clone(), image.clone());
        let looked_at = self.fence_mut(&fence.region).last_pass_at;
        let outcome = match self.images.get(&key) {
            None => WriteOutcome::Unknown,
            Some(row) if row.state == to => WriteOutcome::Already,
            Some(row) if row.state != from => WriteOutcome::WrongState,
            // Asked for since the pass looked, and in the same state again: what the pass decided
            // was about the time before.
            Some(row) if looked_at.is_some_and(|at| row.since > at) => WriteOutcome::WrongState,
            Some(_) => {
                if to == Current {
                    self.make_current(&fence.region, image, now);
                } else {
                    self.set_image_state(&key, to, now);
                    if to == Failed {
                        self.image_reasons.insert(key, reason.to_owned());
                    }
                }
                WriteOutcome::Done
            }
        };
        Ok(vec![WriteResult {
            id: image.to_string(),
            outcome,
        }])
    }

    /// An operator's write, or a part of the functions above; a state has the time since it is
    /// one, and no reason of the state before.
    pub fn set_image_state(
        &mut self,
        key: &(RegionName, ImageId),
        state: ImageState,
        now: Timestamp,
    ) {
        let Some(row) = self.images.get_mut(key) else {
            return;
        };
        if row.state == state {
            return;
        }
        row.state = state;
        row.since = now;
        if state != ImageState::Failed {
            self.image_reasons.remove(key);
        }
    }

    /// The image takes the place of the current one, which bakes from now on.
    pub fn make_current(&mut self, region: &RegionName, image: &ImageId, now: Timestamp) {
        for before in self.images_in(region, ImageState::Current) {
            if before != *image {
                self.set_image_state(&(region.clone(), before), ImageState::Baking, now);
            }
        }
        self.set_image_state(&(region.clone(), image.clone()), ImageState::Current, now);
    }

    fn images_in(&self, region: &RegionName, state: ImageState) -> Vec<ImageId> {
        self.images
            .iter()
            .filter(|((of, _), image)| of == region && image.state == state)
            .map(|((_, id), _)| id.clone())
            .collect()
    }

    fn is_current(&self, region: &RegionName, client_sha: &ClientSha) -> bool {
        self.images.iter().any(|((of, _), image)| {
            of == region && image.state == ImageState::Current && image.client_sha == *client_sha
        })
    }
}
