//! What a plan shows of each replica's addresses.

use std::net::IpAddr;

use super::standing::Standing;
use crate::ids::InstanceId;
use crate::model::{AddressListing, Machine, ReplicaStatus};
use crate::scaling::plan::{Action, AddressReport, Plan};
use crate::scaling::snapshot::Snapshot;

/// A replica's addresses, and the plan's decision about them. None where the region has no pool.
pub(in crate::scaling) fn report_addresses(
    snapshot: &Snapshot,
    machine: &Machine,
    status: &ReplicaStatus,
    plan: &Plan,
) -> Option<AddressReport> {
    let listed = match &snapshot.addresses {
        AddressListing::Off => return None,
        AddressListing::Unknown { .. } => &[][..],
        AddressListing::Listed(listed) => listed,
    };
    let carries: Vec<IpAddr> = listed
        .iter()
        .filter(|address| address.carrier.instance() == Some(&machine.id))
        .map(|address| address.ip)
        .collect();
    let decided = moves_of(plan, &machine.id, carries.len()).unwrap_or_else(|| {
        reason_not_moved(snapshot, machine, status, plan, !carries.is_empty()).to_owned()
    });
    Some(AddressReport { carries, decided })
}

/// The plan's moves to and from a replica; None if there are none.
fn moves_of(plan: &Plan, id: &InstanceId, carries: usize) -> Option<String> {
    let moves = plan.steps.iter().filter_map(|step| match &step.action {
        Action::MoveAddress { ip, to, .. } if to == id => {
            Some(format!("gets {ip}: {}", step.reason))
        }
        Action::MoveAddress { ip, to, from, .. } if from.as_ref() == Some(id) => {
            let which = if carries == 1 {
                String::new()
            } else {
                format!("{ip} ")
            };
            Some(format!("{which}goes to {to}: {}", step.reason))
        }
        _ => None,
    });
    let moves: Vec<_> = moves.collect();
    (!moves.is_empty()).then(|| moves.join(", "))
}

fn reason_not_moved(
    snapshot: &Snapshot,
    machine: &Machine,
    status: &ReplicaStatus,
    plan: &Plan,
    carries: bool,
) -> &'static str {
    let standing = Standing::of(status, plan.deleted_replicas().contains(&machine.id));
    let mut moves = snapshot.address_moves.values();
    let was_given = moves.any(|moved| moved.to == machine.id);
    match (&snapshot.addresses, standing, carries) {
        (AddressListing::Unknown { .. }, ..) => "nothing: EC2 did not list the addresses",
        _ if snapshot.settings.paused => "nothing: the region is paused",
        (_, Standing::Stays | Standing::Creating, true) => "kept",
        (_, Standing::Unknown, true) => "kept: no healthy replica can be given it",
        (_, Standing::Leaves | Standing::Gone, true) => {
            "free when the replica is gone: no healthy replica can be given it"
        }
        (_, Standing::Stays, false) if was_given => {
            "none yet: EC2 does not list the one that was given to it"
        }
        (_, Standing::Stays, false) => "none: no address is left",
        (_, _, false) => "none: only healthy replicas get one",
    }
}
