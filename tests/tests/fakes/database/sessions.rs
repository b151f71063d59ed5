//! How sessions end, with more users than the other histories have: cool-downs, users who are not sent
//! back, slots that are held too long, and their bounds of time.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use local_stack::random::Random;
use shared::assign::{AssignRequest, ClientBuild, SessionId, SessionLimits, UserId};
use shared::db::Fence;
use shared::ids::InstanceId;
use shared::model::NewInstance;
use testing::{NOW, SlotRow, SlotStatus, Tables};

use super::steps::{Action, REGIONS, Step, launch_of};
use super::{Flaw, assert_distinguished, compared};

/// The last three are of a region where all sessions are short.
const SEEDS: [u64; 7] = [1, 2, 3, 4, 5, 6, 7];
const STEPS: usize = 400;
const INSTANCES: usize = 4;
const USERS: usize = 9;
const MOMENT: SignedDuration = SignedDuration::from_micros(1);

/// Makes the steps of a history: a few instances, many users.
struct Sessions {
    random: Random,
    now: Timestamp,
    all_short: bool,
    /// Steps that belong together.
    planned: VecDeque<Step>,
    /// When the agents sent heartbeats.
    beat_at: Timestamp,
}

fn id(number: usize) -> InstanceId {
    format!("i-{number:02}").into()
}

fn fence() -> Fence {
    Fence {
        region: REGIONS[0].into(),
        version: 1,
    }
}

fn instances() -> Vec<NewInstance> {
    let row = |number: usize| NewInstance {
        id: id(number),
        launch_id: launch_of(&id(number)),
        image_id: "ami-1".into(),
        client_sha: "sha-of-ami-1".into(),
        instance_type: "c5.large".to_owned(),
        subnet_id: Some("subnet-0".to_owned()),
        spot: false,
        capacity: 3,
        private_ip: "10.0.0.1".parse().ok(),
        public_ip: None,
        launched_at: NOW,
    };
    (0..INSTANCES).map(row).collect()
}

fn asks(user: &str, session: &str) -> AssignRequest {
    AssignRequest {
        user: UserId::parse(user).unwrap(),
        session: SessionId::parse(session).unwrap(),
        regions: vec![REGIONS[0].into()],
        client: ClientBuild::CurrentImage,
        limits: SessionLimits::default(),
    }
}

impl Sessions {
    fn of(seed: u64) -> Self {
        // What comes before the first session.
        let mut actions = vec![
            Action::BeginPass(fence()),
            Action::Record(fence(), instances()),
        ];
        actions.extend((0..INSTANCES).map(|n| Action::Register(id(n), launch_of(&id(n)))));
        let at = NOW;
        Self {
            random: Random::new(seed, "sessions"),
            now: NOW,
            all_short: seed > 4,
            planned: actions
                .into_iter()
                .map(|action| Step { at, action })
                .collect(),
            beat_at: NOW,
        }
    }

    fn step(&mut self, tables: &Tables) -> Step {
        let planned = self.planned.pop_front();
        if let Some(step) = &planned {
            self.now = step.at;
        } else {
            self.advance(tables);
        }
        let at = self.now;
        let is_quiet = at >= self.beat_at + SignedDuration::from_secs(60);
        let action = match planned {
            Some(step) => step.action,
            None if is_quiet => Action::Beats((0..INSTANCES).map(id).collect()),
            None => self.next(tables),
        };
        if matches!(action, Action::Beats(_)) {
            self.beat_at = at;
        }
        Step { at, action }
    }

    /// The time passes by some seconds, or to the bound of an age, or to a moment beside it.
    fn advance(&mut self, tables: &Tables) {
        let seconds = SignedDuration::from_secs;
        if self.all_short {
            self.now += seconds(*self.random.pick(&[0, 0, 0, 0, 0, 0, 1]));
            return;
        }
        if self.random.chance(50) {
            self.now += seconds(*self.random.pick(&[0, 0, 0, 1, 2, 5]));
            return;
        }
        let mut bounds = vec![];
        for (id, slot) in &tables.slots {
            let mut add = |at: Option<Timestamp>, after| {
                bounds.extend(at.map(|at| (at + seconds(after), id, slot)));
            };
            add(slot.free_from, 0);
            add(slot.free_from, 600);
            add(slot.claimed_at, 10);
            add(slot.claimed_at, 60);
            add(slot.allocated_at, 90);
            add(slot.first_allocated_at, 270);
        }
        let longest = seconds(if self.random.chance(10) { 700 } else { 70 });
        bounds.retain(|(at, ..)| *at >= self.now && *at <= self.now + longest);
        if bounds.is_empty() {
            return;
        }
        let (at, slot, row) = *self.random.pick(&bounds);
        let beside = *self.random.pick(&[SignedDuration::ZERO, MOMENT, -MOMENT]);
        self.now = self.now.max(at + beside);
        if matches!(row.status, SlotStatus::Connecting | SlotStatus::Running) {
            let launch = launch_of(&row.instance_id);
            self.planned.push_back(Step {
                at: self.now,
                action: Action::Report(slot.clone(), SlotStatus::Dying, launch),
            });
        }
    }

    fn next(&mut self, tables: &Tables) -> Action {
        match self.random.below(100) {
            0..30 => Action::Assign(self.request(tables)),
            30..34 => Action::Release(fence()),
            34..40 => Action::Observe(REGIONS[0].into()),
            _ => self.of_slot(tables),
        }
    }

    fn request(&mut self, tables: &Tables) -> AssignRequest {
        let held = tables.slots.values().filter(|it| it.status.is_held());
        let held: Vec<_> = held.filter_map(|it| it.user.clone()).collect();
        // This one asks again and again, and never connects.
        let persistent = ("user-0".to_owned(), "0".to_owned());
        let (user, session) = if self.random.chance(25) {
            persistent
        } else if !held.is_empty() && self.random.chance(20) {
            self.random.pick(&held).clone()
        } else {
            let user = format!("user-{}", self.random.below(USERS));
            (user, format!("{}", self.random.below(2)))
        };
        asks(&user, &session)
    }

    /// The persistent user repeats the request until the slot is taken from them, while others take
    /// all that is free.
    fn plan_until_held_too_long(&mut self, first: Timestamp) {
        let again = || Action::Assign(asks("user-0", "0"));
        let mut plan = |seconds, action| {
            let at = first + SignedDuration::from_secs(seconds);
            self.planned.push_back(Step { at, action });
        };
        for seconds in [80, 160, 240, 265] {
            plan(seconds, Action::Beats((0..INSTANCES).map(id).collect()));
            plan(seconds, again());
        }
        for user in 1..USERS {
            for session in ["0", "1"] {
                plan(265, Action::Assign(asks(&format!("user-{user}"), session)));
            }
        }
        for _ in 0..2 {
            plan(270, again());
        }
        // The others leave the line. The slot is free for anybody but the first in it.
        plan(284, again());
        plan(286, Action::Assign(asks("newcomer", "0")));
    }

    /// The next step in the life of an occupied slot.
    fn of_slot(&mut self, tables: &Tables) -> Action {
        let occupied = tables.slots.iter();
        let occupied: Vec<_> = occupied
            .filter(|(_, slot)| slot.status != SlotStatus::Waiting)
            .collect();
        if occupied.is_empty() {
            return Action::Assign(self.request(tables));
        }
        let (slot, row) = *self.random.pick(&occupied);
        let (slot, launch) = (slot.clone(), launch_of(&row.instance_id));
        match row.status {
            SlotStatus::Dying => Action::Replace(slot, launch),
            SlotStatus::Connecting if self.random.chance(50) => {
                Action::Report(slot, SlotStatus::Running, launch)
            }
            SlotStatus::Connecting | SlotStatus::Running => {
                Action::Report(slot, SlotStatus::Dying, launch)
            }
            SlotStatus::Allocated if row.is_of("user-0", "0") => {
                let first = row.first_allocated_at.unwrap();
                let is_early = self.now < first + SignedDuration::from_secs(80);
                if !self.all_short && is_early && self.random.chance(6) {
                    self.plan_until_held_too_long(first);
                }
                Action::Assign(self.request(tables))
            }
            // Users of the first instance never get through.
            SlotStatus::Allocated if row.instance_id == id(0) && self.random.chance(80) => {
                Action::Release(fence())
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

fn is_assign(step: &Step) -> bool {
    matches!(step.action, Action::Assign(_))
}

/// Only while a session's end is reported.
fn shift_claims(tables: &mut Tables, step: &Step, by: SignedDuration) {
    if let Action::Report(slot, SlotStatus::Dying, _) = &step.action
        && let Some(slot) = tables.slots.get_mut(slot)
    {
        slot.claimed_at = slot.claimed_at.map(|at| at + by);
    }
}

fn flaws() -> Vec<Flaw> {
    let mut flaws = of_slots();
    flaws.extend(of_users());
    flaws
}

fn of_slots() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result("replaced slots are free at once", |was, now, step, _| {
            if matches!(step.action, Action::Replace(..)) {
                let new = now.slots.iter_mut();
                new.filter(|(id, _)| !was.slots.contains_key(*id))
                    .for_each(|(_, slot)| slot.free_from = None);
            }
        }),
        Flaw::wrong_meanwhile(
            "the region's norm does not matter",
            |tables, step| {
                if let Action::Replace(slot, _) = &step.action
                    && let Some(host) = tables.slots.get(slot).map(|slot| slot.instance_id.clone())
                {
                    tables.session_ends.retain(|id, _| *id == host);
                }
            },
            |was, now, step, _| {
                if matches!(step.action, Action::Replace(..)) {
                    for (id, ends) in &was.session_ends {
                        now.session_ends
                            .entry(id.clone())
                            .or_insert_with(|| ends.clone());
                    }
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "instances with short sessions do not come last",
            |tables, step| {
                if is_assign(step) {
                    let free = tables.slots.values_mut();
                    free.filter(|slot| slot.is_free(step.at))
                        .for_each(|slot| slot.free_from = None);
                }
            },
            |was, now, step, _| {
                if is_assign(step) {
                    for (id, slot) in &mut now.slots {
                        slot.free_from = was.slots.get(id).and_then(|slot| slot.free_from);
                    }
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "a session as long as the bound ended quickly",
            |tables, step| shift_claims(tables, step, MOMENT),
            |_, now, step, _| shift_claims(now, step, -MOMENT),
        ),
        Flaw::wrong_meanwhile(
            "a session a moment shorter than the bound did not",
            |tables, step| shift_claims(tables, step, -MOMENT),
            |_, now, step, _| shift_claims(now, step, MOMENT),
        ),
    ]
}

fn of_users() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result("each session counts, not each user", |was, now, step, _| {
            for (id, ends) in &mut now.session_ends {
                let before = was.session_ends.get(id);
                let is_same = before.is_some_and(|was| was.quick_users == ends.quick_users);
                let has_ended = before.is_none_or(|was| was.ended_at != ends.ended_at);
                if is_same && has_ended && !ends.quick_users.is_empty() {
                    ends.quick_users.push(step.at.to_string());
                }
            }
        }),
        Flaw::wrong_result("a session that lives ends no row", |was, now, _, _| {
            for (id, ends) in &mut now.session_ends {
                if let Some(before) = was.session_ends.get(id)
                    && ends.quick_users.is_empty()
                {
                    ends.quick_users.clone_from(&before.quick_users);
                }
            }
        }),
        Flaw::wrong_meanwhile(
            "users are sent back",
            |tables, step| {
                if is_assign(step) {
                    tables.failed_sessions.clear();
                }
            },
            |was, now, step, _| {
                if is_assign(step) {
                    let new = std::mem::take(&mut now.failed_sessions);
                    now.failed_sessions.clone_from(&was.failed_sessions);
                    now.failed_sessions.extend(new);
                }
            },
        ),
        Flaw::wrong_result(
            "users who could not connect are not remembered",
            |_, now, _, _| now.failed_sessions.retain(|failed| failed.claimed),
        ),
        Flaw::wrong_result(
            "a repeated request renews without end",
            |_, now, step, answer| {
                if let Action::Assign(request) = &step.action
                    && answer.contains("repeated: true")
                {
                    let (user, session) = (request.user.as_str(), request.session.as_str());
                    let is_theirs = |slot: &&mut SlotRow| {
                        slot.status == SlotStatus::Allocated && slot.is_of(user, session)
                    };
                    let slots = now.slots.values_mut();
                    slots
                        .filter(is_theirs)
                        .for_each(|slot| slot.allocated_at = Some(step.at));
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "a slot is kept for a user who cannot get it",
            |tables, step| {
                if is_assign(step) {
                    let rows = tables.waiting_users.values_mut();
                    rows.for_each(|waits| waits.barred_until = None);
                }
            },
            |was, now, step, _| {
                if is_assign(step) {
                    for (key, waits) in &mut now.waiting_users {
                        let before = was.waiting_users.get(key);
                        if let Some(before) = before.filter(|_| waits.last_at < step.at) {
                            waits.barred_until = before.barred_until;
                        }
                    }
                }
            },
        ),
        Flaw::wrong_result(
            "who held a slot for too long gets it again",
            |_, now, _, _| {
                let failed = now.failed_sessions.iter_mut();
                failed.for_each(|failed| failed.barred_until = None);
            },
        ),
    ]
}

#[tokio::test]
async fn postgresql_and_its_fake_count_the_ends_of_sessions_alike() {
    let all = compared(&SEEDS, STEPS, |seed| {
        let mut sessions = Sessions::of(seed);
        move |tables: &Tables| sessions.step(tables)
    })
    .await;
    assert_distinguished(&all, flaws()).await;
}
