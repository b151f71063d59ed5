//! What is written down of a plan's moves before EC2 is asked for them.

use jiff::{SignedDuration, Timestamp};

use crate::ids::InstanceId;
use crate::model::{AddressMove, AddressMoves};
use crate::scaling::plan::{Action, Plan};
use crate::scaling::snapshot::Snapshot;

/// So long a move is remembered: a replica that could not be given an address comes last.
const KEPT: SignedDuration = SignedDuration::from_mins(10);

/// No list is so many moves late. Where replicas come and go all the time, this bounds the record.
const MOST_BEFORE: usize = 20;

/// What is to be written down before EC2 is asked for the plan's moves: with the earlier ones that
/// still matter. None if there is nothing to add.
pub fn to_record(snapshot: &Snapshot, plan: &Plan, now: Timestamp) -> Option<AddressMoves> {
    let kept = |moved: &AddressMove| now.duration_since(moved.at) < KEPT;
    let mut moves = snapshot.address_moves.clone();
    moves.retain(|_, moved| kept(moved));
    let mut added = false;
    for step in &plan.steps {
        let Action::MoveAddress {
            address, to, from, ..
        } = &step.action
        else {
            continue;
        };
        added = true;
        let last = moves.remove(address);
        let moved = match last {
            Some(last) if last.to == *to => AddressMove { at: now, ..last },
            last => moved_on(last, to, from.as_ref(), now),
        };
        moves.insert(address.clone(), moved);
    }
    added.then_some(moves)
}

fn moved_on(
    last: Option<AddressMove>,
    to: &InstanceId,
    from: Option<&InstanceId>,
    now: Timestamp,
) -> AddressMove {
    let mut before = Vec::new();
    if let Some(last) = last {
        before = last.before;
        before.push(Some(last.to));
    }
    before.retain(|id| id.as_ref() != from);
    before.push(from.cloned());
    let surplus = before.len().saturating_sub(MOST_BEFORE);
    before.drain(..surplus);
    AddressMove {
        to: to.clone(),
        before,
        since: now,
        at: now,
    }
}
