//! The flow of users, and the safety factor that is tuned to it (`…_adaptive/up.sql`).

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};
use shared::ids::RegionName;
use shared::model::{Boot, FLOW_STEPS, Flow};
use shared::settings::ADAPTIVE;
use shared::usage::{EndReason, SessionRecord};

use super::tables::Tables;

const MILLION: f64 = 1e6;
/// In millionths.
const FIRST_SAFETY: i64 = 3_000_000;
const MOST_SAFETY: f64 = 12.0 * MILLION;
/// How many boots of instances that are gone are looked at, and for how long.
const BOOTS: usize = 60;
const BOOTS_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A row of `internal.safety_factors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SafetyFactor {
    pub millionths: i64,
    /// How many users it has been tuned to.
    pub users: u64,
    pub counted_until: Timestamp,
}

/// A user who came: when, and whether they had to wait.
type Arrival = (Timestamp, bool);

impl Tables {
    /// How long a step of the flow is, in seconds.
    pub(super) fn step_seconds(&self, region: &RegionName) -> i64 {
        let row = self.regions.get(region);
        row.map_or(60, |row| row.settings.pass_seconds.into())
    }

    fn counted_since(&self, region: &RegionName, now: Timestamp) -> Timestamp {
        let steps = i32::try_from(FLOW_STEPS).unwrap_or(i32::MAX);
        now - SignedDuration::from_secs(self.step_seconds(region)) * steps
    }

    pub(super) fn is_adaptive(&self, region: &RegionName) -> bool {
        let row = self.regions.get(region);
        row.is_some_and(|row| row.settings.algorithm == ADAPTIVE)
    }

    /// Sessions that ended after a time. One that moved to another slot went on.
    fn ended_since<'t>(
        &'t self,
        region: &'t RegionName,
        since: Timestamp,
    ) -> impl Iterator<Item = &'t SessionRecord> {
        let history = self.session_history.iter();
        history.filter(move |row| {
            row.ended_at > Some(since)
                && row.region == *region
                && row.end_reason != Some(EndReason::Moved)
        })
    }

    /// Those who came after a time.
    fn arrivals(&self, region: &RegionName, since: Timestamp, now: Timestamp) -> Vec<Arrival> {
        // Nobody ends before they come.
        let ended = self
            .ended_since(region, since)
            .map(|row| (row.requested_at, row.waited.is_positive()));
        let held = self.slots.values().filter(|slot| slot.status.is_held());
        let held = held.filter_map(|slot| {
            let host = self.instances.get(&slot.instance_id)?;
            let assigned_at = slot.first_allocated_at.or(slot.allocated_at)?;
            let arrival = (assigned_at - slot.waited, slot.waited.is_positive());
            (host.region == *region).then_some(arrival)
        });
        let waiting = self.waiting_users.iter();
        let waiting = waiting
            .filter(|((_, of, _), _)| of == region)
            .filter(|(_, waits)| self.demand_region(&waits.regions, now) == Some(region))
            .map(|(_, waits)| (waits.first_at, true));
        let all = ended.chain(held).chain(waiting);
        all.filter(|(at, _)| *at > since && *at <= now).collect()
    }

    /// What a pass of the algorithm `adaptive` observes; none in other regions.
    pub(super) fn flow(&self, region: &RegionName, now: Timestamp) -> Option<Flow> {
        if !self.is_adaptive(region) {
            return None;
        }
        let since = self.counted_since(region, now);
        let mut arrivals = vec![0; FLOW_STEPS];
        for (at, _) in self.arrivals(region, since, now) {
            let step = now.duration_since(at).as_secs() / self.step_seconds(region);
            if let Some(users) = usize::try_from(step)
                .ok()
                .and_then(|step| arrivals.get_mut(step))
            {
                *users += 1;
            }
        }
        let ends = self.ended_since(region, since).count();
        let factor = self.safety_factors.get(region);
        Some(Flow {
            arrivals,
            ends: u32::try_from(ends).unwrap_or(u32::MAX),
            safety_millionths: factor.map_or(FIRST_SAFETY, |factor| factor.millionths),
            boots: self.last_boots(region, now),
        })
    }

    fn last_boots(&self, region: &RegionName, now: Timestamp) -> Vec<Boot> {
        let gone = self.instance_history.iter();
        let boots = gone
            .filter(|row| row.region == *region && row.gone_at > now - BOOTS_KEPT)
            .filter_map(|row| {
                let boot = Boot {
                    launched_at: row.launched_at,
                    active_at: row.registered_at?,
                    instance_type: row.instance_type.clone(),
                    spot: row.spot,
                };
                Some((Reverse(row.gone_at), &row.instance_id, boot))
            });
        let mut boots: Vec<_> = boots.collect();
        boots.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        boots
            .into_iter()
            .take(BOOTS)
            .map(|(.., boot)| boot)
            .collect()
    }

    /// Tunes the safety factor to the users who came since the last pass.
    pub(super) fn tune_safety(&mut self, region: &RegionName, now: Timestamp) {
        if !self.is_adaptive(region) {
            return;
        }
        let goal = self.regions.get(region);
        let goal = goal.map_or(1000, |row| row.settings.stock_out_goal.max(1));
        let before = self.safety_factors.get(region).copied();
        let before = before.unwrap_or(SafetyFactor {
            millionths: FIRST_SAFETY,
            users: 0,
            counted_until: now,
        });
        let since = before.counted_until.max(self.counted_since(region, now));
        let arrivals = self.arrivals(region, since, now);
        let waited = arrivals.iter().filter(|(_, waited)| *waited).count();
        let goal = 1.0 / f64::from(goal);
        let step = 0.0045 / goal.sqrt() / (1.0 + before.users.min(100_000) as f64 / 8000.0).sqrt();
        let change = step * (waited as f64 - 0.85 * goal * arrivals.len() as f64);
        let millionths = before.millionths as f64 + MILLION * change;
        let after = SafetyFactor {
            // As PostgreSQL rounds a double.
            millionths: millionths.clamp(0.0, MOST_SAFETY).round_ties_even() as i64,
            users: before.users + arrivals.len() as u64,
            counted_until: before.counted_until.max(now),
        };
        self.safety_factors.insert(region.clone(), after);
    }
}
