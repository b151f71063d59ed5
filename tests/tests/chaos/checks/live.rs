//! Never more than `max_instances` live in a region.
//!
//! Kills alone never break this. EC2 cannot be fenced: a holder that was paused between the check of
//! its lease and the requests may still launch when it continues, and so exceed the maximum by the one
//! batch that it had recorded.

use std::collections::BTreeSet;
use std::fmt;

use testing::invariants::MachineHistory;
use testing::invariants::live::{excess, live_over_time};

use crate::evidence::Evidence;
use crate::process_faults::Pause;

/// `Ec2CallSeconds`, after which a process that continues gives up a call, and some time to reach it.
const LATE_MS: i64 = 1_000 + 1_000;

/// The live machines of all regions.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// The most that lived in one region at the same time.
    pub(crate) most: usize,
    /// At how many launches a paused holder's batch exceeded the maximum.
    pub(crate) excused: usize,
    pub(crate) violations: Vec<String>,
}

impl Live {
    pub(crate) fn in_all_regions(evidence: &Evidence, max: usize) -> Self {
        let mut live = Self::default();
        let machines = evidence.machines.iter();
        let regions: BTreeSet<_> = machines.map(|it| it.region.as_str()).collect();
        for region in regions {
            let of_region = |machine: &&MachineHistory| machine.region == region;
            let machines = evidence.machines.iter().filter(of_region).cloned();
            let machines: Vec<_> = machines.collect();
            live.add(region, &machines, &evidence.pauses, max);
        }
        live
    }

    fn add(&mut self, region: &str, machines: &[MachineHistory], pauses: &[Pause], max: usize) {
        for (at_ms, alive) in live_over_time(machines) {
            self.most = self.most.max(alive.len());
            if alive.len() <= max {
                continue;
            }
            if is_excused(&alive, pauses, max) {
                self.excused += 1;
            } else {
                let text = excess(at_ms, &alive, max);
                self.violations.push(format!("{region}: {text}"));
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

/// Whether the maximum would hold without what was launched when one process continued. That is a
/// batch, which was recorded within the maximum.
fn is_excused(alive: &[&MachineHistory], pauses: &[Pause], max: usize) -> bool {
    pauses.iter().any(|pause| {
        let late = alive.iter().filter(|machine| {
            let launched = machine.states.first().map_or(0, |(_, at_ms)| *at_ms);
            (pause.to_ms..=pause.to_ms + LATE_MS).contains(&launched)
        });
        let late = late.count();
        late <= max && alive.len() - late <= max
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(id: &str, at_ms: i64) -> MachineHistory {
        MachineHistory {
            id: id.to_owned(),
            region: "r".to_owned(),
            states: vec![("pending".to_owned(), at_ms)],
            ..MachineHistory::default()
        }
    }

    fn live(machines: Vec<MachineHistory>, to_ms: i64) -> Live {
        let from_ms = to_ms - 8_000;
        let evidence = Evidence {
            machines,
            pauses: vec![Pause { from_ms, to_ms }],
            ..Evidence::default()
        };
        Live::in_all_regions(&evidence, 2)
    }

    #[test]
    fn only_one_batch_of_a_process_that_continued_is_excused() {
        let batch = || {
            vec![
                machine("i-1", 1_000),
                machine("i-2", 1_000),
                machine("i-3", 9_000),
                machine("i-4", 9_010),
            ]
        };
        let excused = live(batch(), 8_500);
        assert_eq!((excused.violations.len(), excused.excused), (0, 2));
        assert_eq!(excused.most, 4);
        let mut more = batch();
        more.push(machine("i-5", 9_020));
        assert_eq!(live(more, 8_500).violations.len(), 1, "a second batch");
        assert_eq!(live(batch(), 10_000).violations.len(), 2, "too early");
    }
}
