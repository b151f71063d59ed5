//! Fakes that are wrong on purpose, each in one rule: the right one, tampered with before and
//! after a step. What DynamoDB did in the histories must tell every one of them.

mod intents;
mod locks;

use std::collections::{BTreeMap, BTreeSet};

use shared::ids::RegionName;
use shared::lock::LockError;
use testing::{Items, RegionItems};

use super::steps::{Ask, Step};

/// What there was before a step.
pub(crate) struct Was {
    pub(crate) regions: BTreeMap<RegionName, RegionItems>,
    pub(crate) seen: BTreeSet<String>,
}

impl Was {
    fn of(&self, region: &RegionName) -> RegionItems {
        self.regions.get(region).cloned().unwrap_or_default()
    }

    /// The step's lease was in force.
    fn holds(&self, ask: &Ask) -> bool {
        ask.lease()
            .is_some_and(|lease| self.of(&lease.region).check(lease).is_ok())
    }
}

type Before = fn(&mut Items, &mut Step);
type After = fn(&Was, &mut Items, &Step, &mut String);

/// One wrong rule.
pub(crate) struct Flaw {
    pub(crate) name: &'static str,
    /// Changes what the right rule is given.
    pub(crate) before: Before,
    /// Given the items before the step, changes what the right rule left, or answered.
    pub(crate) after: After,
}

pub(crate) fn all() -> Vec<Flaw> {
    let mut flaws = locks::flaws();
    flaws.extend(intents::flaws());
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

/// As the answer to whoever lost the lock.
fn lost(ask: &Ask) -> String {
    let lost = ask.lease().map(|lease| LockError::Lost {
        region: lease.region.clone(),
        version: lease.version,
    });
    format!("{:?}", Err::<(), _>(lost.unwrap()))
}
