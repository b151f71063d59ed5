//! Ages and their bounds, to the microsecond.

use jiff::SignedDuration;
use testing::Tables;

use super::{Flaw, change_settings, keep_settings};
use crate::database::steps::{Action, Step};

const MOMENT: SignedDuration = SignedDuration::from_micros(1);

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_settings();
    flaws.extend(of_rows());
    flaws
}

fn of_settings() -> Vec<Flaw> {
    vec![
        Flaw::wrong_meanwhile(
            "a heartbeat as old as the bound is stale",
            |tables, step| change_settings(tables, step, |s| s.timeouts.heartbeat -= MOMENT),
            keep_settings,
        ),
        Flaw::wrong_meanwhile(
            "a heartbeat is fresh for a moment too long",
            |tables, step| change_settings(tables, step, |s| s.timeouts.heartbeat += MOMENT),
            keep_settings,
        ),
        Flaw::wrong_meanwhile(
            "an agent silent for exactly the bound is lost",
            |tables, step| change_settings(tables, step, |s| s.timeouts.lost -= MOMENT),
            keep_settings,
        ),
        Flaw::wrong_meanwhile(
            "an agent silent a moment longer than the bound is not lost",
            |tables, step| change_settings(tables, step, |s| s.timeouts.lost += MOMENT),
            keep_settings,
        ),
        Flaw::wrong_meanwhile(
            "a slot unclaimed for exactly the bound is released",
            |tables, _| tables.regions.values_mut().for_each(|r| r.claim -= MOMENT),
            keep_claims,
        ),
        Flaw::wrong_meanwhile(
            "a slot unclaimed a moment longer than the bound is not released",
            |tables, _| tables.regions.values_mut().for_each(|r| r.claim += MOMENT),
            keep_claims,
        ),
    ]
}

fn of_rows() -> Vec<Flaw> {
    vec![
        Flaw::wrong_meanwhile(
            "a user who asked line_seconds ago has left the line",
            |tables, step| shift_refusals(tables, step, -MOMENT),
            |_, now, step, _| shift_refusals(now, step, MOMENT),
        ),
        Flaw::wrong_meanwhile(
            "a user who asked a moment before that has not left",
            |tables, step| shift_refusals(tables, step, MOMENT),
            |_, now, step, _| shift_refusals(now, step, -MOMENT),
        ),
        Flaw::wrong_meanwhile(
            "a pause of passes of exactly the bound is a gap",
            |tables, step| shift_passes(tables, step, -MOMENT),
            |_, _, _, _| {},
        ),
        Flaw::wrong_meanwhile(
            "a pause of passes a moment longer than the bound is not a gap",
            |tables, step| shift_passes(tables, step, MOMENT),
            |_, _, _, _| {},
        ),
        Flaw::wrong_result("a pause of passes is never a gap", |was, now, _, _| {
            for (region, fence) in &mut now.fences {
                let before = was.fences.get(region).and_then(|f| f.watched_since);
                fence.watched_since = before.or(fence.watched_since);
            }
        }),
        Flaw::wrong_result(
            "a heartbeat after a silence does not record it",
            |_, now, _, _| {
                now.heartbeats
                    .values_mut()
                    .for_each(|beat| beat.resumed_at = None);
            },
        ),
        Flaw::wrong_result("every heartbeat records a silence", |was, now, _, _| {
            for (id, beat) in &mut now.heartbeats {
                let before = was.heartbeats.get(id);
                if before.is_some_and(|before| before.beat_at < beat.beat_at) {
                    beat.resumed_at = Some(beat.beat_at);
                }
            }
        }),
        Flaw::wrong_result("a wake-up of an hour ago is deleted", |_, now, step, _| {
            if matches!(step.action, Action::BeginPass(_)) {
                let hour_ago = step.at - SignedDuration::from_hours(1);
                now.wakeups.retain(|(_, bucket)| *bucket != hour_ago);
            }
        }),
        Flaw::wrong_result("old wake-ups are kept", |was, now, _, _| {
            now.wakeups.extend(was.wakeups.iter().cloned());
        }),
    ]
}

fn keep_claims(was: &Tables, now: &mut Tables, _: &Step, _: &mut String) {
    for (region, row) in &mut now.regions {
        row.claim = was.regions[region].claim;
    }
}

/// Only where refusals are counted.
fn shift_refusals(tables: &mut Tables, step: &Step, by: SignedDuration) {
    if matches!(step.action, Action::Observe(_)) {
        let rows = tables.waiting_users.values_mut();
        rows.for_each(|waits| waits.last_at += by);
    }
}

/// Only where a pass begins, which then writes the time anew.
fn shift_passes(tables: &mut Tables, step: &Step, by: SignedDuration) {
    if let Action::BeginPass(fence) = &step.action
        && let Some(row) = tables.fences.get_mut(&fence.region)
        && row.version <= fence.version
    {
        row.last_pass_at = row.last_pass_at.map(|at| at + by);
    }
}
