//! A queue of items with the time at which each is due. Items that are due at the same time have a
//! random order.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::random::Random;

#[derive(Debug)]
pub struct Queue<T> {
    items: BTreeMap<(Timestamp, u64, u64), T>,
    added: u64,
    random: Random,
}

impl<T> Queue<T> {
    pub fn new(random: Random) -> Self {
        Self {
            items: BTreeMap::new(),
            added: 0,
            random,
        }
    }

    pub fn add(&mut self, at: Timestamp, item: T) {
        self.added += 1;
        let order = self.random.next_u64();
        self.items.insert((at, order, self.added), item);
    }

    pub fn next_at(&self) -> Option<Timestamp> {
        self.items.keys().next().map(|(at, _, _)| *at)
    }

    pub fn pop(&mut self) -> Option<(Timestamp, T)> {
        let ((at, _, _), item) = self.items.pop_first()?;
        Some((at, item))
    }
}
