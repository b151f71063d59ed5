//! What a seed decides before the run starts: the regions, their settings, how many users come.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use shared::ids::RegionName;
use shared::model::{Image, ImageState};
use shared::pass::PassLimits;
use shared::settings::{
    ADAPTIVE, AddressSource, LaunchChoice, RegionSettings, Schedule, ScheduleKind, Selector,
    Timeouts,
};
use testing::{TokenEnds, image, settings};

use crate::builds::{self, ReleaseSettings};
use crate::endings;
use crate::random::Random;
use crate::world::{LIMITS, World};

const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-south-1"];

#[derive(Clone, Debug)]
pub struct Scenario {
    pub regions: Vec<RegionSettings>,
    /// How long faults may occur, in minutes.
    pub fault_minutes: u64,
    /// The mean time between two users, in milliseconds.
    pub user_interval: u64,
    /// The longest session, in seconds.
    pub longest_session: u64,
    pub limits: PassLimits,
    pub token_ends: TokenEnds,
    /// How long a user may take to claim a slot.
    pub claim: SignedDuration,
    /// The image from which each region boots at the start.
    pub images: Vec<Image>,
    /// None in a run without upgrades.
    pub releases: Option<ReleaseSettings>,
    /// Sessions are ended by limits, deadlines, users and operators.
    pub ends_sessions: bool,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn random(random: &mut Random) -> Self {
        let count = *random.pick(&[1, 1, 1, 2, 2, 3]);
        let regions = REGIONS[..count]
            .iter()
            .map(|name| random_region(name, random))
            .collect();
        let scenario = Self {
            regions,
            fault_minutes: random.between(2..=6),
            user_interval: *random.pick(&[3000, 10_000, 30_000, 90_000]),
            longest_session: *random.pick(&[20, 90, 400]),
            limits: random_limits(random),
            token_ends: *random.pick(&[TokenEnds::WithAll, TokenEnds::WithAny]),
            claim: SignedDuration::from_secs(*random.pick(&[20, 45, 90])),
            images: (0..count).map(builds::first_image).collect(),
            releases: ReleaseSettings::random(random),
            ends_sessions: false,
        };
        // Of a stream of their own, so that the other choices of a seed stay the same.
        let mut own = random.clone().fork();
        scenario.with_upgrades(random).with_endings(&mut own)
    }

    fn with_endings(mut self, random: &mut Random) -> Self {
        self.ends_sessions = random.chance(300);
        if self.ends_sessions {
            for settings in &mut self.regions {
                settings.endings = endings::random_endings(settings, random);
            }
        }
        self
    }

    /// Draws what only a run with upgrades needs.
    fn with_upgrades(mut self, random: &mut Random) -> Self {
        if let Some(releases) = &mut self.releases {
            self.fault_minutes += random.between(0..=4);
            for settings in &mut self.regions {
                settings.upgrades = builds::random_upgrade_settings(random);
            }
            releases.without_images = random.chance(100);
        }
        self
    }

    /// One region without users.
    pub fn quiet(settings: RegionSettings) -> Self {
        Self {
            regions: vec![settings],
            fault_minutes: 0,
            user_interval: 60_000,
            longest_session: 60,
            limits: LIMITS,
            token_ends: TokenEnds::WithAll,
            claim: SignedDuration::from_secs(90),
            images: vec![image("ami-1", ImageState::Current)],
            releases: None,
            ends_sessions: false,
        }
    }

    /// Creates the regions and their images in the world.
    pub fn set_up(&self, world: &mut World) {
        world.limits = self.limits;
        let tables = &mut world.database.rows().tables;
        for (settings, image) in self.regions.iter().zip(&self.images) {
            world.host(&settings.name).state().ec2.token_ends = self.token_ends;
            let region = settings.name.clone();
            tables.add_region(settings.clone());
            if let Some(row) = tables.regions.get_mut(&region) {
                row.claim = self.claim;
            }
            if !self.releases.as_ref().is_some_and(|r| r.without_images) {
                tables.add_image(&region, image.clone());
            }
        }
    }

    /// The image from which a region boots at the start.
    ///
    /// # Panics
    /// When the region does not exist.
    pub fn first_image(&self, region: &RegionName) -> Image {
        let place = self.regions.iter().position(|r| r.name == *region);
        self.images[place.unwrap_or(usize::MAX)].clone()
    }

    pub fn region_names(&self) -> Vec<RegionName> {
        self.regions
            .iter()
            .map(|region| region.name.clone())
            .collect()
    }
}

/// Mostly those of production; otherwise short ones, so that leases expire while passes run. A
/// lease is at least ten seconds longer than the budget, as the settings of a function require.
fn random_limits(random: &mut Random) -> PassLimits {
    let seconds = Duration::from_secs;
    let short = PassLimits {
        budget: seconds(random.between(3..=20)),
        lease: seconds(random.between(30..=40)),
        ec2_call: LIMITS.ec2_call,
    };
    if random.chance(300) { short } else { LIMITS }
}

fn random_region(name: &str, random: &mut Random) -> RegionSettings {
    let target_free = random_number(random, 0..=6);
    let launch_choices = (1..=random.between(1..=3))
        .map(|n| LaunchChoice {
            spot: false,
            instance_type: format!("type-{}", random.between(1..=2)),
            capacity: random_number(random, 1..=4),
            subnet: if random.chance(200) {
                let (key, value) = ("tier".to_owned(), format!("subnet-{name}-{n}"));
                Selector::Tag { key, value }
            } else {
                Selector::Id(format!("subnet-{name}-{n}"))
            },
        })
        .collect();
    let max_instances = random_number(random, 1..=8);
    // One in three, by what is drawn anyway: the other regions of a seed stay as they are.
    let algorithm = match (target_free + max_instances) % 3 {
        0 => ADAPTIVE,
        _ => "default",
    };
    RegionSettings {
        name: name.into(),
        algorithm: algorithm.to_owned(),
        target_free,
        max_instances,
        scale_up_step: random_number(random, 0..=2),
        scale_down_step: random_number(random, 0..=2),
        launches_per_hour: *random.pick(&[None, Some(0), Some(0), Some(10)]),
        line_seconds: *random.pick(&[5, 15, 15, 30]),
        launch_choices,
        // Some regions wait for what EC2 assigns only after the launch.
        addresses: match target_free % 3 {
            0 => AddressSource::Public,
            _ => AddressSource::Private,
        },
        timeouts: random_timeouts(random),
        ..settings()
    }
}

/// A schedule that begins or ends about a time, or none.
pub(crate) fn random_schedule(about: Timestamp, random: &mut Random) -> Option<Schedule> {
    let kind = *random.pick(&[ScheduleKind::Floor, ScheduleKind::Fixed]);
    let slots = random_number(random, 0..=8);
    let mut minutes = |range| {
        let minutes = i64::from(random_number(random, range));
        let at = about + SignedDuration::from_mins(minutes - 10);
        at.to_zoned(TimeZone::UTC).time()
    };
    let schedule = Schedule {
        from: minutes(0..=15),
        until: minutes(16..=40),
        ..testing::schedule(1, kind, slots, ("00:00", "00:01"))
    };
    random.chance(700).then_some(schedule)
}

/// Shorter than in production, so that a few minutes show what takes hours there. Each is still
/// longer than what it waits for.
fn random_timeouts(random: &mut Random) -> Timeouts {
    let mut seconds = |of: &[i64]| SignedDuration::from_secs(*random.pick(of));
    Timeouts {
        heartbeat: seconds(&[40, 60]),
        lost: seconds(&[100, 150, 240]),
        boot: seconds(&[90, 150, 240]),
        drain: seconds(&[30, 90, 180]),
        missing: seconds(&[60, 120]),
        // Longer than listings ever lag in the simulation.
        orphan: seconds(&[100, 180]),
    }
}

fn random_number(random: &mut Random, range: std::ops::RangeInclusive<u64>) -> u32 {
    u32::try_from(random.between(range)).unwrap_or_default()
}
