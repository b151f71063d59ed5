//! Fakes that are wrong on purpose, each in one rule: the right one, tampered with before and
//! after a step. What Postgres did in the histories must tell every one of them.

mod agents;
mod assigning;
mod passes;
mod time;
mod upgrades;

use shared::settings::RegionSettings;
use testing::{SlotRow, Tables};

use super::steps::{Ask, Step};

type Before = fn(&mut Tables, &mut Step);
type After = fn(&Tables, &mut Tables, &Step, &mut String);

/// One wrong rule.
pub(crate) struct Flaw {
    pub(crate) name: &'static str,
    /// Changes what the right rule is given.
    pub(crate) before: Before,
    /// Given the tables before the step, changes what the right rule left, or answered.
    pub(crate) after: After,
}

pub(crate) fn all() -> Vec<Flaw> {
    let mut flaws = time::flaws();
    flaws.extend(passes::flaws());
    flaws.extend(assigning::flaws());
    flaws.extend(agents::flaws());
    flaws.extend(upgrades::flaws());
    flaws
}

/// No flaw at all.
pub(crate) fn none() -> Flaw {
    asked("none", |_, _| {})
}

/// Another thing is asked for than was.
fn asked(name: &'static str, before: Before) -> Flaw {
    Flaw {
        name,
        before,
        after: |_, _, _, _| {},
    }
}

/// Another thing is left than should be.
fn left(name: &'static str, after: After) -> Flaw {
    Flaw {
        name,
        before: |_, _| {},
        after,
    }
}

/// For the length of a step, the tables are others; then they are put back.
fn meanwhile(name: &'static str, before: Before, after: After) -> Flaw {
    Flaw {
        name,
        before,
        after,
    }
}

/// An observation shows the settings, and an operator changes them: there they stay as they are.
fn change_settings(tables: &mut Tables, step: &Step, change: impl Fn(&mut RegionSettings)) {
    let shows = matches!(step.ask, Ask::BeginPass(_) | Ask::Look(_));
    if !shows && !matches!(step.ask, Ask::SetRegion(..)) {
        let rows = tables.regions.values_mut();
        rows.for_each(|row| change(&mut row.settings));
    }
}

fn keep_settings(was: &Tables, now: &mut Tables, step: &Step, _: &mut String) {
    if !matches!(step.ask, Ask::SetRegion(..)) {
        now.regions.clone_from(&was.regions);
    }
}

fn change_slots(tables: &mut Tables, change: impl Fn(&mut SlotRow)) {
    tables.slots.values_mut().for_each(change);
}
