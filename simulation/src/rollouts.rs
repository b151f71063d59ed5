//! Builds, their images and the clients that fit them. What is done with them is in `releases`.

use std::collections::BTreeMap;
use std::fmt;

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::assign::ClientBuild;
use shared::ids::{ClientSha, ImageId, RegionName};
use shared::model::{Image, ImageState};
use shared::settings::Upgrades;
use testing::NOW;

use crate::dice::Dice;

/// How often somebody has something to do with images, and how regions take it.
#[derive(Clone, Debug)]
pub struct Rolling {
    /// The mean time from one thing to the next, in seconds.
    pub every: u64,
    /// The app version names the first build's commit from the start.
    pub is_named: bool,
    /// No region has an image from the start.
    pub from_nothing: bool,
}

impl Rolling {
    /// A third of the seeds sees no upgrade: what a world without any finds must not drown.
    pub fn drawn(dice: &mut Dice) -> Option<Self> {
        dice.chance(660).then(|| Self {
            every: *dice.pick(&[25, 50, 100]),
            is_named: dice.chance(700),
            from_nothing: false,
        })
    }
}

/// Short enough that whole upgrades happen within a run.
pub fn upgrades(dice: &mut Dice) -> Upgrades {
    let mut seconds = |of: &[i64]| SignedDuration::from_secs(*dice.pick(of));
    let (deadline, bake) = (seconds(&[40, 150, 240, 400]), seconds(&[1, 30, 90, 200]));
    Upgrades {
        surge: u32::try_from(*dice.pick(&[0, 0, 1, 2, 4])).unwrap_or(0),
        deadline,
        swap_when_warm: dice.chance(300),
        bake,
        old_image: dice.chance(500).then_some(SignedDuration::from_secs(60)),
    }
}

/// One wish for an image of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub build: u32,
    pub client_sha: ClientSha,
    pub regions: Vec<RegionName>,
}

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    NeverBoots,
    /// Its agents die soon.
    Dies,
}

/// The builds that there are, and who draws what happens to them.
pub struct Rollouts {
    pub(crate) dice: Dice,
    /// From which commit each was made, the first one first.
    pub(crate) commits: Vec<u32>,
    pub(crate) flaws: BTreeMap<ImageId, Flaw>,
}

impl fmt::Debug for Rollouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rollouts")
            .field("commits", &self.commits)
            .field("flaws", &self.flaws)
            .finish_non_exhaustive()
    }
}

/// An image's id as EC2 has it: each region has its own copy of a build.
pub(crate) fn image_id(region: usize, build: u32) -> ImageId {
    format!("ami-{build:06x}{region:02x}").as_str().into()
}

fn sha(commit: u32) -> ClientSha {
    format!("commit-{commit}").as_str().into()
}

/// What a region boots from the start.
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

impl Rollouts {
    pub fn new(dice: Dice) -> Self {
        Self {
            dice,
            commits: vec![1],
            flaws: BTreeMap::new(),
        }
    }

    pub(crate) fn latest(&self) -> u32 {
        u32::try_from(self.commits.len()).unwrap_or(u32::MAX)
    }

    /// Any build so far.
    pub(crate) fn any(&mut self) -> u32 {
        let latest = u64::from(self.latest());
        u32::try_from(self.dice.between(1..=latest)).unwrap_or(1)
    }

    pub(crate) fn sha_of(&self, build: u32) -> ClientSha {
        let place = usize::try_from(build).unwrap_or(1).saturating_sub(1);
        sha(self.commits.get(place).copied().unwrap_or(1))
    }

    pub fn flaw_of(&self, image: &ImageId) -> Option<Flaw> {
        self.flaws.get(image).copied()
    }

    /// What is launched from now on works.
    pub fn heal(&mut self) {
        self.flaws.clear();
    }

    /// Clients know no image, or have one build's commit.
    pub fn client(&mut self) -> ClientBuild {
        if self.dice.chance(300) {
            return ClientBuild::CurrentImage;
        }
        let build = match self.dice.chance(500) {
            true => self.latest(),
            false => self.any(),
        };
        ClientBuild::Sha(self.sha_of(build))
    }
}

/// What `reconcile` is invoked with.
pub fn upgrade_event(client_sha: &ClientSha, images: &BTreeMap<RegionName, ImageId>) -> Value {
    json!({"image_upgrade": {"client_sha": client_sha, "images": images}})
}
