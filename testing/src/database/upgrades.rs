//! How images enter service and leave it (`…_upgrades/up.sql`).

use jiff::Timestamp;
use shared::db::{DbError, Fence, UpgradeRequested, WriteOutcome, WriteResult};
use shared::ids::{ClientSha, ImageId, RegionName};
use shared::model::{Image, ImageState};

use super::tables::Tables;

impl Tables {
    /// Requests a new image in a region.
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
        let swaps_when_warm = settings
            .ok_or_else(|| DbError::UnknownRegion(region.clone()))?
            .upgrades
            .swap_when_warm;
        self.raise_fence(&Fence {
            region: region.clone(),
            version: 0,
        });
        let key = (region.clone(), image.clone());
        let known = self.images.get(&key).cloned();
        if known
            .as_ref()
            .is_some_and(|known| known.client_sha != *client_sha)
        {
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
        match known.map(|image| image.state) {
            Some(ImageState::Warming | ImageState::Current) => {
                return Ok(UpgradeRequested::Already);
            }
            Some(ImageState::Baking) if swaps_when_warm || self.is_current(region, client_sha) => {
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

    /// Moves an image from one state to another, if it has been in the first since before the pass
    /// observed it.
    ///
    /// # Errors
    /// [`DbError::Fenced`]; [`DbError::Refused`] for a move that does not exist.
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
                operation: "move an image to another state",
                code: "data-exception".to_owned(),
                message: format!("no image goes from {from} to {to}"),
            });
        }
        self.fenced(fence)?;
        let key = (fence.region.clone(), image.clone());
        let observed_at = self.fence_mut(&fence.region).last_pass_at;
        let outcome = match self.images.get(&key) {
            None => WriteOutcome::Unknown,
            Some(row) if row.state == to => WriteOutcome::Already,
            Some(row) if row.state != from => WriteOutcome::WrongState,
            // The image was requested after the pass observed it, and is in the same state again.
            // The pass decided on the state before that.
            Some(row) if observed_at.is_some_and(|at| row.since > at) => WriteOutcome::WrongState,
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

    /// Sets an image's state, as an operator or the functions above do, with its time. Any state
    /// but `FAILED` has no reason.
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

    /// Makes the image current. The previous one bakes from now on.
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
