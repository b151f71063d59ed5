//! The fence of a region only rises, and never beyond its lock.

/// A fence that a pass raised: the version before, if there was one, and the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceChange {
    pub before: Option<i64>,
    pub version: i64,
}

/// `changes` are those of one region, in the order of their commits. `lock` is the highest version
/// of its lock.
pub fn violations(changes: &[FenceChange], lock: i64) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_force = None;
    for change in changes {
        let rises = Some(change.version) > in_force;
        if change.before != in_force || !rises || change.version > lock {
            found.push(format!(
                "the fence was at {in_force:?}, the lock at {lock}, and then: {change:?}"
            ));
        }
        in_force = Some(change.version);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(versions: &[i64]) -> Vec<FenceChange> {
        let mut last = None;
        let change = |version: &i64| FenceChange {
            before: last.replace(*version),
            version: *version,
        };
        versions.iter().map(change).collect()
    }

    #[test]
    fn rising_versions_are_accepted() {
        assert_eq!(violations(&changes(&[1, 5, 7]), 7), [""; 0]);
    }

    #[test]
    fn version_that_falls_or_exceeds_the_lock_is_found() {
        for wrong in [&[5, 4][..], &[8]] {
            assert_eq!(violations(&changes(wrong), 7).len(), 1, "{wrong:?}");
        }
    }
}
