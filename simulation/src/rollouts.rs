//! Who rolls out images, and what becomes of them: builds are made, asked for, asked for again,
//! named by the app version before or after, turned back from, and given up by hand.

use std::collections::BTreeMap;
use std::fmt;

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::assign::{AppVersion, ClientBuild};
use shared::ids::{ClientSha, ImageId, RegionName};
use shared::model::{Image, ImageState, Upgrades};
use shared::testing::NOW;

use crate::dice::Dice;
use crate::faults::Fault;
use crate::simulation::{Happening, Simulation};
use crate::world::ENVIRONMENT;

/// How often somebody has something to do with images, and how regions take it.
#[derive(Clone, Debug)]
pub struct Rolling {
    /// The mean time from one thing to the next, in seconds.
    pub every: u64,
    /// The app version names the first build's commit from the start.
    pub is_named: bool,
}

impl Rolling {
    /// A third of the seeds see no upgrade: what a world without any finds must not drown.
    pub fn drawn(dice: &mut Dice) -> Option<Self> {
        dice.chance(660).then(|| Self {
            every: *dice.pick(&[25, 50, 100]),
            is_named: dice.chance(700),
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
    commits: Vec<u32>,
    flaws: BTreeMap<ImageId, Flaw>,
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
fn image_id(region: usize, build: u32) -> ImageId {
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

fn seconds(seconds: u64) -> SignedDuration {
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

    fn latest(&self) -> u32 {
        u32::try_from(self.commits.len()).unwrap_or(u32::MAX)
    }

    /// Any build so far.
    fn any(&mut self) -> u32 {
        let latest = u64::from(self.latest());
        u32::try_from(self.dice.between(1..=latest)).unwrap_or(1)
    }

    fn sha_of(&self, build: u32) -> ClientSha {
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

impl Simulation {
    /// The first of it, in a run that has any.
    pub(crate) fn begin_rollouts(&mut self) {
        let Some(rolling) = self.scenario.rolling.clone() else {
            return;
        };
        if rolling.is_named {
            self.names(1);
        }
        self.happens_in(seconds(rolling.every / 2), Happening::Rollout);
    }

    pub(crate) fn rollout(&mut self) {
        let Some(rolling) = self.scenario.rolling.clone().filter(|_| !self.over) else {
            return;
        };
        match self.rollouts.dice.below(14) {
            0..=3 => self.release(true),
            4 => self.release(false),
            5 => self.wish(self.rollouts.latest()),
            6 => {
                let build = self.rollouts.any();
                self.wish(build);
            }
            7 => {
                self.release(true);
                let build = if self.rollouts.dice.chance(500) {
                    self.make_build(true)
                } else {
                    self.rollouts.any()
                };
                let wish = self.wish_for(build);
                let soon = self.rollouts.dice.between(0..=20);
                self.happens_in(seconds(soon), Happening::AsksFor(wish));
            }
            8 => {
                let build = self.rollouts.any();
                self.names(build);
            }
            9 => self.names(self.rollouts.latest()),
            10 | 11 => self.give_up_by_hand(),
            12 => {
                let mut wish = self.wish_for(self.rollouts.latest());
                wish.client_sha = "somebody else's".into();
                self.asks_for(&wish);
            }
            _ => self.change_upgrades(),
        }
        let wait = self.rollouts.dice.between(1..=2 * rolling.every);
        self.happens_in(seconds(wait), Happening::Rollout);
    }

    /// A build, asked for, and named by the app version before that, after it, or never.
    fn release(&mut self, new_commit: bool) {
        let build = self.make_build(new_commit);
        let wait = seconds(self.rollouts.dice.between(1..=150));
        match self.rollouts.dice.below(5) {
            0 | 1 => self.names(build),
            2 | 3 => self.happens_in(wait, Happening::Names(build)),
            _ => {}
        }
        self.wish(build);
    }

    /// A new build: some cannot boot, some do not last, some were not copied everywhere.
    fn make_build(&mut self, new_commit: bool) -> u32 {
        let commit = self.rollouts.commits.last().copied().unwrap_or(1) + u32::from(new_commit);
        self.rollouts.commits.push(commit);
        let build = self.rollouts.latest();
        for (place, region) in self.scenario.names().iter().enumerate() {
            let image = image_id(place, build);
            let flaw = if self.faults.strikes(Fault::ImageNeverBoots) {
                Some(Flaw::NeverBoots)
            } else if self.faults.strikes(Fault::ImageDies) {
                Some(Flaw::Dies)
            } else {
                None
            };
            if let Some(flaw) = flaw {
                self.rollouts.flaws.insert(image.clone(), flaw);
            }
            if self.faults.strikes(Fault::ImageMissing) {
                let host = self.world.host(region);
                host.state().unknown_images.insert(image);
            }
        }
        build
    }

    fn wish(&mut self, build: u32) {
        let wish = self.wish_for(build);
        self.asks_for(&wish);
    }

    /// In most regions.
    fn wish_for(&mut self, build: u32) -> Wish {
        let regions = self.scenario.names();
        let mut chosen: Vec<_> = regions
            .iter()
            .filter(|_| self.rollouts.dice.chance(800))
            .cloned()
            .collect();
        if chosen.is_empty() {
            chosen = regions;
        }
        Wish {
            build,
            client_sha: self.rollouts.sha_of(build),
            regions: chosen,
        }
    }

    pub(crate) fn asks_for(&mut self, wish: &Wish) {
        let all = self.scenario.names();
        let images: BTreeMap<_, _> = all
            .iter()
            .enumerate()
            .filter(|(_, region)| wish.regions.contains(region))
            .map(|(place, region)| (region.clone(), image_id(place, wish.build)))
            .collect();
        self.reconcile("image upgrade", upgrade_event(&wish.client_sha, &images));
    }

    pub(crate) fn names(&mut self, build: u32) {
        let client_sha = self.rollouts.sha_of(build);
        let tables = &mut self.world.database.rows().tables;
        let version = AppVersion {
            version: format!("1.{build}"),
            client_sha,
        };
        tables.app_versions.insert(ENVIRONMENT.to_owned(), version);
    }

    /// An operator sets an image that is not current to `FAILED`.
    fn give_up_by_hand(&mut self) {
        let now = self.now();
        let wanted = if self.rollouts.dice.chance(700) {
            ImageState::Warming
        } else {
            ImageState::Baking
        };
        let tables = &mut self.world.database.rows().tables;
        let keys: Vec<_> = tables
            .images
            .iter()
            .filter(|(_, image)| image.state == wanted)
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            if self.rollouts.dice.chance(700) {
                tables.set_image_state(&key, ImageState::Failed, now);
                self.checks.image_set_by_hand(&key.0);
            }
        }
    }

    fn change_upgrades(&mut self) {
        let regions = self.scenario.names();
        let region = self.rollouts.dice.pick(&regions).clone();
        let upgrades = upgrades(&mut self.rollouts.dice);
        if let Some(settings) = self.world.database.rows().tables.settings_mut(&region) {
            settings.upgrades = upgrades;
        }
    }
}

/// What `reconcile` is invoked with.
pub fn upgrade_event(client_sha: &ClientSha, images: &BTreeMap<RegionName, ImageId>) -> Value {
    json!({"image_upgrade": {"client_sha": client_sha, "images": images}})
}
