//! Users in line: more of them than slots, in two regions, with images of three kinds, and with passes
//! that tell them what to expect.

mod flaws;

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use local_stack::random::Random;
use shared::assign::{AssignRequest, ClientBuild, SessionId, SessionLimits, UserId};
use shared::db::Fence;
use shared::ids::{ClientSha, InstanceId, RegionName};
use shared::model::{ExpectedSlots, Forecast, ImageState, NewInstance, Outlook};
use testing::{NOW, SlotStatus, Tables};

use super::steps::{Action, NEW_IMAGE, REGIONS, Set, Step, launch_of};
use super::{assert_distinguished, compared};

const SEEDS: [u64; 4] = [1, 2, 3, 4];
const STEPS: usize = 400;
const USERS: usize = 9;
const MOMENT: SignedDuration = SignedDuration::from_micros(1);

const SHAS: [&str; 2] = ["sha-of-ami-1", "sha-of-ami-2"];
/// Each region and its image, of the instance with that number. The first region has two images of
/// one commit.
const INSTANCES: [(usize, &str); 5] = [
    (0, "ami-1"),
    (0, "ami-2"),
    (1, "ami-2"),
    (1, "ami-1"),
    (0, NEW_IMAGE),
];

fn id(number: usize) -> InstanceId {
    format!("i-{number:02}").into()
}

fn fence(region: usize) -> Fence {
    Fence {
        region: REGIONS[region].into(),
        version: 2,
    }
}

fn instance(number: usize, image: &str) -> NewInstance {
    let sha = if image == NEW_IMAGE {
        SHAS[0].to_owned()
    } else {
        format!("sha-of-{image}")
    };
    NewInstance {
        id: id(number),
        launch_id: launch_of(&id(number)),
        image_id: image.into(),
        client_sha: sha.as_str().into(),
        instance_type: "c5.large".to_owned(),
        subnet_id: Some("subnet-0".to_owned()),
        spot: false,
        capacity: 1 + u32::try_from(number).unwrap() % 2,
        private_ip: "10.0.0.1".parse().ok(),
        public_ip: "203.0.113.1".parse().ok(),
        launched_at: NOW,
    }
}

/// Makes the steps of a history.
struct Rush {
    random: Random,
    now: Timestamp,
    /// Steps that belong together.
    planned: VecDeque<Step>,
    /// When the agents sent heartbeats.
    beat_at: Timestamp,
    /// The last requests, which their users repeat.
    asked: VecDeque<AssignRequest>,
}

impl Rush {
    fn of(seed: u64) -> Self {
        // What comes before the first user.
        let mut actions = vec![
            Action::Upgrade(REGIONS[0].into(), NEW_IMAGE.into(), SHAS[0].into()),
            Action::SetImage(REGIONS[0].into(), NEW_IMAGE.into(), ImageState::Current),
        ];
        actions.extend((0..REGIONS.len()).map(|region| Action::BeginPass(fence(region))));
        for (number, (region, image)) in INSTANCES.into_iter().enumerate() {
            actions.push(Action::Record(fence(region), vec![instance(number, image)]));
            actions.push(Action::Register(id(number), launch_of(&id(number))));
        }
        let at = NOW;
        Self {
            random: Random::new(seed, "line"),
            now: NOW,
            planned: actions
                .into_iter()
                .map(|action| Step { at, action })
                .collect(),
            beat_at: NOW,
            asked: VecDeque::new(),
        }
    }

    fn step(&mut self, tables: &Tables) -> Step {
        let planned = self.planned.pop_front();
        match &planned {
            Some(step) => self.now = step.at,
            None => self.advance(tables),
        }
        let is_quiet = self.now >= self.beat_at + SignedDuration::from_secs(40);
        let action = match planned {
            Some(step) => step.action,
            None if is_quiet => Action::Beats((0..INSTANCES.len()).map(id).collect()),
            None => self.next(tables),
        };
        if matches!(action, Action::Beats(_)) {
            self.beat_at = self.now;
        }
        Step {
            at: self.now,
            action,
        }
    }

    /// The time passes by some seconds, or to a bound, or to a moment beside it.
    fn advance(&mut self, tables: &Tables) {
        let seconds = SignedDuration::from_secs;
        if self.random.chance(75) {
            self.now += SignedDuration::from_millis(*self.random.pick(&[0, 0, 1, 400, 1000, 3000]));
            return;
        }
        let mut bounds: Vec<Timestamp> = vec![];
        for ((_, region, _), waits) in &tables.waiting_users {
            bounds.push(waits.last_at + tables.line_time(region));
        }
        for forecast in tables.line_forecasts.values() {
            bounds.push(forecast.made_at + seconds(120));
            bounds.extend(forecast.steps.iter().map(|(at, _)| *at));
        }
        bounds.extend(tables.region_capacity.values());
        bounds.extend(tables.slots.values().filter_map(|slot| slot.free_from));
        let longest = seconds(if self.random.chance(10) { 120 } else { 20 });
        bounds.retain(|at| *at >= self.now && *at <= self.now + longest);
        if !bounds.is_empty() {
            let at = *self.random.pick(&bounds);
            let beside = *self.random.pick(&[SignedDuration::ZERO, MOMENT, -MOMENT]);
            self.now = self.now.max(at + beside);
        }
    }

    fn next(&mut self, tables: &Tables) -> Action {
        let region = self.random.below(2);
        match self.random.below(100) {
            0..54 => Action::Assign(self.request()),
            54..62 => Action::Observe(REGIONS[region].into()),
            62..64 => Action::BeginPass(fence(region)),
            64..71 => self.forecast(region),
            71 => self.plan_old_forecast(region),
            72..74 => Action::SetRegion(
                REGIONS[region].into(),
                Set {
                    enabled: self.random.chance(75),
                    target_free: 2,
                    swap_when_warm: false,
                },
            ),
            74..76 => Action::Release(fence(region)),
            _ => self.of_slot(tables),
        }
    }

    fn request(&mut self) -> AssignRequest {
        if !self.asked.is_empty() && self.random.chance(65) {
            let place = self.random.below(self.asked.len());
            return self.asked[place].clone();
        }
        let mut regions = REGIONS.map(RegionName::from).to_vec();
        match self.random.below(10) {
            0..5 => {}
            5..8 => regions.reverse(),
            8 => regions.truncate(1),
            _ => {
                regions.remove(0);
            }
        }
        let client = match self.random.below(10) {
            0..6 => ClientBuild::Sha(SHAS[0].into()),
            6..8 => ClientBuild::Sha(SHAS[1].into()),
            _ => ClientBuild::CurrentImage,
        };
        let request = AssignRequest {
            user: UserId::parse(&format!("user-{}", self.random.below(USERS))).unwrap(),
            session: SessionId::parse(&self.random.below(2).to_string()).unwrap(),
            regions,
            client,
            limits: SessionLimits::default(),
        };
        self.asked.push_back(request.clone());
        if self.asked.len() > USERS {
            self.asked.pop_front();
        }
        request
    }

    /// What a pass expects, sometimes one that has lost its lock.
    fn forecast(&mut self, region: usize) -> Action {
        let seconds = SignedDuration::from_secs;
        let mut forecasts = vec![];
        for sha in SHAS {
            let (mut at, mut slots) = (self.now, 0);
            let steps = (0..self.random.below(5)).map(|_| {
                at += SignedDuration::from_millis(*self.random.pick(&[1, 900, 7000, 20_000]));
                slots += 1 + u32::try_from(self.random.below(2)).unwrap();
                ExpectedSlots { at, slots }
            });
            let steps: Vec<_> = steps.collect();
            if !steps.is_empty() {
                let client_sha = ClientSha::from(sha);
                forecasts.push(Forecast { client_sha, steps });
            }
        }
        let mut fence = fence(region);
        fence.version -= i64::from(self.random.chance(5));
        let no_capacity_until = self.now + seconds(20);
        let outlook = Outlook {
            made_at: self.now,
            forecasts,
            no_capacity_until: self.random.chance(50).then_some(no_capacity_until),
        };
        Action::Forecast(fence, outlook)
    }

    /// A forecast that is believed for the last time, and then not any more.
    fn plan_old_forecast(&mut self, region: usize) -> Action {
        let seconds = SignedDuration::from_secs;
        let steps = vec![ExpectedSlots {
            at: self.now + seconds(200),
            slots: 20,
        }];
        let forecast = |sha| Forecast {
            client_sha: ClientSha::from(sha),
            steps: steps.clone(),
        };
        let outlook = Outlook {
            made_at: self.now,
            forecasts: SHAS.map(forecast).to_vec(),
            no_capacity_until: None,
        };
        let moments = [
            seconds(40),
            seconds(80),
            seconds(120),
            seconds(120) + MOMENT,
        ];
        for (number, moment) in moments.into_iter().enumerate() {
            let beats = Action::Beats((0..INSTANCES.len()).map(id).collect());
            let mut actions = vec![];
            if number < 2 {
                actions.push(beats);
            } else {
                actions.extend((0..3).map(|_| Action::Assign(self.request())));
            }
            let at = self.now + moment;
            let steps = actions.into_iter().map(|action| Step { at, action });
            self.planned.extend(steps);
        }
        Action::Forecast(fence(region), outlook)
    }

    /// The next step in the life of an occupied slot.
    fn of_slot(&mut self, tables: &Tables) -> Action {
        let occupied = tables.slots.iter();
        let occupied: Vec<_> = occupied
            .filter(|(_, slot)| slot.status != SlotStatus::Waiting)
            .collect();
        if occupied.is_empty() {
            return Action::Assign(self.request());
        }
        let (slot, row) = *self.random.pick(&occupied);
        let (slot, launch) = (slot.clone(), launch_of(&row.instance_id));
        match row.status {
            SlotStatus::Dying => Action::Replace(slot, launch),
            SlotStatus::Connecting | SlotStatus::Running => {
                // Sessions that end quickly would keep the slots from being free.
                let lived = row.claimed_at.unwrap() + SignedDuration::from_secs(10);
                self.now = self.now.max(lived);
                Action::Report(slot, SlotStatus::Dying, launch)
            }
            SlotStatus::Allocated | SlotStatus::Waiting => {
                let (user, session) = row.user.clone().unwrap_or_default();
                Action::Claim {
                    slot,
                    user,
                    session,
                    launch,
                }
            }
        }
    }
}

#[tokio::test]
async fn postgresql_and_its_fake_keep_the_same_line() {
    let all = compared(&SEEDS, STEPS, |seed| {
        let mut rush = Rush::of(seed);
        move |tables: &Tables| rush.step(tables)
    })
    .await;
    assert_distinguished(&all, flaws::all()).await;
}
