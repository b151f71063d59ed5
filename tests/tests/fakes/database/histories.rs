//! Random histories from a seed.

mod choices;
mod upgrades;

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use shared::db::Fence;
use shared::ids::InstanceId;
use shared::model::{DrainCause, InstanceStatus};
use testing::{NOW, Tables};

use choices::noticed;

use super::bounds::{self, Kind};
use super::steps::{Action, REGIONS, Step, launch_of};
use local_stack::random::Random;

const INSTANCES: usize = 8;

/// Makes one step after the other, from a seed and the current tables. Choices that ignored the
/// tables would hardly ever find a slot that can be claimed.
#[derive(Debug)]
pub(crate) struct Generator {
    random: Random,
    now: Timestamp,
    /// The lock versions of the regions' passes.
    versions: [i64; REGIONS.len()],
    /// Steps that belong together.
    planned: VecDeque<Step>,
}

impl Generator {
    pub(crate) fn of(seed: u64) -> Self {
        Self {
            random: Random::new(seed, "database"),
            now: NOW,
            versions: [1; REGIONS.len()],
            planned: VecDeque::new(),
        }
    }

    pub(crate) fn next(&mut self, tables: &Tables) -> Step {
        if self.planned.is_empty() {
            match self.random.below(100) {
                0..10 => self.plan_a_bound(tables),
                10..14 => self.plan_capacity(tables),
                _ => {}
            }
        }
        if let Some(step) = self.planned.pop_front() {
            self.now = step.at;
            return step;
        }
        let pass: &[i64] = match self.random.below(100) {
            0..80 => &[0, 0, 1, 1_000_000],
            _ => &[15_000_000, 30_000_000],
        };
        self.now += SignedDuration::from_micros(*self.random.pick(pass));
        Step {
            at: self.now,
            action: self.action(tables),
        }
    }

    /// Advances the time to the moment when an age is at its bound, and to the moment after it, and
    /// makes the steps that depend on the age.
    fn plan_a_bound(&mut self, tables: &Tables) {
        let kind = *self.random.pick(bounds::KINDS);
        let mut ahead = bounds::all(tables, kind, self.now);
        ahead.retain(|bound| bound.at >= self.now);
        if ahead.is_empty() {
            return;
        }
        let bound = self.random.pick(&ahead);
        let place = REGIONS.iter().position(|r| *r == bound.region.as_str());
        let fence = Fence {
            region: bound.region.clone(),
            version: self.versions[place.unwrap()],
        };
        if kind == Kind::Lost {
            // Silence counts only while passes observe the region.
            let minute = SignedDuration::from_mins(1);
            let mut at = self.now;
            while at < bound.at {
                let action = Action::BeginPass(fence.clone());
                self.planned.push_back(Step { at, action });
                at += minute;
            }
        }
        let action = bound.action(fence);
        // A step that restarts the age can be made only once.
        let once = matches!(kind, Kind::ResumedBeat | Kind::Gap);
        let moment = SignedDuration::from_micros(1);
        if !once || self.random.chance(50) {
            self.planned.push_back(Step {
                at: bound.at,
                action: action.clone(),
            });
        }
        if !once || self.planned.is_empty() {
            self.planned.push_back(Step {
                at: bound.at + moment,
                action,
            });
        }
    }

    /// What passes and agents do in between: rows of ended instances are removed, new instances
    /// come, and all agents send heartbeats.
    fn plan_capacity(&mut self, tables: &Tables) {
        let place = self.random.below(2);
        let fence = Fence {
            region: REGIONS[place].into(),
            version: self.versions[place],
        };
        let ended: Vec<_> = tables
            .instances
            .iter()
            .filter(|(_, row)| row.region == fence.region)
            .filter(|(_, row)| row.status == InstanceStatus::Terminating)
            .map(|(id, _)| id.clone())
            .collect();
        let all = (0..INSTANCES).map(|n| InstanceId::from(format!("i-{n:02}")));
        let new: Vec<_> = all
            .filter(|id| !tables.instances.contains_key(id))
            .collect();
        let new: Vec<_> = new.into_iter().take(2).collect();
        let rows = new.iter().map(|id| self.new_instance(id.clone())).collect();
        let mut actions = vec![
            Action::Remove(fence.clone(), ended),
            Action::Record(fence, rows),
        ];
        actions.extend(
            new.iter()
                .map(|id| Action::Register(id.clone(), launch_of(id))),
        );
        actions.push(Action::Beats(tables.instances.keys().cloned().collect()));
        let at = self.now;
        self.planned
            .extend(actions.into_iter().map(|action| Step { at, action }));
    }

    fn action(&mut self, tables: &Tables) -> Action {
        match self.random.below(114) {
            0 => Action::Regions,
            1..6 => {
                let fence = self.fence();
                Action::BeginPass(fence)
            }
            6 => Action::Observe(self.region()),
            7 => Action::Find(self.id()),
            8..15 => self.insert(),
            15..18 => self.notice(tables),
            18..21 => {
                let fence = self.fence();
                let noticed = noticed(tables, &fence.region);
                let ids = match noticed.is_empty() || self.random.chance(50) {
                    true => self.ids(tables, &fence, 4),
                    false => noticed,
                };
                let causes = [DrainCause::Surplus, DrainCause::Surplus, DrainCause::Image];
                Action::Drain(fence, ids, *self.random.pick(&causes))
            }
            21..23 => {
                let fence = self.fence();
                let draining: Vec<_> = tables
                    .instances
                    .iter()
                    .filter(|(_, row)| row.status == InstanceStatus::Draining)
                    .map(|(id, _)| id.clone())
                    .collect();
                let ids = match draining.is_empty() || self.random.chance(30) {
                    true => self.ids(tables, &fence, 3),
                    false => draining,
                };
                Action::Reopen(fence, ids)
            }
            23..27 => self.terminate(tables),
            27..30 => {
                let fence = self.fence();
                let ids = self.ids(tables, &fence, 4);
                Action::Remove(fence, ids)
            }
            30..35 => {
                let fence = self.fence();
                let missing = self.ids(tables, &fence, 3);
                let present = self.ids(tables, &fence, 2);
                Action::NoteMissing(fence, missing, present)
            }
            35..38 => Action::Release(self.fence()),
            38..60 => Action::Assign(self.request(tables)),
            60..67 => self.register(tables),
            67..71 => {
                let (id, launch) = self.agent(tables, |_| true);
                Action::Heartbeat(id, launch)
            }
            71..77 => self.beats(tables),
            77..96 => self.of_slot(tables),
            96..98 => self.set_region(),
            98..100 => self.set_image(),
            100..105 => self.request_upgrade(tables),
            105..110 => self.move_image(tables),
            _ => self.note_addresses(tables),
        }
    }
}
