//! Fakes with one rule changed on purpose: the right fake, tampered with before and after a step.
//! DynamoDB's histories must distinguish every one of them.

mod intents;
mod locks;

use std::collections::{BTreeMap, BTreeSet};

use shared::ids::RegionName;
use shared::lock::LockError;
use testing::{Items, RegionItems};

use crate::comparison;

use super::steps::{Action, Step};

/// The items before a step.
pub(crate) struct Was {
    pub(crate) regions: BTreeMap<RegionName, RegionItems>,
    pub(crate) seen: BTreeSet<String>,
}

impl Was {
    fn of(&self, region: &RegionName) -> RegionItems {
        self.regions.get(region).cloned().unwrap_or_default()
    }

    /// Whether the step's lease was in force.
    fn holds(&self, action: &Action) -> bool {
        action
            .lease()
            .is_some_and(|lease| self.of(&lease.region).check(lease).is_ok())
    }
}

/// One wrong rule.
pub(crate) type Flaw = comparison::Flaw<Items, Was, Step>;

pub(crate) fn all() -> Vec<Flaw> {
    let mut flaws = locks::flaws();
    flaws.extend(intents::flaws());
    flaws
}

/// The answer to a holder that has lost the lock.
fn lost(action: &Action) -> String {
    let lost = action.lease().map(|lease| LockError::Lost {
        region: lease.region.clone(),
        version: lease.version,
    });
    format!("{:?}", Err::<(), _>(lost.unwrap()))
}
