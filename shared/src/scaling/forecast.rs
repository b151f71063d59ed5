//! The forecast: when how many more slots will be free, for users in line. And whether the region can
//! launch at all, so that its users are demand elsewhere if it cannot.
//!
//! It is no part of the plan, and made after the plan is executed: what EC2 has refused meanwhile is
//! not promised to anybody. It is made only while somebody is in line, or could be soon.
//!
//! Slots become free in two ways:
//!
//! - **An instance starts**: its slots are expected when it is as old as boots of its type in this region
//!   took lately. Launches that EC2 has not answered yet, and those of this pass, count in the same way.
//! - **A session ends**: as many per second as in the last minutes, on images of the same hash.
//!
//! What was never measured is not expected. A user whose place is not covered gets no estimate.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::launch_options;
use super::plan::{Action, ImageCounts, LaunchOption, Plan};
use super::snapshot::Snapshot;
use crate::ids::{ClientSha, ImageId, InstanceId};
use crate::model::{ExpectedSlots, Forecast, Instance, InstanceStatus, Line, Outlook};
use crate::settings::{LaunchChoice, Selector};

/// Nobody waits for longer than this. An estimate beyond it would be a guess.
const HORIZON: SignedDuration = SignedDuration::from_hours(1);

/// Bounds the row of a forecast. Steps get coarser further back in the line, so that this many reach
/// far beyond the longest line.
const MOST_STEPS: usize = 200;

/// A step brings at least this part of what the steps before it bring: the place of a user is off by
/// at most 5 %.
const COARSENESS: u64 = 20;

/// How many boots of a type are looked at: those of the instances that registered last.
const BOOTS: usize = 20;

/// For how long a region that cannot launch is left out. Passes come every minute, and each one says
/// so anew: a region whose passes have stopped is not left out for ever.
const LEFT_OUT: SignedDuration = SignedDuration::from_mins(2);

/// What to tell the region's users and other regions; none if nobody would read it. `launched` is the
/// number of instances that executing the plan has requested and EC2 has not refused.
pub fn outlook(snapshot: &Snapshot, plan: &Plan, launched: u32, now: Timestamp) -> Option<Outlook> {
    if !snapshot.settings.enabled {
        return None;
    }
    let has_line = !snapshot.lines.is_empty();
    let is_used_up = |counts: &ImageCounts| counts.state.is_served() && counts.free == 0;
    if !has_line && !plan.images.iter().any(is_used_up) {
        return None;
    }
    let forecasts = forecasts(snapshot, plan, launched, now);
    let is_worth_telling = has_line || !forecasts.is_empty();
    is_worth_telling.then(|| Outlook {
        made_at: now,
        forecasts,
        no_capacity_until: no_capacity_until(snapshot, plan, launched, now),
    })
}

/// Until when the region can launch nothing for those in line, as far as is known; none if it can, or
/// if what starts is enough for them.
fn no_capacity_until(
    snapshot: &Snapshot,
    plan: &Plan,
    launched: u32,
    now: Timestamp,
) -> Option<Timestamp> {
    let settings = &snapshot.settings;
    let image = snapshot.current_image()?;
    // All of the line, wherever its users are demand: else they would come back as soon as they left.
    let in_line = users(snapshot, &image.client_sha);
    let served = plan
        .images
        .iter()
        .filter(|counts| counts.state.is_served() && counts.client_sha == image.client_sha);
    let expected: u32 = served.map(|counts| counts.free + counts.starting).sum();
    if in_line <= expected || launched > 0 {
        return None;
    }
    let until = now + LEFT_OUT;
    let was_refused = plan.steps.iter().any(|step| match &step.action {
        Action::Launch {
            image: of, options, ..
        } => *of == image.id && LaunchOption::most(options) > 0,
        _ => false,
    });
    let is_full = plan.counts.live >= plan.counts.max;
    let is_bound = launch_options::left_of_hour(snapshot, now) == 0;
    let is_held = snapshot.launches_held_until().is_some();
    if settings.paused || !settings.can_launch() || was_refused || is_full || is_bound || is_held {
        return Some(until);
    }
    // At once if there is no choice.
    let mut rest_until = vec![];
    for choice in &settings.launch_choices {
        rest_until.push(rests_until(snapshot, plan, choice, &image.id, now)?);
    }
    let first = rest_until.into_iter().min();
    Some(first.unwrap_or(until).min(until))
}

/// Until when a launch choice rests; none if it does not.
fn rests_until(
    snapshot: &Snapshot,
    plan: &Plan,
    choice: &LaunchChoice,
    image: &ImageId,
    now: Timestamp,
) -> Option<Timestamp> {
    let of_choice = plan.refusals.iter().filter(|refusal| {
        let pool = &refusal.pool;
        let is_of_subnet = match &choice.subnet {
            Selector::Id(id) => pool.subnet_id == *id,
            Selector::Tag { .. } => true,
        };
        is_of_subnet
            && refusal.is_in_force(now)
            && pool.instance_type == choice.instance_type
            && pool.spot == choice.spot
            && refusal.image.as_ref().is_none_or(|only| only == image)
    });
    let latest = of_choice.max_by_key(|refusal| refusal.at)?;
    // Which subnets have a tag is not known here. All of them rest if a refusal was EC2's last word: a
    // launch tries one after the other.
    let is_by_tag = matches!(choice.subnet, Selector::Tag { .. });
    let has_launched = || {
        snapshot.instances.values().any(|instance| {
            instance.launched_at > latest.at
                && instance.pool.as_ref().is_some_and(|pool| {
                    pool.instance_type == choice.instance_type && pool.spot == choice.spot
                })
        })
    };
    (!is_by_tag || !has_launched()).then_some(latest.until)
}

fn users(snapshot: &Snapshot, client_sha: &ClientSha) -> u32 {
    let line = line_of(snapshot, client_sha);
    line.map_or(0, |line| line.users)
}

fn line_of<'s>(snapshot: &'s Snapshot, client_sha: &ClientSha) -> Option<&'s Line> {
    let mut lines = snapshot.lines.iter();
    lines.find(|line| line.client_sha == *client_sha)
}

/// The forecast of each client hash that users are served with, if there is anything to expect.
fn forecasts(snapshot: &Snapshot, plan: &Plan, launched: u32, now: Timestamp) -> Vec<Forecast> {
    let mut starting = starting(snapshot, plan, launched, now);
    let served = snapshot
        .images
        .iter()
        .filter(|image| image.state.is_served());
    let mut by_sha: BTreeMap<&ClientSha, BTreeMap<Timestamp, u64>> = BTreeMap::new();
    for image in served {
        let of_sha = by_sha.entry(&image.client_sha).or_default();
        for (at, slots) in starting.remove(&image.id).unwrap_or_default() {
            *of_sha.entry(at).or_default() += slots;
        }
    }
    let of_sha = by_sha.into_iter().map(|(client_sha, starting)| Forecast {
        client_sha: client_sha.clone(),
        steps: steps(&starting, &Ends::of(line_of(snapshot, client_sha), now)),
    });
    of_sha
        .filter(|forecast| !forecast.steps.is_empty())
        .collect()
}

/// When how many slots of starting instances are expected, by image.
fn starting<'s>(
    snapshot: &'s Snapshot,
    plan: &'s Plan,
    launched: u32,
    now: Timestamp,
) -> BTreeMap<&'s ImageId, BTreeMap<Timestamp, u64>> {
    let boots = Boots::measured(snapshot);
    let mut starting: BTreeMap<&ImageId, BTreeMap<Timestamp, u64>> = BTreeMap::new();
    let mut expect = |image: &'s ImageId, began: Timestamp, kind: Option<&str>, slots: u64| {
        if let Some(boot) = boots.of(kind)
            && slots > 0
        {
            let at = starting.entry(image).or_default();
            *at.entry(ready_at(began, boot, now)).or_default() += slots;
        }
    };
    let leaves = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Terminate { instance, .. }
        | Action::Remove { instance }
        | Action::Drain { instance, .. } => Some(instance),
        _ => None,
    });
    let leaving: BTreeSet<_> = leaves.collect();
    let is_down = |id: &InstanceId| {
        let machine = snapshot.machines.get(id);
        machine.is_some_and(|machine| machine.state.is_down())
    };
    for instance in snapshot.instances.values() {
        let is_starting = instance.status == InstanceStatus::PreConnection
            && instance.notice.is_none()
            && !snapshot.never_came_up(instance, now)
            && !is_down(&instance.id)
            && !leaving.contains(&instance.id);
        if is_starting {
            expect(
                &instance.image_id,
                instance.launched_at,
                type_of(instance),
                instance.capacity.into(),
            );
        }
    }
    for intent in &snapshot.open_intents {
        let request = &intent.request;
        if intent.is_resumable(now) {
            let slots = u64::from(snapshot.unrecorded_count(intent)) * u64::from(request.capacity);
            let kind = Some(request.instance_type.as_str());
            expect(&request.image_id, intent.created_at, kind, slots);
        }
    }
    // EC2 may have given a later option. The next pass sees which one.
    let mut left = launched;
    for step in &plan.steps {
        let Action::Launch { image, options, .. } = &step.action else {
            continue;
        };
        let Some(first) = options.first() else {
            continue;
        };
        let count = first.count.min(left);
        left -= count;
        let slots = u64::from(count) * u64::from(first.choice.capacity);
        expect(image, now, Some(&first.choice.instance_type), slots);
    }
    starting
}

fn type_of(instance: &Instance) -> Option<&str> {
    let pool = instance.pool.as_ref();
    pool.map(|pool| pool.instance_type.as_str())
}

/// When an instance is expected to register that was launched at `began`. One that should have
/// registered by now takes as long again as it is late: the later it is, the less is known.
fn ready_at(began: Timestamp, boot: SignedDuration, now: Timestamp) -> Timestamp {
    let at = began + boot;
    if at > now {
        return at;
    }
    let late = now.duration_since(at);
    now + late.max(boot / 10).max(SignedDuration::from_secs(1))
}

/// How long boots took lately.
struct Boots<'s> {
    by_type: BTreeMap<&'s str, SignedDuration>,
    /// Of all types together, for one that was not measured.
    any: Option<SignedDuration>,
}

impl<'s> Boots<'s> {
    fn measured(snapshot: &'s Snapshot) -> Self {
        let mut measured: Vec<_> = snapshot
            .instances
            .values()
            .filter_map(|instance| {
                let active_at = instance.active_at?;
                let boot = active_at.duration_since(instance.launched_at);
                Some((active_at, &instance.id, type_of(instance), boot))
            })
            .collect();
        measured.sort_unstable_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)));
        let mut by_type: BTreeMap<&str, Vec<SignedDuration>> = BTreeMap::new();
        for (_, _, kind, boot) in &measured {
            let Some(kind) = kind else { continue };
            let boots = by_type.entry(kind).or_default();
            if boots.len() < BOOTS {
                boots.push(*boot);
            }
        }
        let all = measured.iter().take(BOOTS).map(|(.., boot)| *boot);
        Self {
            any: upper_quartile(all.collect()),
            by_type: by_type
                .into_iter()
                .filter_map(|(kind, boots)| Some((kind, upper_quartile(boots)?)))
                .collect(),
        }
    }

    /// None if no boot was measured yet.
    fn of(&self, kind: Option<&str>) -> Option<SignedDuration> {
        let of_type = kind.and_then(|kind| self.by_type.get(kind).copied());
        of_type.or(self.any)
    }
}

/// Three of four boots are no longer. A user who waits is rather served a little before the estimate
/// than after it.
fn upper_quartile(mut boots: Vec<SignedDuration>) -> Option<SignedDuration> {
    boots.sort_unstable();
    let rank = (boots.len() * 3).div_ceil(4);
    let boot = boots.get(rank.checked_sub(1)?)?;
    Some((*boot).max(SignedDuration::ZERO))
}

/// The slots of starting instances and those of sessions that end, in one row of steps.
fn steps(starting: &BTreeMap<Timestamp, u64>, ends: &Ends) -> Vec<ExpectedSlots> {
    let mut steps = vec![];
    let mut started = 0_u64;
    let mut starts = starting.iter().peekable();
    let mut slots = 0_u64;
    while steps.len() < MOST_STEPS {
        let wanted = slots + (slots / COARSENESS).max(1);
        // The first time at which this many slots have become free.
        let at = loop {
            let by_ends = ends.time_of(wanted - started);
            match (by_ends, starts.peek()) {
                (Some(at), Some((start, _))) if at < **start => break Some(at),
                (_, Some((start, new))) => {
                    let start = **start;
                    started += **new;
                    starts.next();
                    if started + ends.until(start) >= wanted {
                        break Some(start);
                    }
                }
                (by_ends, None) => break by_ends,
            }
        };
        let Some(at) = at.filter(|at| *at <= ends.now + HORIZON) else {
            break;
        };
        slots = started + ends.until(at);
        steps.push(ExpectedSlots {
            at,
            slots: u32::try_from(slots).unwrap_or(u32::MAX),
        });
    }
    steps
}

/// Sessions that end at the rate of the last minutes: `count` in each `period`.
struct Ends {
    count: u32,
    /// In milliseconds.
    period: u64,
    now: Timestamp,
}

impl Ends {
    fn of(line: Option<&Line>, now: Timestamp) -> Self {
        let period = line.map_or(SignedDuration::ZERO, |line| {
            now.duration_since(line.ends_since)
        });
        Self {
            count: line.map_or(0, |line| line.session_ends),
            period: u64::try_from(period.as_millis()).unwrap_or(0).max(1),
            now,
        }
    }

    /// When this many sessions have ended; none beyond the horizon.
    fn time_of(&self, sessions: u64) -> Option<Timestamp> {
        if self.count == 0 {
            return None;
        }
        let after = sessions
            .saturating_mul(self.period)
            .div_ceil(self.count.into());
        let after = SignedDuration::from_millis(i64::try_from(after).ok()?);
        (after <= HORIZON).then(|| self.now + after)
    }

    /// How many sessions have ended by then.
    fn until(&self, at: Timestamp) -> u64 {
        let after = u64::try_from(at.duration_since(self.now).as_millis()).unwrap_or(0);
        after.saturating_mul(self.count.into()) / self.period
    }
}
