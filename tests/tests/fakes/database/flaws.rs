//! Fakes with one rule changed on purpose: the right fake, tampered with before and after a step.
//! PostgreSQL's histories must distinguish every one of them.

mod agents;
mod assigning;
mod flow;
mod passes;
mod time;
mod upgrades;

use shared::settings::RegionSettings;
use testing::{SlotRow, Tables};

use crate::comparison;

use super::steps::{Action, Step};

/// One wrong rule.
pub(crate) type Flaw = comparison::Flaw<Tables, Tables, Step>;

pub(crate) fn all() -> Vec<Flaw> {
    let mut flaws = time::flaws();
    flaws.extend(passes::flaws());
    flaws.extend(assigning::flaws());
    flaws.extend(flow::flaws());
    flaws.extend(agents::flaws());
    flaws.extend(upgrades::flaws());
    flaws
}

/// Only observations and the operator's changes use the settings: there they stay as they are.
fn change_settings(tables: &mut Tables, step: &Step, change: impl Fn(&mut RegionSettings)) {
    let shows = matches!(step.action, Action::BeginPass(_) | Action::Observe(_));
    if !shows && !matches!(step.action, Action::SetRegion(..)) {
        let rows = tables.regions.values_mut();
        rows.for_each(|row| change(&mut row.settings));
    }
}

fn keep_settings(was: &Tables, now: &mut Tables, step: &Step, _: &mut String) {
    if !matches!(step.action, Action::SetRegion(..)) {
        now.regions.clone_from(&was.regions);
    }
}

fn change_slots(tables: &mut Tables, change: impl Fn(&mut SlotRow)) {
    tables.slots.values_mut().for_each(change);
}
