//! What the comparisons of both fakes share: recorded steps of the real server, and fakes with one
//! rule changed on purpose, which the recorded steps must distinguish.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// A step, the real server's answer, and the state that it left.
#[derive(Debug)]
pub(crate) struct Recorded<S, K> {
    pub(crate) step: S,
    pub(crate) answer: String,
    pub(crate) state: K,
}

impl<S: Debug, K: Debug + PartialEq> Recorded<S, K> {
    /// Asserts that the fake gave the same answer and left the same state. `place` and `before` are
    /// printed otherwise.
    pub(crate) fn assert_equals(
        &self,
        fake_answer: &str,
        fake_state: &K,
        place: &str,
        before: &dyn Debug,
    ) {
        if (fake_answer, fake_state) != (&self.answer, &self.state) {
            println!("{place}: {:#?}\nbefore: {before:#?}", self.step);
            assert_eq!(
                fake_answer, self.answer,
                "answers of the fake and the server"
            );
            assert_eq!(*fake_state, self.state, "states of the fake and the server");
        }
    }
}

/// Prints how often each action was compared, and asserts the total.
pub(crate) fn assert_compared(actions: impl Iterator<Item = String>, expected: usize) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for action in actions {
        *counts.entry(action).or_default() += 1;
    }
    let steps: usize = counts.values().sum();
    println!("compared {steps} answers and all state after each: {counts:?}");
    assert_eq!(steps, expected);
}

/// A fake with one wrong rule: the right fake with state `T`, tampered with before and after a step
/// `S`. `W` is the state before the step.
pub(crate) struct Flaw<T, W, S> {
    pub(crate) name: &'static str,
    /// Changes the input of the right rule.
    pub(crate) before: fn(&mut T, &mut S),
    /// Changes the state or the answer after the right rule, given the state before the step.
    pub(crate) after: fn(&W, &mut T, &S, &mut String),
}

impl<T, W, S> Flaw<T, W, S> {
    /// The right fake.
    pub(crate) fn none() -> Self {
        Self::wrong_step("none", |_, _| {})
    }

    /// A flaw that changes the step.
    pub(crate) fn wrong_step(name: &'static str, before: fn(&mut T, &mut S)) -> Self {
        Self {
            name,
            before,
            after: |_, _, _, _| {},
        }
    }

    /// A flaw that changes the result.
    pub(crate) fn wrong_result(name: &'static str, after: fn(&W, &mut T, &S, &mut String)) -> Self {
        Self {
            name,
            before: |_, _| {},
            after,
        }
    }

    /// A flaw that changes the state during a step and restores it afterwards.
    pub(crate) fn wrong_meanwhile(
        name: &'static str,
        before: fn(&mut T, &mut S),
        after: fn(&W, &mut T, &S, &mut String),
    ) -> Self {
        Self {
            name,
            before,
            after,
        }
    }
}

/// Asserts that the recorded histories distinguish every flaw, and do not distinguish the right fake
/// from itself. `distinguishing_step` is the first step of a history at which a flaw shows.
pub(crate) async fn assert_distinguished<T, W, S, H>(
    histories: &[(u64, H)],
    flaws: Vec<Flaw<T, W, S>>,
    distinguishing_step: impl AsyncFn(&H, &Flaw<T, W, S>) -> Option<usize>,
) {
    for (seed, history) in histories {
        let found = distinguishing_step(history, &Flaw::none()).await;
        assert_eq!(
            found, None,
            "seed {seed}: the right fake differs from itself"
        );
    }
    let mut undetected = vec![];
    for flaw in flaws {
        let mut found = None;
        for (seed, history) in histories {
            if found.is_none() {
                let step = distinguishing_step(history, &flaw).await;
                found = step.map(|number| (seed, number));
            }
        }
        match found {
            Some((seed, number)) => println!("{}: seed {seed}, step {number}", flaw.name),
            None => undetected.push(flaw.name),
        }
    }
    assert!(
        undetected.is_empty(),
        "not distinguished from the right fake: {undetected:#?}"
    );
}
