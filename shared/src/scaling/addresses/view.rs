//! Which replicas may carry each address now, by EC2's list and by the recorded moves, and what
//! follows for the address.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::standing::Standing;
use crate::ids::InstanceId;
use crate::model::{AddressMove, AddressMoves, Carrier, ExternalAddress};

/// EC2's list may show the state from before a move for this long. Mostly it is seconds.
const LISTING_LAG: SignedDuration = SignedDuration::from_mins(2);

/// A move that the list does not show is requested again for this long. After that, EC2 is taken
/// to refuse this replica an address, and another replica gets it.
const REPEAT_FOR: SignedDuration = SignedDuration::from_mins(2);

/// Where an address may be taken from, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Leaving,
    Free,
    Unknown,
}

/// The decision about one address.
pub(super) enum AddressDecision<'s> {
    Stays,
    /// An earlier pass requested this move, and EC2's list does not show it yet.
    Repeat(&'s AddressMove),
    Movable {
        source: Source,
        from: Option<&'s InstanceId>,
    },
    /// It is not on a replica but on, for example, an operator's machine or a NAT gateway.
    Elsewhere(String),
}

pub(super) struct AddressView<'s> {
    pub(super) listed: &'s [ExternalAddress],
    pub(super) moves: &'s AddressMoves,
    /// Each replica's launch time and standing.
    pub(super) replicas: BTreeMap<&'s InstanceId, (Timestamp, Standing)>,
    pub(super) now: Timestamp,
}

impl<'s> AddressView<'s> {
    pub(super) fn standing(&self, id: &InstanceId) -> Option<Standing> {
        self.replicas.get(id).map(|(_, standing)| *standing)
    }

    pub(super) fn stays(&self, id: &InstanceId) -> bool {
        self.standing(id) == Some(Standing::Stays)
    }

    pub(super) fn pool(&self) -> impl Iterator<Item = &'s ExternalAddress> {
        self.listed.iter().filter(|address| address.in_pool)
    }

    pub(super) fn decide(&self, address: &'s ExternalAddress) -> AddressDecision<'s> {
        let listed = address.carrier.instance();
        let Some(moved) = self.unsettled_move(address) else {
            return self.decide_with_carrier(address, listed);
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
        let others = self.possible_carriers(address).into_iter();
        let mut others = others.filter(|id| Some(*id) != carrier);
        if others.any(|id| self.stays(id)) {
            return AddressDecision::Stays;
        }
        if is_hidden && self.stays(&moved.to) {
            let requested_for = self.now.duration_since(moved.since);
            let has_no_other = self.carriers_of_others(address).all(|id| *id != moved.to);
            return if requested_for < REPEAT_FOR && has_no_other {
                AddressDecision::Repeat(moved)
            } else {
                AddressDecision::Stays
            };
        }
        self.decide_with_carrier(address, carrier)
    }

    /// The decision if `carrier` is the replica that carries the address.
    fn decide_with_carrier(
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

    /// The address's last move, if EC2's list may not show it yet.
    fn unsettled_move(&self, address: &ExternalAddress) -> Option<&'s AddressMove> {
        let moved = self.moves.get(&address.id)?;
        let is_recent = self.now.duration_since(moved.at) < LISTING_LAG;
        // A list that shows the move is from after it, unless the replica also carried the address
        // before.
        let is_shown = address.carrier.instance() == Some(&moved.to)
            && !moved.before.contains(&Some(moved.to.clone()));
        (is_recent && !is_shown).then_some(moved)
    }

    /// Every instance that may carry the address now.
    fn possible_carriers(&self, address: &'s ExternalAddress) -> BTreeSet<&'s InstanceId> {
        let moved = self.unsettled_move(address);
        let recorded = moved.into_iter().flat_map(|moved| {
            let before = moved.before.iter().flatten();
            before.chain(std::iter::once(&moved.to))
        });
        address
            .carrier
            .instance()
            .into_iter()
            .chain(recorded)
            .collect()
    }

    /// Every instance that may carry another address than this one.
    fn carriers_of_others(
        &self,
        address: &'s ExternalAddress,
    ) -> impl Iterator<Item = &'s InstanceId> {
        let others = self.listed.iter().filter(|other| other.id != address.id);
        others.flat_map(|other| self.possible_carriers(other))
    }

    /// Healthy replicas without an address, the oldest first. Replicas that EC2 did not give an
    /// address to come last.
    pub(super) fn candidates(&self) -> Vec<&'s InstanceId> {
        let carriers: BTreeSet<_> = self
            .listed
            .iter()
            .flat_map(|address| self.possible_carriers(address))
            .collect();
        let refused: BTreeSet<_> = self
            .pool()
            .filter_map(|address| {
                let moved = self.moves.get(&address.id)?;
                (address.carrier.instance() != Some(&moved.to)).then_some(&moved.to)
            })
            .collect();
        let without = self
            .replicas
            .iter()
            .filter(|(id, (_, standing))| *standing == Standing::Stays && !carriers.contains(*id));
        let mut candidates: Vec<_> = without
            .map(|(id, (launched_at, _))| (refused.contains(id), *launched_at, *id))
            .collect();
        candidates.sort_unstable();
        candidates.into_iter().map(|(_, _, id)| id).collect()
    }
}
