//! Images: what instances boot from, and the states of an upgrade.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{ClientSha, ImageId};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Image {
    pub id: ImageId,
    pub client_sha: ClientSha,
    pub state: ImageState,
    /// When it entered this state.
    pub since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ImageState {
    Warming,
    Current,
    Baking,
    Retired,
    Failed,
}

impl fmt::Display for ImageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warming => "WARMING",
            Self::Current => "CURRENT",
            Self::Baking => "BAKING",
            Self::Retired => "RETIRED",
            Self::Failed => "FAILED",
        })
    }
}

impl ImageState {
    /// Whether users are assigned to instances of this image.
    pub fn is_served(self) -> bool {
        matches!(self, Self::Current | Self::Baking)
    }

    /// Whether instances of this image are kept ready: for users, for a roll-back, or for the swap.
    pub fn has_buffer(self) -> bool {
        matches!(self, Self::Current | Self::Baking | Self::Warming)
    }
}
