//! What a plan shows of each replica's addresses.

use std::net::IpAddr;

use super::{Standing, standing};
use crate::ids::{AddressId, InstanceId};
use crate::model::{AddressListing, AddressMove, Machine, ReplicaStatus};
use crate::scaling::plan::AddressReport;
use crate::scaling::plan::{Action, Plan};
use crate::scaling::snapshot::Snapshot;

/// A replica's addresses, and what was decided about them; none where the feature is off.
pub(in crate::scaling) fn report(
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
    let decided = moves_of(plan, &machine.id, carries.len())
        .unwrap_or_else(|| not_moved(snapshot, machine, status, plan, !carries.is_empty()));
    Some(AddressReport { carries, decided })
}

fn moves_of(plan: &Plan, id: &InstanceId, carries: usize) -> Option<String> {
    let said = plan.steps.iter().filter_map(|step| match &step.action {
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
    let said: Vec<_> = said.collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn not_moved(
    snapshot: &Snapshot,
    machine: &Machine,
    status: &ReplicaStatus,
    plan: &Plan,
    carries: bool,
) -> String {
    let standing = standing(status, plan.deleted_replicas().contains(&machine.id));
    let given = |(_, moved): (&AddressId, &AddressMove)| moved.to == machine.id;
    let text = match (&snapshot.addresses, standing, carries) {
        (AddressListing::Unknown { .. }, ..) => "nothing: EC2 did not tell the addresses",
        _ if snapshot.settings.paused => "nothing: the region is paused",
        (_, Standing::Stays | Standing::Creating, true) => "kept",
        (_, Standing::Unknown, true) => "kept: no healthy replica can be given it",
        (_, Standing::Leaves | Standing::Gone, true) => {
            "free when it is gone: no healthy replica can be given it"
        }
        (_, Standing::Stays, false) if snapshot.address_moves.iter().any(given) => {
            "none yet: one was given to it, which EC2 does not list"
        }
        (_, Standing::Stays, false) => "none: none is left",
        (_, _, false) => "none: only healthy ones get one",
    };
    text.to_owned()
}
