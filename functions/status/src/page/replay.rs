//! The page of `/replay`: what happened, and what today's and other settings would have cost.

use askama::Template;
use jiff::Timestamp;
use scaling_economics::replay::{Figures, Played, Replay, Result as Outcome};
use serde_json::Value;

use super::words::full;
use super::{Layout, Visit};
use crate::replay::ReplayOf;

/// What the form of the page offers.
const SINCE: [(&str, &str); 4] = [
    ("6h", "six hours"),
    ("1d", "a day"),
    ("7d", "a week"),
    ("28d", "four weeks"),
];

#[derive(Template)]
#[template(path = "replay.html")]
struct ReplayPage {
    layout: Layout,
    region: String,
    from: String,
    to: String,
    times: Vec<Choice>,
    algorithms: Vec<Choice>,
    target: String,
    goal: String,
    worth: String,
    rows: Vec<Row>,
    chart: String,
    json: String,
}

struct Choice {
    value: &'static str,
    name: &'static str,
    is_this: bool,
}

struct Row {
    name: String,
    cells: [String; 5],
    problem: Option<String>,
}

pub(crate) fn replay(
    visit: &Visit,
    of: &ReplayOf,
    replay: &Replay,
    now: Timestamp,
) -> Result<String, askama::Error> {
    let title = format!("Replay of {} · Scaling service", replay.region);
    let setting = |column: &str| of.settings.get(column).map(plain).unwrap_or_default();
    let algorithm = setting("algorithm");
    let hours = of.since.as_hours();
    let page = ReplayPage {
        layout: Layout::of(visit, title, Some(now)).static_page(),
        region: replay.region.clone(),
        from: full(replay.from),
        to: full(replay.to),
        times: SINCE
            .map(|(value, name)| Choice {
                value,
                name,
                is_this: scaling_economics::replay::parse_since(value)
                    .is_some_and(|since| since.as_hours() == hours),
            })
            .into(),
        algorithms: [
            ("", "as it is"),
            ("default", "default"),
            ("adaptive", "adaptive"),
        ]
        .map(|(value, name)| Choice {
            value,
            name,
            is_this: value == algorithm,
        })
        .into(),
        target: setting("target_free"),
        goal: setting("stock_out_goal"),
        worth: worth(replay),
        rows: rows(replay),
        chart: replay.chart.clone().unwrap_or_default(),
        json: format!("?{}&format=json", of.query()),
    };
    page.render()
}

/// How far the replay of what was set is from what happened.
fn worth(replay: &Replay) -> String {
    if replay.recorded.machine_hours <= 0.0 {
        return "No machine ran in this time, or no pass has counted it yet.".to_owned();
    }
    if replay.recorded.users == 0 {
        return "Nobody came in this time: what is compared is the buffer alone.".to_owned();
    }
    let percent = 100.0 * replay.machine_hours_off;
    format!(
        "The replay of today's settings has {:.1} % {} machine-hours than what happened: that is what \
         the others are worth. It knows nothing of changes of the settings within the time, nor of \
         upgrades.",
        percent.abs(),
        if percent < 0.0 { "fewer" } else { "more" },
    )
}

fn rows(replay: &Replay) -> Vec<Row> {
    let mut rows = vec![
        row("what happened".to_owned(), &replay.recorded),
        played("today's settings".to_owned(), &replay.today),
    ];
    rows.extend(replay.proposals.iter().map(|it| played(named(it), it)));
    rows.extend(replay.frontier.iter().map(|it| played(named(it), it)));
    let bound = |name: &str, hours: f64| Row {
        name: name.to_owned(),
        cells: [
            format!("{hours:.1}"),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ],
        problem: None,
    };
    rows.push(bound(
        "somebody who knew the future",
        replay.clairvoyant_machine_hours,
    ));
    rows.push(bound("nobody gets below", replay.lower_bound_machine_hours));
    rows
}

fn named(played: &Played) -> String {
    let settings = played.settings.iter();
    let settings: Vec<_> = settings
        .map(|(column, value)| format!("{column} = {}", plain(value)))
        .collect();
    settings.join(", ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn played(name: String, played: &Played) -> Row {
    match &played.result {
        Outcome::Figures(figures) => row(name, figures),
        Outcome::Problem { problem } => Row {
            name,
            cells: std::array::from_fn(|_| String::new()),
            problem: Some(problem.clone()),
        },
    }
}

fn row(name: String, figures: &Figures) -> Row {
    let share = 100.0 * figures.not_at_once as f64 / figures.users.max(1) as f64;
    let seconds =
        |wait: Option<f64>| wait.map_or_else(|| "–".to_owned(), |it| format!("{it:.0} s"));
    Row {
        name,
        cells: [
            format!("{:.1}", figures.machine_hours),
            figures.users.to_string(),
            format!("{} ({share:.2} %)", figures.not_at_once),
            seconds(figures.wait_p50),
            seconds(figures.wait_longest),
        ],
        problem: None,
    }
}
