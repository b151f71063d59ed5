//! Ends of sessions: limits, activity, users and operators who end sessions, and drains with a deadline.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use local_stack::random::Random;
use shared::assign::{AssignRequest, ClientBuild, SessionId, SessionLimits, UserId};
use shared::db::Fence;
use shared::ids::{InstanceId, RegionName};
use shared::model::{DrainCause, InstanceStatus, NewInstance, TerminateIf};
use shared::settings::Endings;
use testing::{NOW, SlotStatus, Tables};

use super::steps::{Action, REGIONS, Step, launch_of};
use super::{Flaw, assert_distinguished, compared};

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
const STEPS: usize = 400;
const USERS: usize = 5;
/// As many serve users.
const INSTANCES: usize = 3;
const MOMENT: SignedDuration = SignedDuration::from_micros(1);

const fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

struct History {
    random: Random,
    now: Timestamp,
    planned: VecDeque<Action>,
    launched: usize,
    /// When the agents sent heartbeats.
    beat_at: Timestamp,
}

fn fence() -> Fence {
    Fence {
        region: REGIONS[0].into(),
        version: 1,
    }
}

fn new_instance(id: InstanceId) -> NewInstance {
    NewInstance {
        launch_id: launch_of(&id),
        id,
        image_id: "ami-1".into(),
        client_sha: "sha-of-ami-1".into(),
        instance_type: "c5.large".to_owned(),
        subnet_id: Some("subnet-0".to_owned()),
        spot: false,
        capacity: 3,
        private_ip: "10.0.0.1".parse().ok(),
        public_ip: None,
        launched_at: NOW,
    }
}

impl History {
    fn of(seed: u64) -> Self {
        Self {
            random: Random::new(seed, "endings"),
            now: NOW,
            planned: VecDeque::from([Action::BeginPass(fence())]),
            launched: 0,
            beat_at: NOW,
        }
    }

    fn step(&mut self, tables: &Tables) -> Step {
        if self.planned.is_empty() {
            self.replace_instances(tables);
        }
        let action = match self.planned.pop_front() {
            Some(action) => action,
            None => {
                self.advance(tables);
                // Silent instances are not compared here.
                match self.now >= self.beat_at + seconds(60) {
                    true => Action::Beats(tables.instances.keys().cloned().collect()),
                    false => self.next(tables),
                }
            }
        };
        if matches!(action, Action::Beats(_)) {
            self.beat_at = self.now;
        }
        Step {
            at: self.now,
            action,
        }
    }

    fn replace_instances(&mut self, tables: &Tables) {
        let rows = tables.instances.values();
        let active = rows.filter(|row| row.status == InstanceStatus::Active);
        for _ in active.count()..INSTANCES {
            let id = InstanceId::from(format!("i-{:03}", self.launched));
            self.launched += 1;
            self.planned
                .push_back(Action::Record(fence(), vec![new_instance(id.clone())]));
            let launch = launch_of(&id);
            self.planned.push_back(Action::Register(id, launch));
        }
    }

    /// The time passes by some seconds, or to a bound, or to a moment beside it.
    fn advance(&mut self, tables: &Tables) {
        if self.random.chance(60) {
            self.now += seconds(*self.random.pick(&[0, 0, 1, 3, 11]));
            return;
        }
        let region = RegionName::from(REGIONS[0]);
        let endings = tables.regions[&region].settings.endings;
        let mut bounds = vec![];
        for slot in tables.slots.values() {
            let drain = tables.instances[&slot.instance_id]
                .draining_since
                .zip(endings.drain_deadline);
            let longest = slot.claimed_at.zip(endings.max_session);
            let idle = slot.user_active_at.zip(endings.max_idle);
            for (since, max) in drain.into_iter().chain(longest).chain(idle) {
                bounds.push(since + max);
                bounds.push(since + max - endings.warning - seconds(60));
                bounds.push(since + max + seconds(90));
            }
            bounds.extend(slot.end.map(|(_, by)| by + seconds(90)));
            bounds.extend(slot.user_active_at.map(|at| at + seconds(10)));
        }
        bounds.retain(|at| *at >= self.now && *at <= self.now + seconds(80));
        if !bounds.is_empty() {
            let beside = *self.random.pick(&[SignedDuration::ZERO, MOMENT, -MOMENT]);
            self.now = self.now.max(*self.random.pick(&bounds) + beside);
        }
    }

    fn next(&mut self, tables: &Tables) -> Action {
        match self.random.below(100) {
            0..16 => Action::Assign(self.request()),
            16..40 => self.of_slot(tables),
            40..52 => self.of_agent(tables),
            52..66 => Action::MarkEnds(fence()),
            66..74 => Action::Observe(REGIONS[0].into()),
            74..80 => {
                let held = tables.slots.values().filter_map(|slot| slot.user.clone());
                let mut all: Vec<_> = held.collect();
                all.extend(
                    tables
                        .waiting_users
                        .iter()
                        .map(|((user, ..), waits)| (user.clone(), waits.session.clone())),
                );
                all.push(("nobody".to_owned(), "0".to_owned()));
                let (user, session) = self.random.pick(&all).clone();
                Action::End {
                    user,
                    session,
                    by_operator: self.random.chance(40),
                }
            }
            80..84 => {
                let endings = self.endings();
                Action::SetEndings(REGIONS[0].into(), endings)
            }
            84..86 => Action::DrainByHand(self.instance(tables)),
            86..89 => {
                let causes = [DrainCause::Image, DrainCause::MaxAge, DrainCause::Surplus];
                let cause = *self.random.pick(&causes);
                Action::Drain(fence(), vec![self.instance(tables)], cause)
            }
            89..96 => {
                let draining = tables.instances.iter();
                let draining = draining.filter(|(_, row)| row.status == InstanceStatus::Draining);
                let mut ids: Vec<_> = draining.map(|(id, _)| id.clone()).collect();
                ids.push(self.instance(tables));
                Action::Terminate(fence(), ids, TerminateIf::Deadline)
            }
            96..98 => Action::Release(fence()),
            _ => Action::Beats(tables.instances.keys().cloned().collect()),
        }
    }

    fn instance(&mut self, tables: &Tables) -> InstanceId {
        let ids: Vec<_> = tables.instances.keys().cloned().collect();
        match ids.is_empty() {
            true => "i-none".into(),
            false => self.random.pick(&ids).clone(),
        }
    }

    fn endings(&mut self) -> Endings {
        let mut limit = |of: &[i64]| {
            let is_set = self.random.chance(60);
            is_set.then(|| seconds(*self.random.pick(of)))
        };
        Endings {
            max_session: limit(&[60, 200]),
            max_idle: limit(&[20, 100]),
            warning: limit(&[1, 45]).unwrap_or(seconds(60)),
            drain_deadline: limit(&[30, 150]),
            max_age: limit(&[700]),
        }
    }

    fn request(&mut self) -> AssignRequest {
        let user = format!("user-{}", self.random.below(USERS));
        let session = self.random.below(3).to_string();
        let mut limit = |of: &[u32]| self.random.chance(30).then(|| *self.random.pick(of));
        AssignRequest {
            user: UserId::parse(&user).unwrap(),
            session: SessionId::parse(&session).unwrap(),
            regions: vec![REGIONS[0].into()],
            client: ClientBuild::CurrentImage,
            limits: SessionLimits {
                max_session_seconds: limit(&[50, 90, 1000]),
                max_idle_seconds: limit(&[15, 300]),
            },
        }
    }

    /// What an agent says, or what it is told.
    fn of_agent(&mut self, tables: &Tables) -> Action {
        let slots: Vec<_> = tables.slots.iter().collect();
        if slots.is_empty() {
            return Action::Regions;
        }
        let (slot, row) = *self.random.pick(&slots);
        let (id, launch) = (row.instance_id.clone(), launch_of(&row.instance_id));
        if self.random.chance(40) {
            return Action::Ends(id, launch);
        }
        // Sometimes of an instance that is not its own.
        let id = match self.random.chance(10) {
            true => self.instance(tables),
            false => id,
        };
        let idle = *self.random.pick(&[0, 0, 5, 14, 60, 1000]);
        let launch = launch_of(&id);
        Action::Idle(id, launch, slot.clone(), idle)
    }

    /// The next step in the life of an occupied slot.
    fn of_slot(&mut self, tables: &Tables) -> Action {
        let occupied = tables.slots.iter();
        let occupied = occupied.filter(|(_, slot)| slot.status != SlotStatus::Waiting);
        let occupied: Vec<_> = occupied.collect();
        if occupied.is_empty() {
            return Action::Assign(self.request());
        }
        let (slot, row) = *self.random.pick(&occupied);
        let (slot, launch) = (slot.clone(), launch_of(&row.instance_id));
        match row.status {
            SlotStatus::Dying => Action::Replace(slot, launch),
            SlotStatus::Connecting => Action::Report(slot, SlotStatus::Running, launch),
            SlotStatus::Running if self.random.chance(75) => {
                Action::Idle(row.instance_id.clone(), launch, slot, 12)
            }
            SlotStatus::Running => Action::Report(slot, SlotStatus::Dying, launch),
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

fn flaws() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result("the limits of a request are forgotten", |_, now, _, _| {
            for slot in now.slots.values_mut() {
                slot.limits = SessionLimits::default();
            }
        }),
        Flaw::wrong_result("an end is written a moment later", |was, now, step, _| {
            if matches!(step.action, Action::MarkEnds(_)) {
                for (id, slot) in &mut now.slots {
                    if was.slots.get(id).is_some_and(|was| was.end != slot.end) {
                        slot.end = slot.end.map(|(cause, by)| (cause, by + MOMENT));
                    }
                }
            }
        }),
        Flaw::wrong_result("who is active again ends anyway", |was, now, step, _| {
            if matches!(step.action, Action::Idle(..)) {
                for (id, slot) in &mut now.slots {
                    slot.end = slot.end.or(was.slots.get(id).and_then(|slot| slot.end));
                }
            }
        }),
        Flaw::wrong_result("every activity is written", |was, now, step, _| {
            if let Action::Idle(_, _, slot, idle) = &step.action
                && let Some(before) = was.slots.get(slot)
                && let Some(row) = now.slots.get_mut(slot)
                && before.user_active_at.is_some()
            {
                let said = step.at - seconds((*idle).into());
                row.user_active_at = row.user_active_at.max(Some(said));
            }
        }),
        Flaw::wrong_result("a user's end is an operator's", |_, now, step, _| {
            if let Action::End { user, session, .. } = &step.action {
                for slot in now.slots.values_mut().filter(|it| it.is_of(user, session)) {
                    slot.end = slot.end.map(|(_, by)| (testing::EndCause::Operator, by));
                }
            }
        }),
        Flaw::wrong_result("a deadline needs no warning", |_, now, step, answer| {
            if let Action::Terminate(_, ids, _) = &step.action
                && answer.contains("Occupied")
            {
                for id in ids {
                    if let Some(row) = now.instances.get_mut(id)
                        && row.drain_cause.is_some_and(DrainCause::has_deadline)
                    {
                        row.status = InstanceStatus::Terminating;
                    }
                }
            }
        }),
    ]
}

#[tokio::test]
async fn postgresql_and_its_fake_end_sessions_alike() {
    let all = compared(&SEEDS, STEPS, |seed| {
        let mut history = History::of(seed);
        move |tables: &Tables| history.step(tables)
    })
    .await;
    assert_distinguished(&all, flaws()).await;
}
