//! A region at rest: rows and machines are the same, and nothing is left to do in the store.

use std::collections::BTreeSet;

/// What is left in a region's part of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreView {
    pub open_intents: Vec<String>,
    pub has_wake_mark: bool,
    pub lock_is_held: bool,
    /// Anything else that should not be there.
    pub other: Vec<String>,
}

impl StoreView {
    /// The work that is left, none at rest. Refusals, recorded events, the tally of launches and what is
    /// known of silent replicas are no work.
    pub fn work_left(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.open_intents.is_empty() {
            found.push(format!("open intents: {:?}", self.open_intents));
        }
        if self.has_wake_mark {
            found.push("the wake mark is set".to_owned());
        }
        if self.lock_is_held {
            found.push("the lock is held".to_owned());
        }
        found.extend(self.other.iter().map(|item| format!("{item} is left")));
        found
    }
}

/// The rows of instances are exactly the machines that EC2 has.
pub fn rows_differ<T: Ord + Clone + std::fmt::Debug>(
    rows: &BTreeSet<T>,
    machines: &BTreeSet<T>,
) -> Option<String> {
    (rows != machines).then(|| {
        format!(
            "rows without a machine: {:?}, machines without a row: {:?}",
            rows - machines,
            machines - rows
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_store_is_at_rest() {
        assert_eq!(StoreView::default().work_left(), [""; 0]);
    }

    #[test]
    fn each_kind_of_work_is_found() {
        let view = StoreView {
            open_intents: vec!["launch-1".to_owned()],
            has_wake_mark: true,
            lock_is_held: true,
            other: vec!["UNKNOWN".to_owned()],
        };
        assert_eq!(view.work_left().len(), 4);
    }

    #[test]
    fn row_without_a_machine_and_machine_without_a_row_are_found() {
        let rows = BTreeSet::from(["i-1", "i-2"]);
        assert_eq!(rows_differ(&rows, &rows), None);
        let machines = BTreeSet::from(["i-2", "i-3"]);
        let text = rows_differ(&rows, &machines).unwrap_or_default();
        assert!(text.contains("i-1") && text.contains("i-3"), "{text}");
    }
}
