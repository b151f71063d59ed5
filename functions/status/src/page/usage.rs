//! The page of `/usage`: charts, and beside each its figures as a table.

use std::collections::BTreeMap;

use askama::Template;
use jiff::{SignedDuration, Timestamp};

use super::bars::{Bars, Kind};
use super::distribution::{Distribution, distribution, seconds, share, waits};
use super::words::count;
use super::{Figure, Layout, Visit};
use crate::usage::{FiguresStatus, Period, Step, UsageStatus};

/// Who waited for less than this had a short wait.
const SHORT_WAIT: f64 = 10.0;
/// ... and for less than this a bearable one.
const LONG_WAIT: f64 = 60.0;

#[derive(Template)]
#[template(path = "usage.html")]
struct UsagePage {
    layout: Layout,
    heading: String,
    periods: Vec<PeriodLink>,
    /// The query of the same period for all regions, if this is one region's page.
    all_regions: Option<String>,
    tiles: Vec<Figure>,
    time_to_slot: String,
    /// Why figures are missing, if some are.
    missing: Option<String>,
    users: Bars,
    user_rows: Vec<Vec<String>>,
    waits: Distribution,
    lengths: Distribution,
    ends: Vec<ReasonRow>,
    gone: String,
    died_young: Vec<ReasonRow>,
    machines: Bars,
    machine_rows: Vec<Vec<String>>,
    regions: Vec<RegionRow>,
    /// The query of the same figures as JSON.
    json: String,
}

struct PeriodLink {
    name: &'static str,
    query: String,
    is_this: bool,
}

struct ReasonRow {
    code: String,
    meaning: &'static str,
    count: u64,
}

struct RegionRow {
    name: String,
    query: String,
    cells: Vec<String>,
}

pub(crate) fn usage(visit: &Visit, usage: &UsageStatus) -> Result<String, askama::Error> {
    let UsageStatus {
        period,
        total,
        region,
        ..
    } = usage;
    let place = region.as_ref().map_or("all regions", |name| name.as_str());
    let heading = format!("Usage of {place}, {}", title(*period));
    let query = |period: Period, region: Option<&str>| match region {
        Some(region) => format!("?period={}&region={region}", period.name()),
        None => format!("?period={}", period.name()),
    };
    let here = region.as_ref().map(|name| name.as_str());
    // Its figures change slowly, and cost more to read than the others.
    let layout = Layout::of(
        visit,
        format!("{heading} · Scaling service"),
        Some(usage.now),
    );
    let regions = usage.regions.iter().filter(|_| region.is_none());
    let page = UsagePage {
        layout: layout.static_page(),
        heading,
        periods: Period::ALL
            .into_iter()
            .map(|it| PeriodLink {
                name: title(it),
                query: query(it, here),
                is_this: it == *period,
            })
            .collect(),
        json: format!("{}&format=json", query(*period, here)),
        all_regions: here.map(|_| query(*period, None)),
        tiles: tiles(total),
        time_to_slot: time_to_slot(total),
        missing: missing(usage),
        users: users(usage),
        user_rows: rows(usage, user_cells),
        waits: waits(total),
        lengths: distribution(&total.lengths),
        ends: reasons(&total.ends, end_meaning),
        gone: count(total.instances_gone, "instance"),
        died_young: reasons(&total.died_young, death_meaning),
        machines: machines(usage),
        machine_rows: rows(usage, machine_cells),
        regions: regions
            .map(|it| RegionRow {
                name: it.region.to_string(),
                query: query(*period, Some(it.region.as_str())),
                cells: [user_cells(&it.figures), machine_cells(&it.figures)].concat(),
            })
            .collect(),
    };
    page.render()
}

fn title(period: Period) -> &'static str {
    match period {
        Period::Hour => "an hour",
        Period::Day => "a day",
        Period::Week => "a week",
    }
}

fn tiles(total: &FiguresStatus) -> Vec<Figure> {
    let of = |part: u64, all: u64| share(part as f64, all as f64);
    let at_once = of(total.at_once, total.sessions);
    let empty = share(total.empty_seconds, total.machine_seconds);
    vec![
        Figure::new("sessions got a slot", &total.sessions),
        Figure::new(format!("of them at once ({at_once})"), &total.at_once),
        Figure::new("after a wait", &total.waited),
        Figure::new("users left without a slot", &total.unserved),
        Figure::new("machine-hours", &hours(total.machine_seconds)),
        Figure::new(
            format!("of them empty ({empty})"),
            &hours(total.empty_seconds),
        ),
    ]
}

/// How long users waited for their slots, in one sentence.
fn time_to_slot(total: &FiguresStatus) -> String {
    let within = |share: f64| {
        let rank = (share * total.sessions as f64).ceil() as u64;
        if rank <= total.at_once {
            return Some("at once".to_owned());
        }
        let bucket = total.waits.bucket_at(share)?;
        Some(match (bucket.below, total.waits.longest_bound()) {
            (Some(below), _) => format!("within {}", seconds(below)),
            (None, Some(longest)) => format!("in more than {}", seconds(longest)),
            (None, None) => return None,
        })
    };
    if total.sessions > 0 && total.waited == 0 {
        return "Every session got its slot at once.".to_owned();
    }
    match (within(0.5), within(0.95), within(0.99)) {
        (Some(half), Some(most), Some(nearly_all)) if total.sessions > 0 => {
            format!("Half of the sessions got a slot {half}, 95 % {most}, 99 % {nearly_all}.")
        }
        _ => "No session got a slot.".to_owned(),
    }
}

fn missing(usage: &UsageStatus) -> Option<String> {
    let missing = usage.steps.iter().filter(|step| step.figures.is_none());
    let missing = missing.count();
    let of = usage.steps.len();
    (missing > 0).then(|| {
        format!("{missing} of {of} parts of this time have no figures: no pass ran to count them.")
    })
}

fn users(usage: &UsageStatus) -> Bars {
    let total = &usage.total;
    let short = |it: &FiguresStatus| it.waits.below(SHORT_WAIT).saturating_sub(it.at_once);
    let longer = |it: &FiguresStatus| {
        it.waited
            .saturating_sub(it.waits.below(LONG_WAIT).saturating_sub(it.at_once))
    };
    let kinds = vec![
        kind(usage, "at once", "most", |it| it.at_once as f64),
        kind(usage, "after less than 10 s", "some", move |it| {
            short(it) as f64
        }),
        kind(usage, "less than 1 min", "few", move |it| {
            it.waited.saturating_sub(short(it) + longer(it)) as f64
        }),
        kind(usage, "longer", "last", move |it| longer(it) as f64),
        Kind {
            is_below: true,
            ..kind(
                usage,
                "left without a slot (below the line)",
                "lost-users",
                |it| it.unserved as f64,
            )
        },
    ];
    let label = format!(
        "Sessions by time, {}: {} got a slot at once, {} after a wait; {} left without one. The table \
         below has each part.",
        title(usage.period),
        total.at_once,
        total.waited,
        count(total.unserved, "user"),
    );
    bars(usage, label, &kinds, |most| format!("{most:.0}"))
}

fn machines(usage: &UsageStatus) -> Bars {
    let kinds = vec![
        kind(usage, "with a session", "some", |it| {
            it.occupied_seconds / 3_600.0
        }),
        kind(usage, "empty", "most", |it| it.empty_seconds / 3_600.0),
    ];
    let total = &usage.total;
    let label = format!(
        "Machine-hours by time, {}: {} with a session, {} empty. The table below has each part.",
        title(usage.period),
        hours(total.occupied_seconds),
        hours(total.empty_seconds),
    );
    bars(usage, label, &kinds, |most| {
        format!("{} h", hours(most * 3_600.0))
    })
}

fn kind(
    usage: &UsageStatus,
    name: &'static str,
    class: &'static str,
    amount: impl Fn(&FiguresStatus) -> f64,
) -> Kind {
    let amounts = usage
        .steps
        .iter()
        .map(|step| step.figures.as_ref().map(&amount));
    Kind {
        name,
        class,
        amounts: amounts.collect(),
        is_below: false,
    }
}

fn bars(usage: &UsageStatus, label: String, kinds: &[Kind], amount: fn(f64) -> String) -> Bars {
    let (steps, parts, format) = match usage.period {
        Period::Hour => (12, 4, "%H:%M"),
        Period::Day => (24, 4, "%H:%M"),
        Period::Week => (56, 7, "%a %d"),
    };
    let part = SignedDuration::from_secs(usage.step_seconds) * (steps / parts);
    let ticks = (0..parts).map(|number| (usage.from + part * number).strftime(format).to_string());
    let steps = usize::try_from(steps).unwrap_or_default();
    Bars::of(label, kinds, steps, ticks.collect(), amount)
}

/// The newest part first.
fn rows(usage: &UsageStatus, cells: fn(&FiguresStatus) -> Vec<String>) -> Vec<Vec<String>> {
    let unknown = cells(&FiguresStatus::default()).len();
    let row = |step: &Step| {
        let cells = match &step.figures {
            Some(figures) => cells(figures),
            None => vec!["?".to_owned(); unknown],
        };
        [vec![time(usage.period, step.from)], cells].concat()
    };
    usage.steps.iter().rev().map(row).collect()
}

fn time(period: Period, at: Timestamp) -> String {
    let format = match period {
        Period::Hour => "%H:%M",
        Period::Day | Period::Week => "%a %d %b %H:%M",
    };
    at.strftime(format).to_string()
}

fn user_cells(figures: &FiguresStatus) -> Vec<String> {
    let FiguresStatus {
        sessions,
        at_once,
        waited,
        unserved,
        ..
    } = figures;
    [sessions, at_once, waited, unserved]
        .map(ToString::to_string)
        .to_vec()
}

fn machine_cells(figures: &FiguresStatus) -> Vec<String> {
    vec![
        hours(figures.machine_seconds),
        hours(figures.occupied_seconds),
        hours(figures.empty_seconds),
        share(figures.empty_seconds, figures.machine_seconds),
    ]
}

/// The most frequent first.
fn reasons(counts: &BTreeMap<String, u64>, meaning: fn(&str) -> &'static str) -> Vec<ReasonRow> {
    let row = |(code, count): (&String, &u64)| ReasonRow {
        code: code.clone(),
        meaning: meaning(code),
        count: *count,
    };
    let mut rows: Vec<_> = counts.iter().map(row).collect();
    rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.code.cmp(&b.code)));
    rows
}

fn end_meaning(code: &str) -> &'static str {
    match code {
        "AGENT" => "the user or the program ended it",
        "USER" => "its user asked for the end",
        "OPERATOR" => "an operator ended it",
        "LIMIT" => "a limit was reached",
        "LOST" => "its instance was found dead",
        "INTERRUPTED" => "EC2 took its instance",
        "NEVER_CLAIMED" => "its user did not connect in time",
        "MOVED" => "its user had not connected, and got another slot",
        _ => "",
    }
}

fn death_meaning(code: &str) -> &'static str {
    match code {
        "NEVER_REGISTERED" => "its agent had not registered",
        "INTERRUPTED" => "EC2 took it",
        "MISSING" => "it was in no listing of EC2 any more",
        "LOST" => "its agent was silent",
        "DEADLINE" => "its sessions did not end by their deadline",
        "ENDED" => "EC2 reported its end",
        "DELETED" => "its row was deleted by hand",
        _ => "",
    }
}

fn hours(seconds: f64) -> String {
    match seconds / 3_600.0 {
        few @ ..10.0 => format!("{few:.2}"),
        many => format!("{many:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::distribution::tests::figures;
    use super::*;

    #[test]
    fn time_to_slot_is_at_once_or_within_a_bound() {
        let waits = [(Some(1.0), 96), (Some(60.0), 3), (None, 1)];
        assert_eq!(
            time_to_slot(&figures(95, &waits)),
            "Half of the sessions got a slot at once, 95 % at once, 99 % within 1 min."
        );
        let waits = [(Some(1.0), 1), (Some(60.0), 0), (None, 1)];
        assert_eq!(
            time_to_slot(&figures(0, &waits)),
            "Half of the sessions got a slot within 1 s, 95 % in more than 1 min, 99 % in more than \
             1 min."
        );
        let waits = [(Some(1.0), 3), (None, 0)];
        assert_eq!(
            time_to_slot(&figures(3, &waits)),
            "Every session got its slot at once."
        );
        assert_eq!(time_to_slot(&figures(0, &[])), "No session got a slot.");
    }

    #[test]
    fn reasons_are_sorted_by_count() {
        let counts = [("LOST", 1), ("ENDED", 3), ("MISSING", 1)];
        let counts = counts.map(|(code, count)| (code.to_owned(), count)).into();
        let rows = reasons(&counts, death_meaning);
        let codes: Vec<_> = rows.iter().map(|row| row.code.as_str()).collect();
        assert_eq!(codes, ["ENDED", "LOST", "MISSING"]);
        assert!(rows.iter().all(|row| !row.meaning.is_empty()));
    }
}
