//! Collects the result of a finished day and checks it.

use anyhow::Result;

use super::bill::Bill;
use super::checks::{missing_events, violations};
use super::day::Day;
use super::interruption::Interruption;
use super::rollout::Rollout;
use super::summary::Summary;
use super::users::Users;
use super::witness::compare;
use crate::upgrade::NEXT_CLIENT_SHA;

/// The summary of a day, with the problems that the checks found. `arrived` is the number of users.
///
/// # Errors
/// When the database or the EC2 emulator does not answer.
pub(super) async fn evaluate(
    day: &Day<'_>,
    users: &Users<'_>,
    arrived: usize,
    interruption: Option<Interruption>,
    rollout: Rollout,
) -> Result<Summary> {
    let sessions = day.stack.sessions.all().await?;
    let (launched, ended) = day.stack.instance_counts().await?;
    let assignments = users.assignments.borrow().clone();
    let count_ended = |how: Option<&str>| {
        let sessions = sessions.iter();
        sessions.filter(|it| it.ended.as_deref() == how).count()
    };
    let mut waits: Vec<_> = assignments.iter().filter_map(|it| it.wait).collect();
    waits.sort_unstable_by_key(|wait| wait.time);
    let served_new = assignments
        .iter()
        .filter(|it| it.client_sha == NEXT_CLIENT_SHA)
        .count();
    let mut problems = violations(&assignments, &sessions, interruption.as_ref());
    problems.extend(users.overtaken());
    let (history, differences) = compare(day, users).await?;
    problems.extend(differences);
    let mut summary = Summary {
        arrived,
        served: assignments.len(),
        waits,
        gave_up: users.gave_up.borrow().len(),
        failures: users.failures.borrow().clone(),
        served_new,
        updated: users.updated.get(),
        sessions_over: count_ended(Some("over")),
        sessions_running: count_ended(None),
        sessions_cut_off: count_ended(Some("cut off")),
        launched,
        ended,
        interruption,
        rollout,
        history,
        bill: Bill::default(),
        problems,
        pace: day.clock.pace,
    };
    let missing = missing_events(&summary);
    summary.problems.extend(missing);
    Ok(summary)
}
