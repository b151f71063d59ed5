//! A recording as something to play: a row that the fakes know, users, boots, and what fails.

use jiff::{SignedDuration, Timestamp};
use shared::recording::Recording;
use shared::settings::RegionSettings;

use super::ReplayError;
use crate::Millis;
use crate::boots::{Boots, RecordedBoots};
use crate::random::LogNormal;
use crate::run::Conditions;
use crate::workload::{User, Workload};

/// A run begins this long before what is measured at most, so that the region has its machines by then.
pub const WARM_UP: SignedDuration = SignedDuration::from_hours(2);

/// Of machines, if none registered in the recorded time: as long as in the benchmark's traces.
const UNKNOWN_BOOTS: (f64, f64) = (60.0, 120.0);

/// Slots of an instance: those of the first choice, which is always to be had here.
pub(super) fn slots(row: &RegionSettings) -> Result<u32, ReplayError> {
    let first = row.launch_choices.first();
    first
        .map(|choice| choice.capacity)
        .ok_or(ReplayError::NoChoice)
}

/// The row as the fakes know it: one image, one network, and nothing that keeps the region from working.
pub(super) fn playable(mut row: RegionSettings) -> RegionSettings {
    let known = testing::settings();
    row.enabled = true;
    row.paused = false;
    row.launch_choices.truncate(1);
    for (choice, known) in row.launch_choices.iter_mut().zip(known.launch_choices) {
        choice.subnet = known.subnet;
        choice.instance_type = known.instance_type;
        choice.spot = known.spot;
    }
    row.name = known.name;
    row.security_groups = known.security_groups;
    row.instance_profile = known.instance_profile;
    row.user_data_template = known.user_data_template;
    row.addresses = known.addresses;
    row
}

/// The users as they came. Those who left without a slot want sessions as long as that of the user who came
/// last before them and got one: how long theirs would have been is not known.
pub(super) fn workload(recording: &Recording, row: &RegionSettings, slots: u32) -> Workload {
    let begin = recording.from - warm_up(row);
    let since = |at: Timestamp| millis_of(at.duration_since(begin));
    let until = since(recording.to);
    let mut users: Vec<User> = recording
        .sessions
        .iter()
        .filter(|session| session.requested_at < recording.to)
        .filter_map(|session| {
            let ends = session.ended_at.map_or(until, since);
            // Those who were there before come first, all at once.
            let (arrives, assigned) = (
                since(session.requested_at).max(0),
                since(session.assigned_at).max(0),
            );
            (ends > assigned).then_some(User {
                arrives,
                session: ends - assigned,
            })
        })
        .collect();
    users.sort_unstable_by_key(|user| user.arrives);
    let unserved: Vec<User> = recording
        .unserved
        .iter()
        .filter_map(|visit| {
            let arrives = since(visit.requested_at);
            let before = users.partition_point(|user| user.arrives <= arrives);
            let like = users.get(before.saturating_sub(1))?;
            Some(User { arrives, ..*like })
        })
        .collect();
    users.extend(unserved);
    users.sort_by_key(|user| user.arrives);
    let (median, p95) = UNKNOWN_BOOTS;
    let boots = RecordedBoots::of(recording.boots.clone()).map_or_else(
        || LogNormal::of_quantiles(median, p95).into(),
        Boots::Recorded,
    );
    Workload {
        name: recording.region.to_string(),
        users,
        boots,
        slots,
        from: since(recording.from),
        until,
    }
}

/// As many passes as two hours have with one a minute, so that the region has its machines.
fn warm_up(row: &RegionSettings) -> SignedDuration {
    let passes = SignedDuration::from_secs(row.pass_seconds.into()) * 120;
    passes.min(WARM_UP)
}

/// Users are as patient as those who left: half of them had asked for longer.
pub(super) fn conditions(recording: &Recording) -> Conditions {
    let launched = recording.registered + recording.never_registered;
    let mut stays: Vec<_> = recording
        .unserved
        .iter()
        .map(|visit| visit.stayed)
        .collect();
    stays.sort_unstable();
    let usual = Conditions::default();
    Conditions {
        failed_boots: f64::from(recording.never_registered) / f64::from(launched.max(1)),
        patience: stays
            .get(stays.len() / 2)
            .map_or(usual.patience, |stay| millis_of(*stay)),
        ..usual
    }
}

pub(super) fn millis_of(time: SignedDuration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}
