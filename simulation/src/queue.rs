//! What is due when. Of things due at the same moment, chance says which comes first.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::dice::Dice;

#[derive(Debug)]
pub struct Queue<T> {
    items: BTreeMap<(Timestamp, u64, u64), T>,
    added: u64,
    dice: Dice,
}

impl<T> Queue<T> {
    pub fn new(dice: Dice) -> Self {
        Self {
            items: BTreeMap::new(),
            added: 0,
            dice,
        }
    }

    pub fn add(&mut self, at: Timestamp, item: T) {
        self.added += 1;
        self.items.insert((at, self.dice.throw(), self.added), item);
    }

    pub fn next_at(&self) -> Option<Timestamp> {
        self.items.keys().next().map(|(at, _, _)| *at)
    }

    pub fn pop(&mut self) -> Option<(Timestamp, T)> {
        let ((at, _, _), item) = self.items.pop_first()?;
        Some((at, item))
    }
}
