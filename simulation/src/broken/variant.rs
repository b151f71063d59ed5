//! A broken variant.

use std::fmt;

use crate::checks::Check;
use crate::world::World;

/// A defect, and the check that has to find it.
#[derive(Clone, Copy)]
pub struct Variant {
    pub name: &'static str,
    pub found_by: Check,
    /// A seed in which the check finds the defect; it is tried first.
    pub seed: u64,
    pub break_it: fn(&mut World),
}

impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

pub(super) const fn variant(
    name: &'static str,
    found_by: Check,
    seed: u64,
    break_it: fn(&mut World),
) -> Variant {
    Variant {
        name,
        found_by,
        seed,
        break_it,
    }
}
