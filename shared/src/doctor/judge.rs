//! What the facts mean. Pure: facts in, checks out.

mod account;
mod agents;
mod database;
mod events;
mod functions;
mod hasura;
mod keys;
mod launch;
mod lock;
mod network;
mod region;
mod store;

pub use account::{quota, quota_code, spot_role};
pub use agents::{FOREIGN, OWN, agents};
pub use database::{clock, database, no_database};
pub use events::events;
pub use functions::{functions, tokens};
pub use hasura::{allow_list, hasura, no_metadata};
pub use keys::keys;
pub use launch::launch;
pub use lock::{lock, passes};
pub use network::{Chosen, network, public_addresses};
pub use region::{app_version, image, image_to_launch, regions};
pub use store::{alerts, table};

use super::ports::ProbeError;
use super::report::Check;

/// The check of something that could not be looked at. `permission` is what the role needs for it.
fn unread(check: &str, error: &ProbeError, permission: &str) -> Check {
    match error {
        ProbeError::Denied(reason) => Check::warning(
            check,
            format!("not checked, it may not be read: {reason}"),
            "It may be right or wrong.",
            format!(
                "Deploy this release's template, whose role allows {permission}; or look yourself."
            ),
        ),
        ProbeError::Missing(reason) | ProbeError::Unavailable(reason) => Check::warning(
            check,
            format!("not checked: {reason}"),
            "It may be right or wrong.",
            "Run doctor again; if it stays, correct what the reason names.",
        ),
    }
}

/// The check of something that Hasura should have told.
pub(in crate::doctor) fn untold(check: &str, error: &ProbeError) -> Check {
    Check::warning(
        check,
        format!("not checked: {error}"),
        "It may be right or wrong.",
        "See the check `schema`; if that is ok, run doctor again.",
    )
}

fn list<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<T> = items.into_iter().collect();
    let texts: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    texts.join(", ")
}
