//! Ages and their bounds, to the microsecond.

use jiff::SignedDuration;
use testing::Tables;

use super::{Flaw, change_settings, keep_settings, left, meanwhile};
use crate::database::steps::{Ask, Step};

const MOMENT: SignedDuration = SignedDuration::from_micros(1);

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_settings();
    flaws.extend(of_rows());
    flaws
}

fn of_settings() -> Vec<Flaw> {
    vec![
        meanwhile(
            "a beat as old as the bound is stale",
            |tables, step| change_settings(tables, step, |s| s.timeouts.heartbeat -= MOMENT),
            keep_settings,
        ),
        meanwhile(
            "a beat is fresh for a moment too long",
            |tables, step| change_settings(tables, step, |s| s.timeouts.heartbeat += MOMENT),
            keep_settings,
        ),
        meanwhile(
            "silent as long as the bound is lost",
            |tables, step| change_settings(tables, step, |s| s.timeouts.lost -= MOMENT),
            keep_settings,
        ),
        meanwhile(
            "silent a moment longer than the bound is not lost",
            |tables, step| change_settings(tables, step, |s| s.timeouts.lost += MOMENT),
            keep_settings,
        ),
        meanwhile(
            "unclaimed as long as the bound is released",
            |tables, _| tables.regions.values_mut().for_each(|r| r.claim -= MOMENT),
            keep_claims,
        ),
        meanwhile(
            "unclaimed a moment longer than the bound is not released",
            |tables, _| tables.regions.values_mut().for_each(|r| r.claim += MOMENT),
            keep_claims,
        ),
    ]
}

fn of_rows() -> Vec<Flaw> {
    vec![
        meanwhile(
            "who was refused a minute ago does not wait",
            |tables, step| shift_refusals(tables, step, -MOMENT),
            |_, now, step, _| shift_refusals(now, step, MOMENT),
        ),
        meanwhile(
            "who was refused a moment more than a minute ago waits",
            |tables, step| shift_refusals(tables, step, MOMENT),
            |_, now, step, _| shift_refusals(now, step, -MOMENT),
        ),
        meanwhile(
            "a pause of passes as long as the bound is a gap",
            |tables, step| shift_passes(tables, step, -MOMENT),
            |_, _, _, _| {},
        ),
        meanwhile(
            "a pause of passes a moment longer than the bound is none",
            |tables, step| shift_passes(tables, step, MOMENT),
            |_, _, _, _| {},
        ),
        left("no pause of passes is a gap", |was, now, _, _| {
            for (region, fence) in &mut now.fences {
                let before = was.fences.get(region).and_then(|f| f.watched_since);
                fence.watched_since = before.or(fence.watched_since);
            }
        }),
        left("who is heard of again was never silent", |_, now, _, _| {
            now.heartbeats
                .values_mut()
                .for_each(|beat| beat.resumed_at = None);
        }),
        left("every beat comes after a silence", |was, now, _, _| {
            for (id, beat) in &mut now.heartbeats {
                let before = was.heartbeats.get(id);
                if before.is_some_and(|before| before.beat_at < beat.beat_at) {
                    beat.resumed_at = Some(beat.beat_at);
                }
            }
        }),
        left(
            "a wake-up of an hour ago is forgotten",
            |_, now, step, _| {
                if matches!(step.ask, Ask::BeginPass(_)) {
                    let hour_ago = step.at - SignedDuration::from_hours(1);
                    now.wakeups.retain(|(_, bucket)| *bucket != hour_ago);
                }
            },
        ),
        left("old wake-ups are kept", |was, now, _, _| {
            now.wakeups.extend(was.wakeups.iter().cloned());
        }),
    ]
}

fn keep_claims(was: &Tables, now: &mut Tables, _: &Step, _: &mut String) {
    for (region, row) in &mut now.regions {
        row.claim = was.regions[region].claim;
    }
}

/// Where they are counted only.
fn shift_refusals(tables: &mut Tables, step: &Step, by: SignedDuration) {
    if matches!(step.ask, Ask::Look(_)) {
        let rows = tables.waiting_users.values_mut();
        rows.for_each(|waits| waits.last_at += by);
    }
}

/// Where a pass begins, which then writes the time anew.
fn shift_passes(tables: &mut Tables, step: &Step, by: SignedDuration) {
    if let Ask::BeginPass(fence) = &step.ask
        && let Some(row) = tables.fences.get_mut(&fence.region)
        && row.version <= fence.version
    {
        row.last_pass_at = row.last_pass_at.map(|at| at + by);
    }
}
