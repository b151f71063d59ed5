//! What is recorded of a plan's moves before EC2 is asked for them.

use jiff::{SignedDuration, Timestamp};

use crate::ids::InstanceId;
use crate::model::{AddressMove, AddressMoves};
use crate::scaling::plan::{Action, Plan};
use crate::scaling::snapshot::Snapshot;

/// How long a move stays recorded. For this long, a replica that EC2 gave no address to comes last.
const KEEP_FOR: SignedDuration = SignedDuration::from_mins(10);

/// How many earlier carriers of an address are recorded: no list lags by this many moves. Where
/// replicas come and go all the time, this bounds the record.
const MAX_BEFORE: usize = 20;

/// The record to write before EC2 is asked for the plan's moves: these moves, and the earlier ones
/// that still matter. None if the plan has no moves.
pub fn moves_to_record(snapshot: &Snapshot, plan: &Plan, now: Timestamp) -> Option<AddressMoves> {
    let mut moves = snapshot.address_moves.clone();
    moves.retain(|_, moved| now.duration_since(moved.at) < KEEP_FOR);
    let mut added = false;
    for step in &plan.steps {
        let Action::MoveAddress {
            address, to, from, ..
        } = &step.action
        else {
            continue;
        };
        added = true;
        let moved = match moves.remove(address) {
            Some(last) if last.to == *to => AddressMove { at: now, ..last },
            last => next_move(last, to, from.as_ref(), now),
        };
        moves.insert(address.clone(), moved);
    }
    added.then_some(moves)
}

/// The record of a move, with the carriers of the one before it.
fn next_move(
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
    let surplus = before.len().saturating_sub(MAX_BEFORE);
    before.drain(..surplus);
    AddressMove {
        to: to.clone(),
        before,
        since: now,
        at: now,
    }
}
