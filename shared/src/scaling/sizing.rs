//! The target of `adaptive`: a buffer that covers what the region's users may need until a new slot is
//! there.
//!
//! In the time that a new slot takes, users arrive and sessions end. Both are counted over some passes,
//! and each is as irregular as independent events are, so that the spread of their difference is the root
//! of their sum. The buffer is what arrives beyond what ends, as far as that is more than chance, and
//! some spreads more. How many more is
//! the region's safety factor, which passes tune to the users who were not served at once
//! (`internal.tune_safety`): that covers what this model does not know of the region.
//!
//! A burst shows in the last step long before it shows in all of them. A step that leaves the noise of the
//! longer rate replaces it, upwards and downwards, and a rise that is more than noise is taken to go on
//! until new slots are there.
//!
//! A step is the time from one scheduled pass to the next. Nothing that is shorter can be acted upon, so
//! that all times here are counted in passes: with one a minute, rates are of a minute and of a quarter of
//! an hour.

use jiff::{SignedDuration, Timestamp};

use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::model::{FLOW_STEPS, Flow, Instance};

/// The wait for the next pass, on average, in scheduled passes: users who are served wake one after a third
/// of that time, and it takes some of them.
const PASS_WAIT: f64 = 0.25;

/// A step is out of the noise if it differs by this many deviations. Less makes quiet regions pay for
/// chance, more makes others miss the beginnings of bursts.
const BAND: f64 = 3.5;

/// A rise is taken to go on for this many passes at most: nothing is known of what follows a burst.
const LONGEST_RISE: f64 = 1.5;

/// The bounds of the safety factor. As in `internal.tune_safety`.
const MOST_SAFETY: f64 = 12.0;

/// How many of the last boots are looked at. Their median says how long a new slot takes: that of a high
/// quantile would also be needed, but the safety factor finds that by itself, and one slow boot must not
/// move the target.
const BOOTS: usize = 60;

/// A target, with the numbers that it was made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizing {
    pub(super) target: u32,
    /// In how many seconds a new slot is there.
    seconds: f64,
    /// How many users arrive and sessions end in that time.
    arrivals: f64,
    ends: f64,
    spread: f64,
    safety: f64,
}

/// None if nobody came lately, or no boot has been measured: then the floor is all that is known.
pub(super) fn size(snapshot: &Snapshot, flow: &Flow, floor: u32, now: Timestamp) -> Option<Sizing> {
    let came: u64 = flow.arrivals.iter().map(|users| u64::from(*users)).sum();
    if came == 0 && flow.ends == 0 {
        return None;
    }
    let step = f64::from(snapshot.settings.pass_seconds.max(1));
    let seconds = boot_seconds(snapshot, flow, now)? + PASS_WAIT * step;
    let counted = step * FLOW_STEPS as f64;
    let arrivals = rate(flow, step, came as f64 / counted, seconds) * seconds;
    let ends = f64::from(flow.ends) / counted * seconds;
    let spread = (arrivals + ends).sqrt();
    let safety = (flow.safety_millionths as f64 / 1e6).clamp(0.0, MOST_SAFETY);
    // What came beyond what ended, in all steps, differs by this much by chance alone. A target that
    // followed it would launch and drain for nothing, which costs most where boots are long.
    let chance = (came as f64 + f64::from(flow.ends)).sqrt() / counted * seconds;
    let need = (arrivals - ends - chance).max(0.0) + safety * spread;
    let ceiling = snapshot.settings.target_ceiling.unwrap_or(u32::MAX);
    Some(Sizing {
        // The operator's floor holds even above the operator's ceiling.
        target: (need.ceil() as u32).min(ceiling).max(floor),
        seconds,
        arrivals,
        ends,
        spread,
        safety,
    })
}

/// How many users arrive in a second. `slow` is the rate over all steps.
fn rate(flow: &Flow, step: f64, slow: f64, horizon: f64) -> f64 {
    let rate_of = |nth: usize| f64::from(flow.arrivals.get(nth).copied().unwrap_or(0)) / step;
    let band = BAND * (slow / step).sqrt();
    let (last, before) = (rate_of(0), rate_of(1));
    if last - slow > band {
        // Half a step old on average, until the middle of the time that a new slot takes.
        let steps_on = 0.5 + (horizon / step).min(LONGEST_RISE) / 2.0;
        last + (last - before - band).max(0.0) * steps_on
    } else if slow - last > band {
        last
    } else {
        slow
    }
}

/// How long the boots of the region's preferred choice took lately, or those of all choices if none of
/// its was measured. None without any.
fn boot_seconds(snapshot: &Snapshot, flow: &Flow, now: Timestamp) -> Option<f64> {
    let settings = &snapshot.settings;
    let lived = snapshot.instances.values().filter_map(|instance| {
        let lasted = instance.active_at?.duration_since(instance.launched_at);
        Some((instance.launched_at, lasted, pool_of(instance)))
    });
    let gone = flow.boots.iter().map(|boot| {
        let pool = boot.spot.map(|spot| (boot.instance_type.as_str(), spot));
        (boot.launched_at, boot.lasted(), pool)
    });
    let mut boots: Vec<_> = lived.chain(gone).filter(|(at, ..)| *at <= now).collect();
    let preferred = settings.launch_choices.first();
    let preferred = preferred.map(|choice| (choice.instance_type.as_str(), choice.spot));
    if boots.iter().any(|(.., pool)| *pool == preferred) {
        boots.retain(|(.., pool)| *pool == preferred);
    }
    boots.sort_unstable_by(|a, b| b.cmp(a));
    boots.truncate(BOOTS);
    let mut lasted: Vec<_> = boots.into_iter().map(|(_, lasted, _)| lasted).collect();
    lasted.sort_unstable();
    let median = lasted.get(lasted.len().checked_sub(1)? / 2)?;
    // An instance that takes longer never came up. A clock that was set back measures nothing.
    let within = (*median).clamp(SignedDuration::ZERO, settings.timeouts.boot);
    Some(within.as_secs_f64())
}

fn pool_of(instance: &Instance) -> Option<(&str, bool)> {
    let pool = instance.pool.as_ref()?;
    Some((pool.instance_type.as_str(), pool.spot))
}

impl Sizing {
    pub(super) fn reason(&self, snapshot: &Snapshot) -> Reason {
        let tenths = |number: f64| (number * 10.0).round() as u32;
        Reason::TargetSized {
            target: self.target,
            seconds: self.seconds.round() as u32,
            arrivals_tenths: tenths(self.arrivals),
            ends_tenths: tenths(self.ends),
            spread_tenths: tenths(self.spread),
            safety_tenths: tenths(self.safety),
            goal: snapshot.settings.stock_out_goal,
        }
    }
}
