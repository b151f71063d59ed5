//! Subnets and security groups: there, with room, and of one network.

use super::region::not_answered;
use crate::doctor::facts::{Group, Subnet};
use crate::doctor::report::Check;
use crate::host::{HostError, HostErrorKind};
use crate::settings::{AddressSource, LaunchChoice};

/// One launch choice, and what EC2 says of its subnets.
#[derive(Debug)]
pub struct Chosen<'a> {
    pub choice: &'a LaunchChoice,
    pub subnets: Result<Vec<Subnet>, HostError>,
}

/// `has_groups`: the region names security groups. Otherwise EC2 uses the network's default group.
pub fn network(
    chosen: &[Chosen<'_>],
    groups: &Result<Vec<Group>, HostError>,
    has_groups: bool,
) -> Vec<Check> {
    vec![subnets(chosen), security_groups(chosen, groups, has_groups)]
}

fn subnets(chosen: &[Chosen<'_>]) -> Check {
    const NAME: &str = "subnets";
    if chosen.is_empty() {
        return Check::wrong(
            NAME,
            "regions.launch_choices is empty",
            "No instance can be launched.",
            "Name an instance type, its capacity and a subnet in regions.launch_choices.",
        );
    }
    let mut full = Vec::new();
    for Chosen { choice, subnets } in chosen {
        let subnets = match subnets {
            Ok(subnets) => subnets,
            Err(error) if error.kind == HostErrorKind::Invalid || is_unknown(error) => {
                return Check::wrong(
                    NAME,
                    format!("{choice}: {error}"),
                    "This launch choice always fails.",
                    "Correct `subnet_id` or `subnet_tag` in regions.launch_choices, or tag the \
                     subnet.",
                );
            }
            Err(error) => return not_answered(NAME, error),
        };
        let empty = subnets.iter().filter(|subnet| subnet.free_addresses == 0);
        full.extend(empty.map(|subnet| subnet.id.as_str()));
    }
    full.sort_unstable();
    full.dedup();
    if !full.is_empty() {
        return Check::warning(
            NAME,
            format!("without a free address: {}", full.join(", ")),
            "Launches there fail until instances end.",
            "Add a launch choice in a larger subnet.",
        );
    }
    Check::ok(
        NAME,
        format!("those of {} launch choices are there", chosen.len()),
    )
}

/// None in a region whose users get no public addresses. A warning only: an Elastic IP may come later.
pub fn public_addresses(source: &AddressSource, chosen: &[Chosen<'_>]) -> Option<Check> {
    const NAME: &str = "public-addresses";
    if *source != AddressSource::Public {
        return None;
    }
    let subnets = chosen
        .iter()
        .filter_map(|it| it.subnets.as_ref().ok())
        .flatten();
    let mut without: Vec<_> = subnets
        .filter(|subnet| !subnet.assigns_public_addresses)
        .map(|subnet| subnet.id.as_str())
        .collect();
    without.sort_unstable();
    without.dedup();
    Some(if without.is_empty() {
        Check::ok(NAME, "the subnets assign them")
    } else {
        Check::warning(
            NAME,
            format!("subnets that assign none: {}", without.join(", ")),
            "Users of the region get public addresses (address_source). An instance there does not \
             register before an Elastic IP is associated with it.",
            "Let the subnets assign public IPv4 addresses, or set regions.address_source to private.",
        )
    })
}

fn is_unknown(error: &HostError) -> bool {
    error.code.contains("NotFound") || error.code.contains("Malformed")
}

fn security_groups(
    chosen: &[Chosen<'_>],
    groups: &Result<Vec<Group>, HostError>,
    has_groups: bool,
) -> Check {
    const NAME: &str = "security-groups";
    const REMEDY: &str = "Correct regions.security_groups: ids or tags of groups in the network of \
                          the launch choices' subnets.";
    if !has_groups {
        return Check::ok(NAME, "none named: each network's default group is used");
    }
    let groups = match groups {
        Ok(groups) => groups,
        Err(error) if error.kind == HostErrorKind::Invalid || is_unknown(error) => {
            let meaning = "No instance can be launched.";
            return Check::wrong(NAME, error.to_string(), meaning, REMEDY);
        }
        Err(error) => return not_answered(NAME, error),
    };
    let subnets = chosen
        .iter()
        .filter_map(|it| it.subnets.as_ref().ok())
        .flatten();
    for subnet in subnets {
        if let Some(group) = groups.iter().find(|group| group.vpc != subnet.vpc) {
            return Check::wrong(
                NAME,
                format!(
                    "{} is of {}, and {} of {}",
                    group.id, group.vpc, subnet.id, subnet.vpc
                ),
                "Launches into that subnet fail.",
                REMEDY,
            );
        }
    }
    Check::ok(
        NAME,
        format!("{} there, in the network of the subnets", groups.len()),
    )
}
