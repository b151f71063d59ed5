//! What a host agent's token opens whose launch has no instance: nothing.

use super::list;
use crate::doctor::facts::{Seen, Stranger};
use crate::doctor::report::Check;

const NAME: &str = "host-agents";

/// The function with which agents read their own instance. Everything else must be unknown to them.
pub const OWN: &str = "own_instance";
/// What they must not know of.
pub const FOREIGN: [&str; 9] = [
    "app_versions",
    "heartbeats",
    "images",
    "instances",
    "region_fences",
    "region_wakeups",
    "regions",
    "slots",
    "waiting_users",
];

pub fn agents(stranger: &Stranger) -> Check {
    let seen = match stranger {
        Stranger::Rejected(reason) => {
            return Check::wrong(
                NAME,
                format!("Hasura rejects the token of a host agent: {reason}"),
                "No instance can register: each is replaced after `boot_seconds`, for ever.",
                "HASURA_GRAPHQL_JWT_SECRET of the Hasura server must be {\"type\": \"HS256\", \
                 \"key\": …} with the secret's `jwt_key`. Then deploy again, so that the functions \
                 read the secret.",
            );
        }
        Stranger::OnlyListed => {
            return Check::ok(
                NAME,
                "a host agent sends the documents of the allow list only",
            );
        }
        Stranger::Admitted(seen) => seen,
    };
    let leaks: Vec<_> = seen
        .iter()
        .filter_map(|(table, seen)| match seen {
            Seen::Rows(0) if table == OWN => None,
            Seen::Rows(rows) => Some(format!("{table} ({rows} rows)")),
            Seen::NoField | Seen::Failed(_) => None,
        })
        .collect();
    if !leaks.is_empty() {
        return Check::wrong(
            NAME,
            format!("a host agent without an instance may read {}", list(leaks)),
            "Every instance, and every user who breaks out on one, may read it, too.",
            "Remove the permissions of the role host_agent that are not in hasura/metadata: \
             `hasura metadata apply`.",
        );
    }
    let unknown: Vec<_> = seen
        .iter()
        .filter_map(|(table, seen)| match seen {
            Seen::NoField if table == OWN => Some(format!("{table}: the role has no such field")),
            Seen::Failed(reason) => Some(format!("{table}: {reason}")),
            _ => None,
        })
        .collect();
    if !unknown.is_empty() {
        return Check::wrong(
            NAME,
            format!(
                "a host agent cannot read its own instance: {}",
                list(unknown)
            ),
            "Instances register, but do not learn of their users.",
            "In hasura/: `hasura metadata apply`.",
        );
    }
    Check::ok(NAME, "a host agent without an instance reads nothing")
}
