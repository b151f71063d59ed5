//! The bill of the day: its machine-hours and its users who waited, as they were and as `reconcile` plays
//! them again, with the settings of the day, with `adaptive`, and with the fixed buffer of each region with
//! which as few users wait.
//!
//! All are of one and the same recorded day, until a new image is rolled out: replays play no upgrades.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::settings::ADAPTIVE;

use super::clock::{DayTime, Pace};
use super::day::Day;
use super::regions::{FLOOR, REGIONS, STOCK_OUT_GOAL};
use super::rollout::REQUEST_TIME;

/// The fixed buffers that are played, in free slots.
const BUFFERS: [u32; 19] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20, 24, 28, 32,
];

/// What one way to keep slots free costs, in real hours, and how many users had to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    pub(super) machine_hours: f64,
    pub(super) waited: u64,
}

/// The day in one region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RegionBill {
    pub(super) region: &'static str,
    pub(super) users: u64,
    pub(super) recorded: Cost,
    /// The same day, played with the settings that it had.
    pub(super) replayed: Cost,
    pub(super) adaptive: Cost,
    /// The least fixed buffer with which not more users wait than with `adaptive`, and what it costs.
    pub(super) fixed: Option<(u32, Cost)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bill(pub(super) Vec<RegionBill>);

/// How far the replayed day may be from the day, as parts of the recorded machine-hours and of all users. It
/// has 4 to 8 % fewer machine-hours: a machine costs until its row is gone, which is a pass after what the
/// replay counts, and these live for a minute. On a busy machine, passes are late, too.
const HOURS_OFF: f64 = 0.15;
const WAITED_OFF: f64 = 0.06;

/// In shorter days, a pass that is a second late is late by a quarter of an hour, and nothing is compared.
const SHORTEST_COMPARED: Duration = Duration::from_secs(6 * 60);

impl Bill {
    /// Asks `reconcile` to play the day again in each region. `midnight` is the database's time.
    ///
    /// # Errors
    /// When `reconcile` does not answer, or cannot play the day.
    pub(super) async fn read(day: &Day<'_>, midnight: f64) -> Result<Self> {
        let played = REQUEST_TIME.since(DayTime(0));
        let until = midnight + day.clock.pace.to_real(played).as_secs_f64();
        let mut regions = Vec::new();
        for region in &REGIONS {
            let mut settings = vec![json!({
                "algorithm": ADAPTIVE, "target_free": FLOOR, "stock_out_goal": STOCK_OUT_GOAL,
            })];
            let fixed = |slots: &u32| json!({"algorithm": "default", "target_free": slots});
            settings.extend(BUFFERS.iter().map(fixed));
            let asked = json!({"replay": {
                "region": region.name, "since": time(midnight)?, "until": time(until)?,
                "settings": settings,
            }});
            let answer = day.stack.stack.reconcile(&asked).await?;
            regions.push(region_bill(region.name, &answer["replay"])?);
        }
        Ok(Self(regions))
    }

    /// The sum of all regions. The slots of its fixed buffer are 0: each region has its own.
    fn total(&self) -> RegionBill {
        let sum = |of: fn(&RegionBill) -> Cost| {
            self.0.iter().map(of).fold(Cost::default(), |sum, it| Cost {
                machine_hours: sum.machine_hours + it.machine_hours,
                waited: sum.waited + it.waited,
            })
        };
        let has_fixed = self.0.iter().all(|it| it.fixed.is_some());
        RegionBill {
            region: "all",
            users: self.0.iter().map(|it| it.users).sum(),
            recorded: sum(|it| it.recorded),
            replayed: sum(|it| it.replayed),
            adaptive: sum(|it| it.adaptive),
            fixed: has_fixed.then(|| (0, sum(|it| it.fixed.unwrap_or_default().1))),
        }
    }

    /// The value of `--target-free` that plays the day with these fixed buffers, if there is one for each region.
    pub(super) fn target_free(&self) -> Option<String> {
        let regions = self.0.iter();
        let each: Option<Vec<_>> = regions
            .map(|it| Some(format!("{}={}", it.region, it.fixed?.0)))
            .collect();
        Some(each?.join(",")).filter(|all| !all.is_empty())
    }

    /// A sentence for each figure of the replayed day that is not the day's.
    pub(super) fn differences(&self, pace: Pace) -> Vec<String> {
        let all = self.total();
        let mut differences = Vec::new();
        if pace.to_real(DayTime::END.since(DayTime(0))) < SHORTEST_COMPARED {
            return differences;
        }
        let hours = (all.replayed.machine_hours, all.recorded.machine_hours);
        if (hours.0 - hours.1).abs() > HOURS_OFF * hours.1 {
            differences.push(format!(
                "the replayed day has {:.3} real machine-hours, and the day had {:.3}",
                hours.0, hours.1
            ));
        }
        let waited = (all.replayed.waited, all.recorded.waited);
        if waited.0.abs_diff(waited.1) as f64 > WAITED_OFF * all.users as f64 {
            differences.push(format!(
                "{} users wait on the replayed day, and {} waited on the day",
                waited.0, waited.1
            ));
        }
        differences
    }

    /// The table, with the times of the simulated day.
    pub(super) fn table(&self, pace: Pace) -> impl fmt::Display + use<> {
        let rows: Vec<_> = self.0.iter().copied().chain([self.total()]).collect();
        let cell = move |cost: Cost| {
            let real = Duration::try_from_secs_f64(cost.machine_hours * 3_600.0);
            let hours = pace.to_simulated(real.unwrap_or_default()).as_secs_f64() / 3_600.0;
            format!("{hours:.1} ({})", cost.waited)
        };
        fmt::from_fn(move |f| {
            writeln!(
                f,
                "  {:<11}{:>7}{:>15}{:>15}{:>15}{:>19}",
                "", "users", "as it was", "replayed", "adaptive", "fixed buffer"
            )?;
            for row in &rows {
                let fixed = match row.fixed {
                    Some((0, cost)) => cell(cost),
                    Some((slots, cost)) => format!("{slots}: {}", cell(cost)),
                    None => "none is enough".to_owned(),
                };
                writeln!(
                    f,
                    "  {:<11}{:>7}{:>15}{:>15}{:>15}{fixed:>19}",
                    row.region,
                    row.users,
                    cell(row.recorded),
                    cell(row.replayed),
                    cell(row.adaptive),
                )?;
            }
            Ok(())
        })
    }
}

/// Seconds since 1970 as text.
fn time(seconds: f64) -> Result<String> {
    let time = Timestamp::from_millisecond((seconds * 1_000.0) as i64)?;
    Ok(time.to_string())
}

/// # Errors
/// When the replay has no figures for the day's settings or for `adaptive`.
fn region_bill(region: &'static str, replay: &Value) -> Result<RegionBill> {
    let cost = |of: &Value| {
        let machine_hours = of["machine_hours"].as_f64()?;
        let waited = of["not_at_once"].as_u64()?;
        Some(Cost {
            machine_hours,
            waited,
        })
    };
    let need = |of: &Value, name: &str| {
        cost(of).with_context(|| format!("{region}: the replay has no {name}: {of}"))
    };
    let proposals = &replay["proposals"];
    let adaptive = need(&proposals[0], "figures of adaptive")?;
    let mut fixed = BUFFERS.iter().enumerate().filter_map(|(nth, slots)| {
        let cost = cost(&proposals[nth + 1])?;
        (cost.waited <= adaptive.waited).then_some((*slots, cost))
    });
    Ok(RegionBill {
        region,
        users: replay["recorded"]["users"].as_u64().unwrap_or_default(),
        recorded: need(&replay["recorded"], "figures of the day")?,
        replayed: need(&replay["today"], "figures of the day's settings")?,
        adaptive,
        fixed: fixed.next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(machine_hours: f64, waited: u64) -> Value {
        json!({"machine_hours": machine_hours, "users": 100, "not_at_once": waited})
    }

    /// Each fixed buffer costs a tenth of an hour more than the one before, and makes two users fewer wait.
    fn bill() -> RegionBill {
        let fixed = (0..BUFFERS.len()).map(|nth| {
            let waited = 20_u64.saturating_sub(2 * nth as u64);
            figures(1.0 + nth as f64 / 10.0, waited)
        });
        let proposals: Vec<_> = [figures(1.5, 7)].into_iter().chain(fixed).collect();
        let replay = json!({
            "recorded": figures(2.0, 9), "today": figures(1.9, 8), "proposals": proposals,
        });
        region_bill("us-east-1", &replay).unwrap()
    }

    #[test]
    fn fixed_buffer_is_the_least_with_as_few_waits() {
        let (slots, cost) = bill().fixed.unwrap();
        assert_eq!((slots, cost.waited), (BUFFERS[7], 6));
        let none = json!({"recorded": figures(2.0, 9), "today": figures(1.9, 8),
            "proposals": [figures(1.5, 0), figures(1.5, 1)]});
        assert_eq!(region_bill("us-east-1", &none).unwrap().fixed, None);
        let unplayed = json!({"recorded": figures(2.0, 9), "today": figures(1.9, 8),
            "proposals": [{"problem": "not played"}]});
        let error = region_bill("us-east-1", &unplayed).unwrap_err();
        assert!(error.to_string().contains("not played"), "{error}");
    }

    #[test]
    fn table_has_a_line_for_each_region_and_their_sum() {
        let table = Bill(vec![bill(), bill()]).table(Pace::from_minutes(6));
        let table = table.to_string();
        let rows: Vec<Vec<_>> = table
            .lines()
            .map(|row| row.split_whitespace().collect())
            .collect();
        // An hour is 240 hours of a six-minute day.
        let cells = [
            "100", "480.0", "(9)", "456.0", "(8)", "360.0", "(7)", "8:", "408.0", "(6)",
        ];
        assert_eq!(rows[1][1..], cells, "{table}");
        let sum = [
            "200", "960.0", "(18)", "912.0", "(16)", "720.0", "(14)", "816.0", "(12)",
        ];
        assert_eq!(rows[3][1..], sum, "{table}");
    }

    #[test]
    fn fixed_buffers_can_be_played_as_a_day_of_their_own() {
        let mut other = bill();
        other.region = "us-west-2";
        let named = Bill(vec![bill(), other]).target_free();
        assert_eq!(named.unwrap(), "us-east-1=8,us-west-2=8");
        other.fixed = None;
        assert_eq!(Bill(vec![bill(), other]).target_free(), None);
    }

    #[test]
    fn replayed_day_that_is_another_one_is_named() {
        let mut day = bill();
        let pace = Pace::from_minutes(6);
        assert_eq!(Bill(vec![day]).differences(pace), Vec::<String>::new());
        day.replayed.machine_hours = 1.6;
        day.replayed.waited = 16;
        let short = Bill(vec![day]).differences(Pace::from_minutes(5));
        assert_eq!(short, Vec::<String>::new());
        let differences = Bill(vec![day]).differences(pace);
        assert_eq!(differences.len(), 2, "{differences:?}");
        assert!(differences[0].contains("machine-hours"), "{differences:?}");
        assert!(differences[1].contains("16 users wait"), "{differences:?}");
    }
}
