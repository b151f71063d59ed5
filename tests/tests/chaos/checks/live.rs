//! Never more than `max_instances` live in a region.
//!
//! Kills alone never break it. EC2 cannot be fenced: a holder that was paused between the look at
//! its lease and the request may still launch when it goes on, so that it may exceed the maximum
//! by the one batch that it had recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use scaling_tests::ledger::Machine;

use crate::evidence::Evidence;
use crate::hunt::Pause;

/// `Ec2CallSeconds`, after which whoever goes on gives a call up, and some time to get to it.
const LATE_MS: i64 = 1_000 + 1_000;

/// What came to light about all regions.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// The most that lived in one region at a time.
    pub(crate) most: usize,
    /// How often a paused holder's batch exceeded the maximum.
    pub(crate) excused: usize,
    pub(crate) violations: Vec<String>,
}

impl Live {
    pub(crate) fn in_all_regions(evidence: &Evidence, max: usize) -> Self {
        let mut live = Self::default();
        let regions: BTreeSet<_> = evidence
            .machines
            .iter()
            .map(|it| it.region.as_str())
            .collect();
        for region in regions {
            let machines = evidence.machines.iter().filter(|it| it.region == region);
            live.look_at(region, machines, &evidence.pauses, max);
        }
        live
    }

    /// The number changes only where a machine comes or goes.
    fn look_at<'e>(
        &mut self,
        region: &str,
        machines: impl Iterator<Item = &'e Machine>,
        pauses: &[Pause],
        max: usize,
    ) {
        // Of one moment the ends first.
        let mut changes: BTreeMap<(i64, bool), Vec<&Machine>> = BTreeMap::new();
        for machine in machines {
            for transition in &machine.transitions {
                match transition.state.as_str() {
                    "pending" => changes
                        .entry((transition.at_ms, true))
                        .or_default()
                        .push(machine),
                    "terminated" => changes
                        .entry((transition.at_ms, false))
                        .or_default()
                        .push(machine),
                    _ => {}
                }
            }
        }
        let mut alive: BTreeMap<&str, &Machine> = BTreeMap::new();
        for ((at_ms, begins), machines) in changes {
            for machine in machines {
                if begins {
                    alive.insert(&machine.id, machine);
                } else {
                    alive.remove(machine.id.as_str());
                }
            }
            self.most = self.most.max(alive.len());
            if alive.len() <= max {
                continue;
            }
            let living: Vec<_> = alive.values().copied().collect();
            if is_excused(&living, pauses, max) {
                self.excused += 1;
            } else {
                let ids: Vec<_> = alive.keys().collect();
                self.violations.push(format!(
                    "{region} has {ids:?} at {at_ms}, and may have {max}"
                ));
            }
        }
    }
}

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} live in a region at most ({} excused)",
            self.most, self.excused
        )
    }
}

/// Whether all would be well without one batch that was launched when somebody went on.
fn is_excused(alive: &[&Machine], pauses: &[Pause], max: usize) -> bool {
    let late = alive.iter().filter(|machine| {
        let launched = machine.transitions.first().map_or(0, |first| first.at_ms);
        let just_on = |pause: &Pause| (pause.to_ms..=pause.to_ms + LATE_MS).contains(&launched);
        pauses.iter().any(just_on)
    });
    let batches: BTreeSet<_> = late.map(|machine| &machine.client_token).collect();
    batches.into_iter().any(|batch| {
        let others = alive
            .iter()
            .filter(|machine| machine.client_token != *batch);
        others.count() <= max
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::examples::{ended, machine};

    fn live(machines: Vec<Machine>, pauses: Vec<Pause>) -> Live {
        let evidence = Evidence {
            machines,
            pauses,
            ..Evidence::default()
        };
        Live::in_all_regions(&evidence, 2)
    }

    fn pause_until(to_ms: i64) -> Vec<Pause> {
        let from_ms = to_ms - 8_000;
        vec![Pause { from_ms, to_ms }]
    }

    #[test]
    fn one_that_comes_when_another_has_gone_is_well() {
        let machines = vec![
            ended(machine("i-1", "a", 1_000), 2_000, "user"),
            machine("i-2", "a", 1_000),
            machine("i-3", "b", 2_000),
        ];
        let live = live(machines, Vec::new());
        assert_eq!((live.most, live.excused), (2, 0));
        assert_eq!(live.violations, [""; 0]);
    }

    #[test]
    fn one_too_many_is_seen_also_if_it_goes_again() {
        let machines = || {
            vec![
                machine("i-1", "a", 1_000),
                machine("i-2", "a", 1_000),
                ended(machine("i-3", "b", 2_000), 3_000, "user"),
            ]
        };
        assert_eq!(live(machines(), Vec::new()).violations.len(), 1);
        assert_eq!(
            live(machines(), pause_until(2_500)).violations.len(),
            1,
            "too early"
        );
    }

    #[test]
    fn only_the_batch_of_one_who_went_on_is_excused() {
        let batch = || {
            vec![
                machine("i-1", "a", 1_000),
                machine("i-2", "a", 1_000),
                machine("i-3", "b", 9_000),
                machine("i-4", "b", 9_000),
            ]
        };
        let excused = live(batch(), pause_until(8_500));
        assert_eq!((excused.violations.len(), excused.excused), (0, 1));
        let mut more = batch();
        more.push(machine("i-5", "c", 9_000));
        assert_eq!(
            live(more, pause_until(8_500)).violations.len(),
            1,
            "a second batch"
        );
    }
}
