//! Publishing a pass's report: log lines, and alerts for what an operator must act on.

use tracing::{error, info, warn};

use crate::alerts::{Alerts, Problem};
use crate::report::{PassOutcome, PassReport};

/// Logs the report: a line for each failed step and each note, and one for the outcome.
pub fn log_pass(report: &PassReport) {
    for result in report.results.iter().filter(|result| !result.ok) {
        error!(step = result.step, error = result.result, "step failed");
    }
    if let Some(plan) = &report.plan {
        for note in &plan.notes {
            let instance = note.instance.as_ref().map(tracing::field::display);
            if note.alert {
                error!(instance, reason = %note.reason, "alert raised");
            } else {
                info!(instance, reason = %note.reason, "note recorded");
            }
        }
    }
    let counts = report
        .plan
        .as_ref()
        .map(|plan| plan.counts)
        .unwrap_or_default();
    let rounds = report.rounds;
    let duration_ms = report.duration_ms;
    match &report.outcome {
        PassOutcome::Failed { error } => error!(error, duration_ms, "pass failed"),
        PassOutcome::Busy { until } => info!(%until, "region is locked by another pass"),
        PassOutcome::Incomplete => warn!(rounds, duration_ms, "pass incomplete"),
        // The caller gets the report of a dry run. It is not logged, because nothing was done.
        PassOutcome::DryRun => {}
        PassOutcome::Done => info!(
            target_free = counts.target,
            free = counts.free,
            starting = counts.starting,
            waiting = counts.waiting,
            occupied = counts.occupied,
            live = counts.live,
            steps = report.results.len(),
            rounds,
            duration_ms,
            "pass done"
        ),
    }
}

/// Sends alerts, if there are problems.
pub async fn alert(alerts: &dyn Alerts, report: &PassReport) {
    let problems = problems(report);
    if !problems.is_empty() {
        alerts.send(&report.region, &problems).await;
    }
}

/// What an operator must know: a failed pass, failed steps, and the plan's notes that are alerts.
pub(crate) fn problems(report: &PassReport) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let PassOutcome::Failed { error } = &report.outcome {
        problems.push(Problem {
            kind: "pass failed".to_owned(),
            text: error.clone(),
        });
    }
    for result in report.results.iter().filter(|result| !result.ok) {
        let text = format!("{}: {}", result.step, result.result);
        problems.push(Problem {
            kind: without_ids(&result.step),
            text,
        });
    }
    if let Some(plan) = &report.plan {
        problems.extend(
            plan.notes
                .iter()
                .filter(|note| note.alert)
                .map(|note| Problem {
                    // Without the instance: ten that die of one cause are one problem.
                    kind: note.reason.name(),
                    text: note.to_string(),
                }),
        );
    }
    problems
}

/// The kind of a step: its text without ids, counts and types, which all have a digit.
fn without_ids(step: &str) -> String {
    let words = step.split_whitespace();
    let plain: Vec<_> = words
        .filter(|word| !word.contains(|letter: char| letter.is_ascii_digit()))
        .collect();
    plain.join(" ")
}
