//! External addresses: a pool of Elastic IPs. Each healthy replica carries at most one of them.
//!
//! An address is never taken from a healthy replica that stays. EC2's lists lag, so a list alone
//! does not say which replica carries an address. Passes therefore record each move before they
//! ask EC2 for it ([`record`]), and every replica that may carry an address by those records is
//! treated as if it did ([`view`]).

mod record;
mod report;
mod standing;
mod view;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use record::moves_to_record;
pub(super) use report::report_addresses;
use standing::Standing;
use view::{AddressDecision, AddressView, Source};

use super::plan::{Action, Plan, Step};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::ids::InstanceId;
use crate::model::{AddressListing, ExternalAddress, Machine, ReplicaStatus};

/// Gives the pool's addresses to healthy replicas without one. The moves come before all other
/// steps of the plan: an address moves before its replica is deleted.
pub(super) fn assign_addresses<'s>(
    snapshot: &'s Snapshot,
    replicas: impl Iterator<Item = (&'s Machine, &'s ReplicaStatus)>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let listed = match &snapshot.addresses {
        AddressListing::Off => return,
        AddressListing::Unknown { why } => {
            let why = why.clone();
            return plan.alert(None, Reason::AddressesUnknown { why });
        }
        AddressListing::Listed(listed) => listed,
    };
    if !listed.iter().any(|address| address.in_pool) {
        let tag = snapshot.settings.replicas.address_tag.as_ref();
        let tag = tag.map(ToString::to_string).unwrap_or_default();
        plan.note(None, Reason::AddressPoolEmpty { tag });
        return;
    }
    let deleted = plan.deleted_replicas();
    let replicas = replicas
        .map(|(machine, status)| {
            let standing = Standing::of(status, deleted.contains(&machine.id));
            (&machine.id, (machine.launched_at, standing))
        })
        .collect();
    let view = AddressView {
        listed,
        moves: &snapshot.address_moves,
        replicas,
        now,
    };
    let moves = decide_moves(&view, plan);
    plan.steps.splice(0..0, moves);
}

/// The moves, and a note about each address that is not moved and should perhaps be.
fn decide_moves(view: &AddressView<'_>, plan: &mut Plan) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut movable = Vec::new();
    for address in view.pool() {
        match view.decide(address) {
            AddressDecision::Stays => {}
            AddressDecision::Repeat(moved) => {
                let before = moved.before.last().and_then(Option::as_ref);
                let seconds = view.now.duration_since(moved.since).as_secs();
                let reason = Reason::AddressMoveNotListed { seconds };
                steps.push(step(address, &moved.to, before, reason));
            }
            AddressDecision::Movable { source, from } => movable.push((source, address, from)),
            AddressDecision::Elsewhere(carrier) => {
                let ip = address.ip;
                plan.note(None, Reason::AddressElsewhere { ip, carrier });
            }
        }
    }
    note_second_addresses(view, plan);
    movable.sort_by_key(|(source, address, _)| (*source, &address.id));
    let mut candidates = view.candidates().into_iter();
    let (mut free, mut unknown) = (0, 0);
    for (source, address, from) in movable {
        if let Some(to) = candidates.next() {
            steps.push(step(address, to, from, move_reason(view, source, from)));
        } else if source == Source::Unknown {
            unknown += 1;
        } else {
            free += 1;
        }
    }
    if free + unknown > 0 {
        plan.note(None, Reason::AddressesWithoutReplica { free, unknown });
    }
    steps
}

fn move_reason(view: &AddressView<'_>, source: Source, from: Option<&InstanceId>) -> Reason {
    match source {
        Source::Free => Reason::AddressFree,
        Source::Unknown => Reason::AddressOfUnknown,
        Source::Leaving => match from.and_then(|id| view.standing(id)) {
            Some(Standing::Gone) => Reason::AddressOfGone,
            _ => Reason::AddressOfDeleted,
        },
    }
}

/// A replica with two addresses keeps both: the service cannot know which of them an operator
/// intended it to have.
fn note_second_addresses(view: &AddressView<'_>, plan: &mut Plan) {
    let mut counts: BTreeMap<&InstanceId, usize> = BTreeMap::new();
    for id in view.pool().filter_map(|address| address.carrier.instance()) {
        *counts.entry(id).or_default() += 1;
    }
    for (id, count) in counts {
        if count > 1 && view.stays(id) {
            plan.note(Some(id), Reason::AddressesOnOne { count });
        }
    }
}

fn step(
    address: &ExternalAddress,
    to: &InstanceId,
    from: Option<&InstanceId>,
    reason: Reason,
) -> Step {
    let action = Action::MoveAddress {
        address: address.id.clone(),
        ip: address.ip,
        to: to.clone(),
        from: from.cloned(),
    };
    Step { action, reason }
}
