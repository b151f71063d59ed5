//! What is left of a pass: one log line, errors once, and an alert where somebody must look.

use tracing::{error, info, warn};

use crate::alerts::{Alerts, Problem};
use crate::report::{PassOutcome, PassReport};

pub fn log_pass(report: &PassReport) {
    for result in report.results.iter().filter(|result| !result.ok) {
        error!(
            step = result.step,
            problem = result.result,
            "a step was not carried out"
        );
    }
    if let Some(plan) = &report.plan {
        for note in &plan.notes {
            if note.alert {
                error!(note = %note, "an operator should look");
            } else {
                info!(note = %note, "noted");
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
        PassOutcome::Failed { error } => error!(problem = error, duration_ms, "pass failed"),
        PassOutcome::Busy { until } => info!(%until, "another pass is at it"),
        PassOutcome::Incomplete => warn!(rounds, duration_ms, "pass incomplete"),
        // A dry run is answered, not recorded.
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

/// Tells an operator what will not go and what could not be done.
pub async fn alert(alerts: &dyn Alerts, report: &PassReport) {
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
            kind: result.step.clone(),
            text,
        });
    }
    if let Some(plan) = &report.plan {
        problems.extend(
            plan.notes
                .iter()
                .filter(|note| note.alert)
                .map(|note| Problem {
                    kind: format!("{} {:?}", note.reason.name(), note.instance),
                    text: note.to_string(),
                }),
        );
    }
    if !problems.is_empty() {
        alerts.send(&report.region, &problems).await;
    }
}
