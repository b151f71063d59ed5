//! Results as text for a terminal, and as CSV.

use std::fmt::Write;

use crate::clairvoyant::Foresight;
use crate::frontier::{Goal, Point, Results, one_for_all};
use crate::policy::Policy;
use crate::{Millis, seconds};

/// Machine time as a multiple of another.
pub fn ratio(time: Millis, of: Millis) -> f64 {
    seconds(time) / seconds(of.max(1))
}

const HEAD: [&str; 13] = [
    "trace",
    "policy",
    "machine-hours",
    "clairv.",
    "bound",
    "not at once",
    "p50",
    "p99",
    "longest",
    "launches/day",
    "used/empty/booting/fragm.",
    "gave up",
    "passes",
];

fn row(workload: &str, policy: &Policy, foresight: &Foresight, point: &Point) -> [String; 13] {
    let outcome = &point.outcome;
    let wait = |quantile| match outcome.wait(quantile) {
        Some(seconds) => format!("{seconds:.0} s"),
        None => "-".to_owned(),
    };
    let share = |time| format!("{:.0}", 100.0 * ratio(time, outcome.time.total()));
    let time = &outcome.time;
    let shares = [time.used, time.empty, time.booting, time.fragmented].map(share);
    [
        workload.to_owned(),
        format!("{} {}", policy.name, point.parameter),
        format!("{:.0}", outcome.machine_hours()),
        format!(
            "{:.2}",
            ratio(outcome.machine_time(), foresight.clairvoyant)
        ),
        format!(
            "{:.2}",
            ratio(outcome.machine_time(), foresight.lower_bound)
        ),
        format!("{:.3} %", 100.0 * outcome.share_not_at_once()),
        wait(0.5),
        wait(0.99),
        wait(1.0),
        format!("{:.0}", outcome.launches_a_day()),
        format!("{} %", shares.join("/")),
        outcome.gave_up.to_string(),
        outcome.passes.to_string(),
    ]
}

/// A row of what is known in advance: it has no waits, and only its machine-hours.
fn foresight_rows(result: &Results) -> [[String; 13]; 2] {
    let Foresight {
        clairvoyant,
        lower_bound,
    } = result.foresight;
    [("clairvoyant", clairvoyant), ("lower bound", lower_bound)].map(|(name, time)| {
        let mut row = [const { String::new() }; 13];
        row[0].clone_from(&result.workload);
        name.clone_into(&mut row[1]);
        row[2] = format!("{:.0}", seconds(time) / 3600.0);
        row[3] = format!("{:.2}", ratio(time, clairvoyant));
        row[4] = format!("{:.2}", ratio(time, lower_bound));
        row
    })
}

/// The cheapest run of each policy that reaches the goal, for each workload; and each policy with the
/// one parameter that reaches it on all of them.
pub fn text(results: &[Results], policies: &[&'static Policy], goal: &Goal) -> String {
    let mut best = vec![];
    for result in results {
        best.extend(foresight_rows(result));
        for frontier in &result.frontiers {
            match frontier.best(goal) {
                Some(point) => {
                    let (name, policy) = (&result.workload, frontier.policy);
                    best.push(row(name, policy, &result.foresight, point));
                }
                None => best.push(unreached(&result.workload, frontier.policy)),
            }
        }
    }
    let mut text = format!(
        "Each trace with its own parameter: the least with at most {} % not served at once\n\n",
        100.0 * goal.not_at_once
    );
    text.push_str(&aligned(&best));
    for policy in policies {
        let Some(parameter) = one_for_all(results, policy, goal) else {
            let _ = writeln!(
                text,
                "\n{}: no {} reaches the goal on all traces",
                policy.name, policy.parameter
            );
            continue;
        };
        let _ = writeln!(
            text,
            "\nOne setting for all traces: {} with {} {parameter}\n",
            policy.name, policy.parameter
        );
        let rows: Vec<_> = results
            .iter()
            .filter_map(|result| {
                let mut frontiers = result.frontiers.iter();
                let frontier = frontiers.find(|frontier| frontier.policy.name == policy.name)?;
                let point = frontier.at(parameter)?;
                Some(row(&result.workload, policy, &result.foresight, point))
            })
            .collect();
        text.push_str(&aligned(&rows));
    }
    text
}

fn unreached(workload: &str, policy: &Policy) -> [String; 13] {
    let mut row = [const { String::new() }; 13];
    workload.clone_into(&mut row[0]);
    row[1] = format!("{}: goal not reached", policy.name);
    row
}

fn aligned(rows: &[[String; 13]]) -> String {
    let head = HEAD.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 13] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (field, width)) in row.iter().zip(widths).enumerate() {
            // Names to the left, numbers to the right.
            if column < 2 {
                let _ = write!(line, "{field:<width$}  ");
            } else {
                let _ = write!(line, "{field:>width$}  ");
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Every run, one a line, for whoever draws charts of their own.
pub fn csv(results: &[Results]) -> String {
    let mut csv = "trace,policy,parameter,machine_hours,clairvoyant_hours,lower_bound_hours,users,\
                   not_at_once,gave_up,wait_p50,wait_p99,wait_longest,launches_per_day,used_hours,\
                   empty_hours,booting_hours,fragmented_hours\n"
        .to_owned();
    let hours = |time: Millis| seconds(time) / 3600.0;
    for result in results {
        for frontier in &result.frontiers {
            for point in &frontier.points {
                let outcome = &point.outcome;
                let wait = |quantile| outcome.wait(quantile).unwrap_or(0.0);
                let slot_hours = |time| hours(time) / f64::from(outcome.slots.max(1));
                let _ = writeln!(
                    csv,
                    "{},{},{},{:.3},{:.3},{:.3},{},{},{},{:.3},{:.3},{:.3},{:.1},{:.3},{:.3},{:.3},{:.3}",
                    result.workload,
                    frontier.policy.name,
                    point.parameter,
                    outcome.machine_hours(),
                    hours(result.foresight.clairvoyant),
                    hours(result.foresight.lower_bound),
                    outcome.users,
                    outcome.not_at_once,
                    outcome.gave_up,
                    wait(0.5),
                    wait(0.99),
                    wait(1.0),
                    outcome.launches_a_day(),
                    slot_hours(outcome.time.used),
                    slot_hours(outcome.time.empty),
                    slot_hours(outcome.time.booting),
                    slot_hours(outcome.time.fragmented),
                );
            }
        }
    }
    csv
}
