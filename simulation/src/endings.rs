//! Ends of sessions from outside: limits and deadlines in the regions' settings, users and operators who
//! end sessions, operators who drain instances, and agents that do or do not end what they are told to.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use shared::ids::InstanceId;
use shared::model::{DrainCause, InstanceStatus};
use shared::settings::{Endings, RegionSettings};
use testing::{EndCause, SlotStatus, Tables};

use crate::random::Random;
use crate::scheduled::Event;
use crate::simulation::Simulation;

/// From then on, a user is idle.
const ACTIVE: SignedDuration = SignedDuration::from_secs(20);

/// Draws limits and deadlines, shorter than in production.
pub(crate) fn random_endings(settings: &RegionSettings, random: &mut Random) -> Endings {
    let mut seconds = |of: &[i64]| {
        let is_set = random.chance(500);
        let drawn = SignedDuration::from_secs(*random.pick(of));
        is_set.then_some(drawn)
    };
    Endings {
        max_session: seconds(&[30, 90, 200]),
        max_idle: seconds(&[30, 90]),
        warning: seconds(&[1, 10]).unwrap_or(SignedDuration::from_secs(30)),
        drain_deadline: seconds(&[30, 90]),
        max_age: seconds(&[60, 240]).map(|age| settings.timeouts.boot + age),
    }
}

/// What an agent says of the activity of its users; nothing if it is of an earlier release.
pub(crate) fn idle_seconds(
    tables: &Tables,
    id: &InstanceId,
    now: Timestamp,
    reports: bool,
) -> BTreeMap<String, u32> {
    let slots = tables.slots_of(id).filter(|_| reports);
    let idle = slots.filter_map(|(slot, row)| {
        let since = row.claimed_at? + ACTIVE;
        let idle = now.duration_since(since).as_secs().max(0);
        Some((slot.clone(), u32::try_from(idle).unwrap_or(u32::MAX)))
    });
    idle.collect()
}

impl Simulation {
    /// Draws of which release the agent of a new machine is, in a run in which sessions end.
    pub(crate) fn draw_release_of_agent(&mut self, id: &InstanceId) {
        if !self.scenario.ends_sessions {
            return;
        }
        let (obeys, reports) = (self.endings.chance(700), self.endings.chance(700));
        if let Some(agent) = self.agents.get_mut(id) {
            agent.obeys = obeys;
            agent.reports_activity = reports;
        }
    }

    pub(crate) fn start_endings(&mut self) {
        if self.scenario.ends_sessions {
            self.schedule_in(SignedDuration::from_secs(45), Event::SomebodyEnds);
        }
    }

    /// A user or an operator ends a session, or an operator drains an instance.
    pub(crate) fn end_something(&mut self) {
        if self.winding_down {
            return;
        }
        let now = self.now();
        let wait = self.endings.between(5..=40);
        let wait = SignedDuration::from_secs(i64::try_from(wait).unwrap_or(0));
        self.schedule_in(wait, Event::SomebodyEnds);
        let choice = self.endings.below(5);
        let tables = &mut self.world.database.rows().tables;
        if choice == 0 {
            let rows = tables.instances.iter_mut();
            let mut active: Vec<_> = rows
                .map(|(_, row)| row)
                .filter(|row| row.status == InstanceStatus::Active)
                .collect();
            if !active.is_empty() {
                let place = self.endings.below(active.len() as u64);
                let row = &mut active[usize::try_from(place).unwrap_or(0)];
                row.status = InstanceStatus::Draining;
                row.draining_since = Some(now);
                row.drain_cause = Some(DrainCause::Operator);
            }
            return;
        }
        let held = tables.slots.values().filter(|slot| slot.status.is_held());
        let held: Vec<_> = held.filter_map(|slot| slot.user.clone()).collect();
        if held.is_empty() {
            return;
        }
        let (user, session) = self.endings.pick(&held);
        let cause = if choice == 1 {
            EndCause::Operator
        } else {
            EndCause::User
        };
        tables.end_session(user, session, cause, now);
    }
}

/// Since when the deadline of an instance's drain may end its sessions, by what was written to them; none
/// if it may not. Written anew here, beside the database's own rule.
pub(crate) fn may_end_from(tables: &Tables, id: &InstanceId) -> Option<Timestamp> {
    let row = tables.instances.get(id)?;
    let settings = &tables.regions.get(&row.region)?.settings;
    let grace = settings.timeouts.heartbeat;
    let by_deadline = matches!(
        row.drain_cause,
        Some(DrainCause::Operator | DrainCause::Image | DrainCause::MaxAge)
    );
    if row.status != InstanceStatus::Draining || !by_deadline {
        return None;
    }
    let mut from = row.draining_since? + settings.endings.drain_deadline? + grace;
    for (_, slot) in tables.slots_of(id) {
        match slot.status {
            SlotStatus::Waiting | SlotStatus::Dying => {}
            SlotStatus::Allocated => return None,
            SlotStatus::Connecting | SlotStatus::Running => {
                from = from.max(slot.end?.1 + grace);
            }
        }
    }
    Some(from)
}
