//! Worlds with one defect each, which show that every check can fail.
//!
//! A broken variant replaces one of the systems behind the yield points. The code under test has no
//! defects built in: where the code itself would have to be wrong, a port does what the wrong code
//! would have done.

mod assigner;
mod database;
mod ec2;
mod line;
mod table;
mod upgrade_variants;
mod upgrades;
mod variant;
mod variants;

pub use variant::Variant;

/// All broken variants.
pub fn variants() -> impl Iterator<Item = &'static Variant> {
    variants::VARIANTS.iter().chain(upgrade_variants::VARIANTS)
}
