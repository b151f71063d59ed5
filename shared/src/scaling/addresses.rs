//! External addresses: a pool of Elastic IPs that healthy replicas carry, one each.
//!
//! An address is never taken from a healthy replica that stays. EC2's lists lag, so a list alone
//! cannot tell who carries an address: what earlier passes wrote down before they asked EC2 tells
//! who *may* carry it, and whoever may is treated as if it did.

mod record;
mod report;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

pub use record::to_record;
pub(super) use report::report;

use super::plan::{Action, Plan, Step};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::ids::InstanceId;
use crate::model::{
    AddressListing, AddressMove, AddressMoves, Carrier, ExternalAddress, Machine, ReplicaStatus,
};

/// So long after a move EC2's list may still be from before it. Mostly it is seconds.
const SETTLES: SignedDuration = SignedDuration::from_mins(2);

/// So long a move that the list does not show is asked for again; then the replica is one that
/// EC2 gives no address to, and another one's turn comes.
const REPEATED: SignedDuration = SignedDuration::from_mins(2);

/// How a replica stands, as far as addresses go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Healthy, and not deleted by this plan.
    Stays,
    /// Deleted by this plan.
    Leaves,
    /// EC2 is about to delete it, or has.
    Gone,
    Unknown,
    Creating,
}

/// Where an address may be taken from, in the order in which they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Leaving,
    Free,
    Unknown,
}

/// Adds the moves before all other steps: an address is handed over before its replica is deleted.
pub(super) fn decide<'s>(
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
            let standing = standing(status, deleted.contains(&machine.id));
            (&machine.id, (machine.launched_at, standing))
        })
        .collect();
    let view = AddressView {
        listed,
        moves: &snapshot.address_moves,
        replicas,
        now,
    };
    let moves = view.moves(plan);
    plan.steps.splice(0..0, moves);
}

fn standing(status: &ReplicaStatus, is_deleted: bool) -> Standing {
    match status {
        _ if is_deleted => Standing::Leaves,
        ReplicaStatus::Healthy { .. } => Standing::Stays,
        ReplicaStatus::Creating => Standing::Creating,
        ReplicaStatus::Unknown { .. } => Standing::Unknown,
        // In a paused region, where nothing is moved either.
        ReplicaStatus::Terminated | ReplicaStatus::InError { .. } => Standing::Leaves,
        ReplicaStatus::Deleting => Standing::Gone,
    }
}

struct AddressView<'s> {
    listed: &'s [ExternalAddress],
    moves: &'s AddressMoves,
    replicas: BTreeMap<&'s InstanceId, (Timestamp, Standing)>,
    now: Timestamp,
}

/// What is to become of one address.
enum AddressDecision<'s> {
    Stays,
    /// An earlier pass has asked for this, and EC2's list does not show it yet.
    Repeat(&'s AddressMove),
    Movable {
        source: Source,
        from: Option<&'s InstanceId>,
    },
    /// It is none of ours: an operator's machine, a NAT gateway.
    Elsewhere(String),
}

impl<'s> AddressView<'s> {
    fn standing(&self, id: &InstanceId) -> Option<Standing> {
        self.replicas.get(id).map(|(_, standing)| *standing)
    }

    fn stays(&self, id: &InstanceId) -> bool {
        self.standing(id) == Some(Standing::Stays)
    }

    fn pool(&self) -> impl Iterator<Item = &'s ExternalAddress> {
        self.listed.iter().filter(|address| address.in_pool)
    }

    /// A move that EC2's list may not show yet.
    fn settling(&self, address: &ExternalAddress) -> Option<&'s AddressMove> {
        let moved = self.moves.get(&address.id)?;
        let is_recent = self.now.duration_since(moved.at) < SETTLES;
        // A list that shows it is from after the move, unless it was there before, too.
        let is_shown = address.carrier.instance() == Some(&moved.to)
            && !moved.before.contains(&Some(moved.to.clone()));
        (is_recent && !is_shown).then_some(moved)
    }

    /// Everyone who may carry the address now.
    fn may_carry(&self, address: &'s ExternalAddress) -> BTreeSet<&'s InstanceId> {
        let moved = self.settling(address);
        let before = moved.into_iter().flat_map(|moved| {
            let before = moved.before.iter().flatten();
            before.chain(std::iter::once(&moved.to))
        });
        address
            .carrier
            .instance()
            .into_iter()
            .chain(before)
            .collect()
    }

    fn fate(&self, address: &'s ExternalAddress) -> AddressDecision<'s> {
        let listed = address.carrier.instance();
        let Some(moved) = self.settling(address) else {
            return self.fate_with(address, listed);
        };
        let is_from_before = match &address.carrier {
            Carrier::Other(_) => false,
            _ => moved.before.iter().any(|before| before.as_ref() == listed),
        };
        let is_hidden = is_from_before && listed != Some(&moved.to);
        let carrier = if is_hidden && self.replicas.contains_key(&moved.to) {
            Some(&moved.to)
        } else {
            listed
        };
        let others = self.may_carry(address).into_iter();
        let mut others = others.filter(|id| Some(*id) != carrier);
        if others.any(|id| self.stays(id)) {
            return AddressDecision::Stays;
        }
        if is_hidden && self.stays(&moved.to) {
            let lasts = self.now.duration_since(moved.since);
            let is_alone = self.carriers_but(address).all(|id| *id != moved.to);
            return if lasts < REPEATED && is_alone {
                AddressDecision::Repeat(moved)
            } else {
                AddressDecision::Stays
            };
        }
        self.fate_with(address, carrier)
    }

    /// Everyone who may carry another address than this one.
    fn carriers_but(&self, address: &'s ExternalAddress) -> impl Iterator<Item = &'s InstanceId> {
        let others = self.listed.iter().filter(|other| other.id != address.id);
        others.flat_map(|other| self.may_carry(other))
    }

    fn fate_with(
        &self,
        address: &ExternalAddress,
        carrier: Option<&'s InstanceId>,
    ) -> AddressDecision<'s> {
        let Some(id) = carrier else {
            return match &address.carrier {
                Carrier::Other(what) => AddressDecision::Elsewhere(what.clone()),
                _ => AddressDecision::Movable {
                    source: Source::Free,
                    from: None,
                },
            };
        };
        let source = match self.standing(id) {
            Some(Standing::Stays | Standing::Creating) => return AddressDecision::Stays,
            Some(Standing::Leaves | Standing::Gone) => Source::Leaving,
            Some(Standing::Unknown) => Source::Unknown,
            None => return AddressDecision::Elsewhere(id.to_string()),
        };
        let from = Some(id);
        AddressDecision::Movable { source, from }
    }

    /// Healthy replicas without an address, the oldest first; those that EC2 did not give one to
    /// come last.
    fn candidates(&self) -> Vec<&'s InstanceId> {
        let busy: BTreeSet<_> = self
            .listed
            .iter()
            .flat_map(|it| self.may_carry(it))
            .collect();
        let refused: BTreeSet<_> = self
            .pool()
            .filter_map(|address| {
                let moved = self.moves.get(&address.id)?;
                (address.carrier.instance() != Some(&moved.to)).then_some(&moved.to)
            })
            .collect();
        let free = self
            .replicas
            .iter()
            .filter(|(id, (_, standing))| *standing == Standing::Stays && !busy.contains(*id));
        let mut candidates: Vec<_> = free
            .map(|(id, (launched_at, _))| (refused.contains(id), *launched_at, *id))
            .collect();
        // The last one is taken first.
        candidates.sort_by_key(|candidate| Reverse(*candidate));
        candidates.into_iter().map(|(_, _, id)| id).collect()
    }

    fn moves(&self, plan: &mut Plan) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut movable = Vec::new();
        for address in self.pool() {
            match self.fate(address) {
                AddressDecision::Stays => {}
                AddressDecision::Repeat(moved) => {
                    let before = moved.before.last().and_then(Option::as_ref);
                    let seconds = self.now.duration_since(moved.since).as_secs();
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
        self.note_second_ones(plan);
        movable.sort_by_key(|(source, address, _)| (*source, &address.id));
        let mut candidates = self.candidates();
        let (mut free, mut unknown) = (0, 0);
        for (source, address, from) in movable {
            if let Some(to) = candidates.pop() {
                let reason = self.reason(source, from);
                steps.push(step(address, to, from, reason));
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

    fn reason(&self, source: Source, from: Option<&InstanceId>) -> Reason {
        match source {
            Source::Free => Reason::AddressFree,
            Source::Unknown => Reason::AddressOfUnknown,
            Source::Leaving => match from.and_then(|id| self.standing(id)) {
                Some(Standing::Gone) => Reason::AddressOfGone,
                _ => Reason::AddressOfDeleted,
            },
        }
    }

    /// Which of two an operator meant it to have is not for us to say.
    fn note_second_ones(&self, plan: &mut Plan) {
        let mut counts: BTreeMap<&InstanceId, usize> = BTreeMap::new();
        for id in self.pool().filter_map(|address| address.carrier.instance()) {
            *counts.entry(id).or_default() += 1;
        }
        for (id, count) in counts {
            if count > 1 && self.stays(id) {
                plan.note(Some(id), Reason::AddressesOnOne { count });
            }
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
