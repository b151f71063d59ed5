//! A set of slots from which any one can be taken at random.

use std::collections::HashMap;

use uuid::Uuid;

#[derive(Debug, Default)]
pub(crate) struct Slots {
    ids: Vec<Uuid>,
    /// Where each of them is in `ids`.
    places: HashMap<Uuid, usize>,
}

impl Slots {
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it was not in the set.
    pub(crate) fn insert(&mut self, id: Uuid) -> bool {
        if self.contains(id) {
            return false;
        }
        self.places.insert(id, self.ids.len());
        self.ids.push(id);
        true
    }

    pub(crate) fn contains(&self, id: Uuid) -> bool {
        self.places.contains_key(&id)
    }

    pub(crate) fn remove(&mut self, id: Uuid) {
        if let Some(place) = self.places.remove(&id) {
            self.ids.swap_remove(place);
            if let Some(moved) = self.ids.get(place) {
                self.places.insert(*moved, place);
            }
        }
    }

    pub(crate) fn any(&self) -> Option<Uuid> {
        if self.ids.is_empty() {
            return None;
        }
        self.ids.get(fastrand::usize(..self.ids.len())).copied()
    }

    pub(crate) fn take_any(&mut self) -> Option<Uuid> {
        let id = self.any()?;
        self.remove(id);
        Some(id)
    }
}

impl FromIterator<Uuid> for Slots {
    fn from_iter<I: IntoIterator<Item = Uuid>>(ids: I) -> Self {
        let mut slots = Self::default();
        for id in ids {
            slots.insert(id);
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_is_taken_once_wherever_it_is() {
        let ids: Vec<_> = (0..100).map(Uuid::from_u128).collect();
        let mut slots: Slots = ids.iter().copied().collect();
        assert!(!slots.insert(ids[7]), "it is there already");
        slots.remove(ids[0]);
        slots.remove(ids[0]);
        let mut taken: Vec<_> = std::iter::from_fn(|| slots.take_any()).collect();
        taken.sort_unstable();
        assert_eq!(taken, ids[1..]);
        assert!(slots.insert(ids[7]));
        assert_eq!(slots.len(), 1);
    }
}
