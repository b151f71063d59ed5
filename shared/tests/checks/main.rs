//! `doctor`: what facts mean, by table, and that nothing that fails or hangs hides the rest.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod at_ec2;
mod database;
mod examination;
mod probes;
mod stores;

use shared::doctor::{Check, Verdict};

/// The verdict, and a part of what it says: of the finding or of the remedy.
#[track_caller]
fn assert_check(check: &Check, verdict: Verdict, says: &str) {
    assert_eq!(check.verdict, verdict, "{check:#?}");
    let text = format!("{} {}", check.finding, check.remedy);
    assert!(text.contains(says), "{says:?} is not in {check:#?}");
    let has_advice = !check.meaning.is_empty() && !check.remedy.is_empty();
    assert_eq!(has_advice, verdict != Verdict::Ok, "{check:#?}");
}

#[track_caller]
fn named<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    let found: Vec<_> = checks.iter().filter(|check| check.check == name).collect();
    assert_eq!(found.len(), 1, "{name}: {checks:#?}");
    found[0]
}
