//! The model of `/usage`: what was used in an hour, a day or a week, without users.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use shared::ids::RegionName;
use shared::usage::SessionHistory;
use shared::usage::figures::{Figures, Histogram, RegionUsage};

use crate::gather::GatherError;

/// How far the figures go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    Hour,
    #[default]
    Day,
    Week,
}

/// What a period is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The beginning of the first step.
    pub from: Timestamp,
    /// The end of the last step, which may be in the future.
    pub to: Timestamp,
    /// Of the answer: one bar of a chart.
    pub step: SignedDuration,
    /// Of what the database is asked for.
    pub read: SignedDuration,
}

impl Period {
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.name() == name)
    }

    /// The steps until now: twelve of five minutes, 24 hours, or eight a day of today and the six days
    /// before. They begin at whole multiples since midnight UTC, because hours are counted so.
    pub fn window(self, now: Timestamp) -> Window {
        let hour = SignedDuration::from_hours(1);
        let (step, read, last, steps) = match self {
            Self::Hour => {
                let step = SignedDuration::from_mins(5);
                (step, step, step, 12)
            }
            Self::Day => (hour, hour, hour, 24),
            Self::Week => (hour * 3, hour, hour * 24, 56),
        };
        let over = now.as_second().rem_euclid(last.as_secs());
        let begun = now.as_second() - over;
        let to = Timestamp::from_second(begun + last.as_secs()).unwrap_or(now);
        Window {
            from: to.checked_sub(step * steps).unwrap_or(to),
            to,
            step,
            read,
        }
    }
}

/// The answer of `/usage`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UsageStatus {
    pub now: Timestamp,
    pub period: Period,
    /// The only region, if one is asked for.
    pub region: Option<RegionName>,
    pub from: Timestamp,
    pub step_seconds: i64,
    pub total: FiguresStatus,
    pub regions: Vec<RegionFigures>,
    /// Those that have begun, the oldest first.
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RegionFigures {
    pub region: RegionName,
    #[serde(flatten)]
    pub figures: FiguresStatus,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    pub from: Timestamp,
    /// None: nobody counted it, because no pass ran.
    #[serde(flatten)]
    pub figures: Option<FiguresStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FiguresStatus {
    /// Sessions that got a slot: at once, or after their user had waited.
    pub sessions: u64,
    pub at_once: u64,
    pub waited: u64,
    /// Users who left the line without a slot.
    pub unserved: u64,
    pub waits: Histogram,
    pub ends: BTreeMap<String, u64>,
    pub lengths: Histogram,
    pub instances_gone: u64,
    pub died_young: BTreeMap<String, u64>,
    pub machine_seconds: f64,
    pub occupied_seconds: f64,
    pub empty_seconds: f64,
    pub slot_seconds: f64,
    pub session_seconds: f64,
}

impl From<Figures> for FiguresStatus {
    fn from(figures: Figures) -> Self {
        Self {
            at_once: figures.at_once(),
            empty_seconds: figures.empty_seconds(),
            sessions: figures.sessions,
            waited: figures.waited,
            unserved: figures.unserved,
            waits: figures.waits,
            ends: figures.ends,
            lengths: figures.lengths,
            instances_gone: figures.instances_gone,
            died_young: figures.died_young,
            machine_seconds: figures.machine_seconds,
            occupied_seconds: figures.occupied_seconds,
            slot_seconds: figures.slot_seconds,
            session_seconds: figures.session_seconds,
        }
    }
}

/// Reads the figures of a period.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn read(
    history: &dyn SessionHistory,
    period: Period,
    region: Option<&RegionName>,
    now: Timestamp,
) -> Result<UsageStatus, GatherError> {
    let window = period.window(now);
    let rows = history.figures(region, window.from, window.to, window.read);
    Ok(assemble(period, region, window, now, &rows.await?))
}

fn assemble(
    period: Period,
    region: Option<&RegionName>,
    window: Window,
    now: Timestamp,
    rows: &[RegionUsage],
) -> UsageStatus {
    let step = window.step.as_secs();
    let mut total = Figures::default();
    let mut regions: BTreeMap<&RegionName, Figures> = BTreeMap::new();
    let mut steps: BTreeMap<i64, Figures> = BTreeMap::new();
    for row in rows {
        total += &row.figures;
        *regions.entry(&row.region).or_default() += &row.figures;
        let since = row.from.duration_since(window.from).as_secs();
        *steps.entry(since.div_euclid(step)).or_default() += &row.figures;
    }
    let begun = (0..)
        .map(|number| (number, window.from + window.step * number))
        .take_while(|(_, from)| *from < window.to && *from <= now);
    let steps = begun.map(|(number, from)| Step {
        from,
        figures: steps.remove(&i64::from(number)).map(Into::into),
    });
    UsageStatus {
        now,
        period,
        region: region.cloned(),
        from: window.from,
        step_seconds: step,
        steps: steps.collect(),
        total: total.into(),
        regions: regions
            .into_iter()
            .map(|(region, figures)| RegionFigures {
                region: region.clone(),
                figures: figures.into(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn periods_end_with_the_step_of_now() {
        let now = "2026-03-04T17:23:45Z";
        let cases = [
            (
                Period::Hour,
                now,
                "2026-03-04T16:25:00Z",
                "2026-03-04T17:25:00Z",
                12,
            ),
            (
                Period::Day,
                now,
                "2026-03-03T18:00:00Z",
                "2026-03-04T18:00:00Z",
                24,
            ),
            (
                Period::Week,
                now,
                "2026-02-26T00:00:00Z",
                "2026-03-05T00:00:00Z",
                54,
            ),
            (
                Period::Day,
                "2026-03-04T17:00:00Z",
                "2026-03-03T18:00:00Z",
                "2026-03-04T18:00:00Z",
                24,
            ),
        ];
        for (period, now, from, to, begun) in cases {
            let window = period.window(time(now));
            assert_eq!(
                (window.from, window.to),
                (time(from), time(to)),
                "{period:?}"
            );
            let usage = assemble(period, None, window, time(now), &[]);
            assert_eq!(usage.steps.len(), begun, "{period:?}");
            assert_eq!(usage.steps[0].from, time(from));
        }
    }

    #[test]
    fn figures_are_added_by_step_and_by_region_and_unknown_steps_have_none() {
        let now = time("2026-03-04T17:23:45Z");
        let row = |region: &str, from: &str, sessions| RegionUsage {
            region: region.into(),
            from: time(from),
            figures: Figures {
                sessions,
                waited: 1,
                machine_seconds: 60.0,
                ..Figures::default()
            },
        };
        let rows = [
            row("a", "2026-02-26T00:00:00Z", 1),
            row("a", "2026-02-26T02:00:00Z", 2),
            row("a", "2026-02-26T03:00:00Z", 4),
            row("b", "2026-02-26T02:00:00Z", 8),
        ];
        let window = Period::Week.window(now);
        let usage = assemble(Period::Week, None, window, now, &rows);
        let sessions = |figures: &FiguresStatus| figures.sessions;
        assert_eq!(sessions(&usage.total), 15);
        assert_eq!((usage.total.at_once, usage.total.waited), (11, 4));
        let regions: Vec<_> = usage.regions.iter().map(|it| it.figures.sessions).collect();
        assert_eq!(regions, [7, 8]);
        let steps = usage
            .steps
            .iter()
            .map(|it| it.figures.as_ref().map(sessions));
        let steps: Vec<_> = steps.collect();
        assert_eq!(steps[..3], [Some(11), Some(4), None]);
    }
}
