//! What a seed decides before anything happens: the regions, their settings, how much goes on.

use std::time::Duration;

use jiff::SignedDuration;
use shared::ids::RegionName;
use shared::model::{Image, ImageState};
use shared::pass::PassLimits;
use shared::settings::{LaunchChoice, RegionSettings, Selector, Timeouts};
use testing::{TokenEnds, image, settings};

use crate::dice::Dice;
use crate::rollouts::{self, Rolling};
use crate::world::{LIMITS, World};

const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-south-1"];

#[derive(Clone, Debug)]
pub struct Scenario {
    pub regions: Vec<RegionSettings>,
    /// How long things may go wrong, in minutes.
    pub storm_minutes: u64,
    /// The mean time from one user to the next, in milliseconds.
    pub user_every: u64,
    /// The longest session, in seconds.
    pub longest_session: u64,
    pub limits: PassLimits,
    pub token_ends: TokenEnds,
    /// How long a user has to claim a slot.
    pub claim: SignedDuration,
    /// What each region boots from at first.
    pub images: Vec<Image>,
    /// None in a run without upgrades.
    pub rolling: Option<Rolling>,
}

impl Scenario {
    pub fn drawn(dice: &mut Dice) -> Self {
        let count = *dice.pick(&[1, 1, 1, 2, 2, 3]);
        let regions = REGIONS[..count]
            .iter()
            .map(|name| region(name, dice))
            .collect();
        let scenario = Self {
            regions,
            storm_minutes: dice.between(2..=6),
            user_every: *dice.pick(&[3000, 10_000, 30_000, 90_000]),
            longest_session: *dice.pick(&[20, 90, 400]),
            limits: limits(dice),
            token_ends: *dice.pick(&[TokenEnds::WithAll, TokenEnds::WithAny]),
            claim: SignedDuration::from_secs(*dice.pick(&[20, 45, 90])),
            images: (0..count).map(rollouts::first_image).collect(),
            rolling: Rolling::drawn(dice),
        };
        scenario.with_upgrades(dice)
    }

    /// Drawn last: what is drawn for a run without upgrades is what it always was.
    fn with_upgrades(mut self, dice: &mut Dice) -> Self {
        if let Some(rolling) = &mut self.rolling {
            self.storm_minutes += dice.between(0..=4);
            for settings in &mut self.regions {
                settings.upgrades = rollouts::upgrades(dice);
            }
            rolling.from_nothing = dice.chance(100);
        }
        self
    }

    /// One region, and nobody comes.
    pub fn quiet(settings: RegionSettings) -> Self {
        Self {
            regions: vec![settings],
            storm_minutes: 0,
            user_every: 60_000,
            longest_session: 60,
            limits: LIMITS,
            token_ends: TokenEnds::WithAll,
            claim: SignedDuration::from_secs(90),
            images: vec![image("ami-1", ImageState::Current)],
            rolling: None,
        }
    }

    /// Puts the regions and their image where passes find them.
    pub fn furnish(&self, world: &mut World) {
        world.limits = self.limits;
        let tables = &mut world.database.rows().tables;
        for (settings, image) in self.regions.iter().zip(&self.images) {
            world.host(&settings.name).state().ec2.token_ends = self.token_ends;
            let region = settings.name.clone();
            tables.add_region(settings.clone());
            if let Some(row) = tables.regions.get_mut(&region) {
                row.claim = self.claim;
            }
            if !self.rolling.as_ref().is_some_and(|r| r.from_nothing) {
                tables.add_image(&region, image.clone());
            }
        }
    }

    /// What a region boots from at first.
    ///
    /// # Panics
    /// When there is no such region.
    pub fn first_image(&self, region: &RegionName) -> Image {
        let place = self.regions.iter().position(|r| r.name == *region);
        self.images[place.unwrap_or(usize::MAX)].clone()
    }

    pub fn names(&self) -> Vec<RegionName> {
        self.regions
            .iter()
            .map(|region| region.name.clone())
            .collect()
    }
}

/// Mostly production's; else short ones, so that leases expire under passes at work. A lease is
/// ten seconds longer than the budget at least, as the settings of a function demand.
fn limits(dice: &mut Dice) -> PassLimits {
    let seconds = Duration::from_secs;
    let short = PassLimits {
        budget: seconds(dice.between(3..=20)),
        lease: seconds(dice.between(30..=40)),
        ec2_call: LIMITS.ec2_call,
    };
    if dice.chance(300) { short } else { LIMITS }
}

fn region(name: &str, dice: &mut Dice) -> RegionSettings {
    let target_free = number(dice, 0..=6);
    let launch_choices = (1..=dice.between(1..=3))
        .map(|n| LaunchChoice {
            spot: false,
            instance_type: format!("type-{}", dice.between(1..=2)),
            capacity: number(dice, 1..=4),
            subnet: if dice.chance(200) {
                let (key, value) = ("tier".to_owned(), format!("subnet-{name}-{n}"));
                Selector::Tag { key, value }
            } else {
                Selector::Id(format!("subnet-{name}-{n}"))
            },
        })
        .collect();
    RegionSettings {
        name: name.into(),
        target_free,
        max_instances: number(dice, 1..=8),
        scale_up_step: number(dice, 0..=2),
        scale_down_step: number(dice, 0..=2),
        launch_choices,
        timeouts: waits(dice),
        ..settings()
    }
}

/// Shorter than in production, so that a few minutes show what takes hours there; each is still
/// longer than what it waits for.
pub fn waits(dice: &mut Dice) -> Timeouts {
    let mut seconds = |of: &[i64]| SignedDuration::from_secs(*dice.pick(of));
    Timeouts {
        heartbeat: seconds(&[40, 60]),
        lost: seconds(&[100, 150, 240]),
        boot: seconds(&[90, 150, 240]),
        drain: seconds(&[30, 90, 180]),
        missing: seconds(&[60, 120]),
        // Longer than listings ever lag here.
        orphan: seconds(&[100, 180]),
    }
}

fn number(dice: &mut Dice, range: std::ops::RangeInclusive<u64>) -> u32 {
    u32::try_from(dice.between(range)).unwrap_or_default()
}
