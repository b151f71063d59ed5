//! Never more machines live in a region than it may have.

use std::collections::BTreeMap;

use super::MachineHistory;

/// The machines that live at each moment at which one starts or ends. Times are in milliseconds; at
/// the same moment, ends come first.
pub fn live_over_time(machines: &[MachineHistory]) -> Vec<(i64, Vec<&MachineHistory>)> {
    let mut changes: BTreeMap<(i64, bool), Vec<&MachineHistory>> = BTreeMap::new();
    for machine in machines {
        for (state, at_ms) in &machine.states {
            let starts = match state.as_str() {
                "pending" => true,
                "terminated" => false,
                _ => continue,
            };
            changes.entry((*at_ms, starts)).or_default().push(machine);
        }
    }
    let mut live: BTreeMap<&str, &MachineHistory> = BTreeMap::new();
    changes
        .into_iter()
        .map(|((at_ms, starts), machines)| {
            for machine in machines {
                if starts {
                    live.insert(&machine.id, machine);
                } else {
                    live.remove(machine.id.as_str());
                }
            }
            (at_ms, live.values().copied().collect())
        })
        .collect()
}

/// Never more than `max` machines live at the same time.
pub fn violations(machines: &[MachineHistory], max: usize) -> Vec<String> {
    live_over_time(machines)
        .into_iter()
        .filter(|(_, live)| live.len() > max)
        .map(|(at_ms, live)| excess(at_ms, &live, max))
        .collect()
}

/// The text of a violation.
pub fn excess(at_ms: i64, live: &[&MachineHistory], max: usize) -> String {
    let ids: Vec<_> = live.iter().map(|machine| &machine.id).collect();
    format!(
        "{} live at {at_ms}, with a maximum of {max}: {ids:?}",
        ids.len()
    )
}

#[cfg(test)]
mod tests {
    use super::super::examples::{ended, machine};
    use super::*;

    #[test]
    fn start_at_the_moment_of_an_end_is_accepted() {
        let machines = [
            ended(machine("i-1", "a", 1_000), 2_000, "user"),
            machine("i-2", "a", 1_000),
            machine("i-3", "b", 2_000),
        ];
        assert_eq!(violations(&machines, 2), [""; 0]);
    }

    #[test]
    fn excess_is_found_even_if_it_ends() {
        let machines = [
            machine("i-1", "a", 1_000),
            machine("i-2", "a", 1_000),
            ended(machine("i-3", "b", 2_000), 3_000, "user"),
        ];
        assert_eq!(violations(&machines, 2).len(), 1);
    }
}
