//! Builds, their images, and the client builds that fit them. What is done with them is in
//! `releases`.

use std::collections::BTreeMap;
use std::fmt;

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::assign::ClientBuild;
use shared::ids::{ClientSha, ImageId, RegionName};
use shared::model::{Image, ImageState};
use shared::settings::Upgrades;
use testing::NOW;

use crate::random::Random;

/// How often something is done with images, and what the regions start with.
#[derive(Clone, Debug)]
pub struct ReleaseSettings {
    /// The mean time between two activities, in seconds.
    pub interval: u64,
    /// The app version names the commit of the first build from the start.
    pub app_version_set: bool,
    /// No region has an image at the start.
    pub without_images: bool,
}

impl ReleaseSettings {
    /// A third of the seeds has no upgrades, so that upgrades do not hide what a run without them
    /// finds.
    pub fn random(random: &mut Random) -> Option<Self> {
        random.chance(660).then(|| Self {
            interval: *random.pick(&[25, 50, 100]),
            app_version_set: random.chance(700),
            without_images: false,
        })
    }
}

/// The settings of a region's upgrades: times short enough that whole upgrades happen within a run.
pub fn random_upgrade_settings(random: &mut Random) -> Upgrades {
    let mut seconds = |of: &[i64]| SignedDuration::from_secs(*random.pick(of));
    let (deadline, bake) = (seconds(&[40, 150, 240, 400]), seconds(&[1, 30, 90, 200]));
    Upgrades {
        surge: u32::try_from(*random.pick(&[0, 0, 1, 2, 4])).unwrap_or(0),
        deadline,
        swap_when_warm: random.chance(300),
        bake,
        old_image: random.chance(500).then_some(SignedDuration::from_secs(60)),
    }
}

/// One request for an upgrade to a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeRequest {
    pub build: u32,
    pub client_sha: ClientSha,
    pub regions: Vec<RegionName>,
}

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageDefect {
    NeverBoots,
    /// Its agents die soon after they started.
    Dies,
}

/// All builds so far, and the random numbers for what happens to them.
pub struct Builds {
    pub(crate) random: Random,
    /// The commit from which each build was made, in the order of the builds.
    pub(crate) commits: Vec<u32>,
    pub(crate) defects: BTreeMap<ImageId, ImageDefect>,
}

impl fmt::Debug for Builds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builds")
            .field("commits", &self.commits)
            .field("defects", &self.defects)
            .finish_non_exhaustive()
    }
}

/// The id of an image at EC2: each region has its own copy of a build.
pub(crate) fn image_id(region: usize, build: u32) -> ImageId {
    format!("ami-{build:06x}{region:02x}").as_str().into()
}

fn sha(commit: u32) -> ClientSha {
    format!("commit-{commit}").as_str().into()
}

/// The image from which a region boots at the start.
pub fn first_image(region: usize) -> Image {
    Image {
        id: image_id(region, 1),
        client_sha: sha(1),
        state: ImageState::Current,
        since: NOW,
    }
}

pub(crate) fn seconds(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}

impl Builds {
    pub fn new(random: Random) -> Self {
        Self {
            random,
            commits: vec![1],
            defects: BTreeMap::new(),
        }
    }

    pub(crate) fn latest(&self) -> u32 {
        u32::try_from(self.commits.len()).unwrap_or(u32::MAX)
    }

    /// A random build.
    pub(crate) fn random_build(&mut self) -> u32 {
        let latest = u64::from(self.latest());
        u32::try_from(self.random.between(1..=latest)).unwrap_or(1)
    }

    pub(crate) fn sha_of(&self, build: u32) -> ClientSha {
        let place = usize::try_from(build).unwrap_or(1).saturating_sub(1);
        sha(self.commits.get(place).copied().unwrap_or(1))
    }

    pub fn defect_of(&self, image: &ImageId) -> Option<ImageDefect> {
        self.defects.get(image).copied()
    }

    /// Removes all defects: what is launched from now on works.
    pub fn repair_images(&mut self) {
        self.defects.clear();
    }

    /// A random client: one that takes the current image, or one of a certain build.
    pub fn random_client(&mut self) -> ClientBuild {
        if self.random.chance(300) {
            return ClientBuild::CurrentImage;
        }
        let build = match self.random.chance(500) {
            true => self.latest(),
            false => self.random_build(),
        };
        ClientBuild::Sha(self.sha_of(build))
    }
}

/// The event with which `reconcile` is invoked for an upgrade.
pub fn upgrade_event(client_sha: &ClientSha, images: &BTreeMap<RegionName, ImageId>) -> Value {
    json!({"image_upgrade": {"client_sha": client_sha, "images": images}})
}
