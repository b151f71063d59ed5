//! Random histories of the scaling table from a seed.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use shared::ids::{LaunchId, Owner, RegionName};
use shared::lock::{CLOCK_MARGIN, Lease};
use shared::model::{Intent, LaunchRequest, LaunchTally, Refusal};
use shared::report::{Decision, PassOutcome};
use shared::scaling::Plan;
use shared::store::IntentClosure;
use shared::trigger::Trigger;
use testing::{FakeStore, NOW};

use super::sides::Side;
use super::steps::{Action, REGIONS, Step};
use local_stack::random::Random;

/// Makes one step after the other, from a seed and the fake's current items.
#[derive(Debug)]
pub(crate) struct Generator {
    random: Random,
    now: Timestamp,
    /// The second half of a moment that is tested twice.
    planned: Option<Step>,
    /// Every lease that was granted.
    leases: Vec<Lease>,
}

impl Generator {
    pub(crate) fn of(seed: u64) -> Self {
        Self {
            random: Random::new(seed, "store"),
            now: NOW,
            planned: None,
            leases: vec![],
        }
    }

    pub(crate) fn next(&mut self, fake: &Side<FakeStore>) -> Step {
        self.learn(fake);
        if let Some(step) = self.planned.take() {
            self.now = step.at;
            return step;
        }
        if self.random.chance(12)
            && let Some(step) = self.at_a_bound(fake)
        {
            return step;
        }
        let pass = *self.random.pick(&[0, 0, 1, 999, 1_000, 3_000_000]);
        self.now += SignedDuration::from_micros(pass);
        Step {
            at: self.now,
            action: self.action(fake),
        }
    }

    /// Collects the leases that exist, so that old ones are used later.
    fn learn(&mut self, fake: &Side<FakeStore>) {
        for (region, items) in &fake.store.items().regions {
            let Some(held) = &items.lock else { continue };
            let lease = Lease {
                region: region.clone(),
                owner: held.owner.clone(),
                version: held.version,
                expires_at: Timestamp::from_millisecond(held.expires_at).unwrap(),
                decided_at: Timestamp::from_millisecond(held.decided_at).ok(),
            };
            let known = |l: &Lease| {
                (&l.region, &l.owner, l.version) == (&lease.region, &lease.owner, lease.version)
            };
            if !self.leases.iter().any(known) {
                self.leases.push(lease);
            }
        }
    }

    /// The moment when a lease ends for others or a refusal expires, and the moment after it.
    fn at_a_bound(&mut self, fake: &Side<FakeStore>) -> Option<Step> {
        let region = self.region();
        let items = fake.store.items().of(&region).clone();
        let (at, moment, action) = if self.random.chance(60) {
            let expires_at = Timestamp::from_millisecond(items.lock?.expires_at).unwrap();
            let owner = self.owner();
            let action = Action::Acquire(region, owner, Duration::from_secs(5));
            (expires_at + CLOCK_MARGIN, 1_000, action)
        } else {
            let refusals: Vec<_> = items.refusals.values().collect();
            if refusals.is_empty() {
                return None;
            }
            let until = self.random.pick(&refusals).remembered_until();
            (
                until - SignedDuration::from_micros(1),
                1,
                Action::ReadState(region),
            )
        };
        if at < self.now {
            return None;
        }
        self.now = at;
        self.planned = Some(Step {
            at: at + SignedDuration::from_micros(moment),
            action: action.clone(),
        });
        Some(Step { at, action })
    }

    fn action(&mut self, fake: &Side<FakeStore>) -> Action {
        let region = self.region();
        match self.random.below(100) {
            0..18 => {
                let seconds = 1 + self.number(8);
                Action::Acquire(
                    region,
                    self.owner(),
                    Duration::from_millis(999 * u64::from(seconds)),
                )
            }
            18..24 => Action::Mark(region, format!("event-{}", self.random.below(100))),
            24..36 => Action::ReadState(region),
            36..44 if fake.marks() > 0 => {
                let marks = u32::try_from(fake.marks()).unwrap();
                let late = self.number(marks.min(2));
                Action::Clear(region, usize::try_from(marks - 1 - late).unwrap())
            }
            36..45 => Action::HasWakeMark(region),
            45..48 => Action::IsHeld(region),
            48..51 => Action::IsSeen(self.event()),
            51..54 => Action::RecordSeen(self.event()),
            _ => match self.lease(fake) {
                Some(lease) => self.under(lease),
                None => Action::Acquire(region, self.owner(), Duration::from_secs(5)),
            },
        }
    }

    fn under(&mut self, lease: Lease) -> Action {
        match self.random.below(100) {
            0..20 => Action::Release(lease),
            20..30 => Action::AdvancePastFence(lease, self.number(9).into()),
            30..58 => {
                let launches = self.launches_of_batch();
                let intents = launches.into_iter().map(|launch| self.intent(launch));
                let intents = intents.collect();
                Action::Open(lease, intents, self.launches())
            }
            58..64 => {
                let (refused, mut forgotten) = (self.refusal(), self.refusal());
                // One transaction changes an item once: callers see to it.
                if forgotten.key() == refused.key() {
                    forgotten.pool.subnet_id.push('x');
                }
                Action::Refuse(lease, vec![refused], vec![forgotten])
            }
            64..85 => {
                let launches = self.launches_of_batch();
                let closures = launches.into_iter().map(|launch| self.closure(launch));
                let closures = closures.collect();
                Action::Close(lease, closures, self.launches())
            }
            _ => {
                let decision = self.decision(&lease);
                Action::Decide(lease, Box::new(decision))
            }
        }
    }

    /// Mostly a lease that is in force, sometimes an old one.
    fn lease(&mut self, fake: &Side<FakeStore>) -> Option<Lease> {
        if self.leases.is_empty() {
            return None;
        }
        let lease = if self.random.chance(35) {
            self.random.pick(&self.leases).clone()
        } else {
            let mut items = fake.store.items();
            let in_force: Vec<_> = self
                .leases
                .iter()
                .filter(|lease| items.of(&lease.region).check(lease).is_ok())
                .collect();
            if in_force.is_empty() {
                return None;
            }
            (*self.random.pick(&in_force)).clone()
        };
        Some(lease)
    }

    /// From 0 to `limit` - 1.
    fn number(&mut self, limit: u32) -> u32 {
        let limit = usize::try_from(limit).unwrap();
        u32::try_from(self.random.below(limit)).unwrap()
    }

    fn region(&mut self) -> RegionName {
        (*self.random.pick(&REGIONS)).into()
    }

    fn owner(&mut self) -> Owner {
        format!("owner-{}", self.random.below(3)).into()
    }

    fn event(&mut self) -> String {
        format!("event-{}", self.random.below(6))
    }

    /// One to three launches.
    fn launches_of_batch(&mut self) -> BTreeSet<LaunchId> {
        let launches = 0..=self.random.below(3);
        launches
            .map(|_| format!("launch-{}", self.random.below(5)).into())
            .collect()
    }

    fn intent(&mut self, launch_id: LaunchId) -> Intent {
        Intent {
            launch_id,
            client_token: format!("token-{}", self.random.below(1000)).into(),
            created_at: self.now,
            request: LaunchRequest {
                image_id: "ami-1".into(),
                client_sha: "sha".into(),
                instance_type: "c5.large".to_owned(),
                subnet_id: "subnet-a".to_owned(),
                security_group_ids: vec!["sg-1".to_owned()],
                instance_profile: self.random.chance(50).then(|| "hosts".to_owned()),
                user_data: "IyEvYmluL3No\u{e9}\"".to_owned(),
                tags: vec![("Name".to_owned(), "host".to_owned())],
                count: self.number(9),
                capacity: 2,
                spot: self.random.chance(50),
                imds_hop_limit: self.random.chance(50).then_some(1),
                ebs_optimized: self.random.chance(50),
            },
        }
    }

    fn closure(&mut self, launch_id: LaunchId) -> IntentClosure {
        let refusal = self.refusal();
        IntentClosure {
            launch_id,
            outcome: format!("{} of 9 launched", self.random.below(9)),
            refusal: self.random.chance(60).then_some(refusal),
        }
    }

    fn refusal(&mut self) -> Refusal {
        let until = self.now + SignedDuration::from_micros(self.number(20_000_000).into())
            - Refusal::LONGEST_REST;
        let spot = self.random.chance(50);
        let instance_type = *self.random.pick(&["c5.large", "c5"]);
        let subnet = *self.random.pick(&["subnet-a", "subnet-b"]);
        let mut refusal = testing::refusal(spot, instance_type, subnet, until);
        refusal.image = self.random.chance(30).then(|| "ami-1".into());
        refusal.rests = self.number(9);
        refusal
    }

    fn launches(&mut self) -> LaunchTally {
        let mut launches = LaunchTally::default();
        launches.add(self.number(9), self.now);
        launches
    }

    fn decision(&mut self, lease: &Lease) -> Decision {
        Decision {
            region: lease.region.clone(),
            version: lease.version,
            at: self.now,
            id: format!("request-{}", self.random.below(100)),
            trigger: Trigger::Schedule,
            plan: Plan::default(),
            results: vec![],
            outcome: PassOutcome::Done,
            duration_ms: 12,
        }
    }
}
