//! The day's table, from the service's history alone, and whether it equals what the witnesses counted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::clock::Pace;
use super::regions::REGIONS;
use super::witness::{Range, Seen};

/// What the history has of one region, in real seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Used {
    /// Users who got a slot; one who comes again counts again.
    pub(super) users: u64,
    /// Those of them who had waited in line, and how long in all.
    pub(super) waited: u64,
    pub(super) wait_seconds: f64,
    pub(super) unserved: u64,
    pub(super) machine_seconds: f64,
    pub(super) occupied_seconds: f64,
}

/// The history of each region, in the order of [`REGIONS`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DayHistory(pub(super) Vec<(&'static str, Used)>);

impl DayHistory {
    /// Reads the service's tables of history.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(super) async fn read(sql: &tokio_postgres::Client) -> Result<Self> {
        // Sessions that moved to another slot are counted there. The current hour is counted until now.
        let query = "
            SELECT u.region, sum(u.sessions - coalesce((u.ends ->> 'MOVED')::int, 0))::bigint,
                sum(u.waited)::bigint, sum(u.unserved)::bigint, sum(u.machine_seconds),
                sum(u.occupied_seconds),
                coalesce((SELECT sum(s.waited_seconds) FROM sessions s WHERE s.region = u.region), 0)
            FROM list_usage(NULL, now() - interval '2 days', now() + interval '1 hour') u
            GROUP BY 1";
        let rows = sql.query(query, &[]).await.context("read the history")?;
        let mut found = BTreeMap::new();
        for row in &rows {
            let count = |column: usize| u64::try_from(row.get::<_, i64>(column));
            let used = Used {
                users: count(1)?,
                waited: count(2)?,
                unserved: count(3)?,
                machine_seconds: row.get(4),
                occupied_seconds: row.get(5),
                wait_seconds: row.get(6),
            };
            found.insert(row.get::<_, String>(0), used);
        }
        let regions = REGIONS.iter().map(|region| {
            let used = found.get(region.name).copied().unwrap_or_default();
            (region.name, used)
        });
        Ok(Self(regions.collect()))
    }

    fn total(&self) -> Used {
        self.0.iter().fold(Used::default(), |sum, (_, it)| Used {
            users: sum.users + it.users,
            waited: sum.waited + it.waited,
            wait_seconds: sum.wait_seconds + it.wait_seconds,
            unserved: sum.unserved + it.unserved,
            machine_seconds: sum.machine_seconds + it.machine_seconds,
            occupied_seconds: sum.occupied_seconds + it.occupied_seconds,
        })
    }

    /// The table, with the times of the simulated day.
    pub(super) fn table(&self, pace: Pace) -> impl fmt::Display + use<> {
        let total = ("all", self.total());
        let rows: Vec<_> = self.0.iter().copied().chain([total]).collect();
        let simulated = move |seconds: f64| {
            let real = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            pace.to_simulated(real).as_secs_f64()
        };
        fmt::from_fn(move |f| {
            writeln!(
                f,
                "  {:<11}{:>7}{:>8}{:>15}{:>14}{:>15}{:>9}{:>9}",
                "",
                "users",
                "waited",
                "mean wait",
                "left without",
                "machine-hours",
                "used",
                "empty"
            )?;
            for (region, used) in &rows {
                let mean = used.wait_seconds / used.waited.max(1) as f64;
                let hours = |seconds: f64| format!("{:.1}", simulated(seconds) / 3_600.0);
                writeln!(
                    f,
                    "  {region:<11}{:>7}{:>8}{:>15}{:>14}{:>15}{:>9}{:>9}",
                    used.users,
                    used.waited,
                    format!("{:.0} min", simulated(mean) / 60.0),
                    used.unserved,
                    hours(used.machine_seconds),
                    hours(used.occupied_seconds),
                    hours(used.machine_seconds - used.occupied_seconds),
                )?;
            }
            Ok(())
        })
    }

    /// A sentence for each number that is not what was seen.
    pub(super) fn differences(&self, seen: &BTreeMap<String, Seen>) -> Vec<String> {
        let mut differences = Vec::new();
        for (region, used) in &self.0 {
            let seen = seen.get(*region).copied().unwrap_or_default();
            let numbers = [
                ("users", used.users as f64, seen.users),
                ("users who waited", used.waited as f64, seen.waited),
                ("seconds of waiting", used.wait_seconds, seen.wait_seconds),
                ("users who left", used.unserved as f64, seen.unserved),
                (
                    "machine-seconds",
                    used.machine_seconds,
                    seen.machine_seconds,
                ),
                (
                    "machine-seconds with a session",
                    used.occupied_seconds,
                    seen.occupied_seconds,
                ),
            ];
            for (name, number, Range { least, most }) in numbers {
                if number < least || number > most {
                    differences.push(format!(
                        "the history of {region} has {number:.1} {name}, and its witness counted \
                         {least:.1} to {most:.1}"
                    ));
                }
            }
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: &str = REGIONS[0].name;

    fn day() -> (DayHistory, BTreeMap<String, Seen>) {
        let used = Used {
            users: 5,
            waited: 2,
            wait_seconds: 12.0,
            unserved: 1,
            machine_seconds: 600.0,
            occupied_seconds: 400.0,
        };
        let range = |least, most| Range { least, most };
        let seen = Seen {
            users: range(5.0, 5.0),
            waited: range(2.0, 2.0),
            wait_seconds: range(11.0, 13.0),
            unserved: range(1.0, 1.0),
            machine_seconds: range(599.0, 601.0),
            occupied_seconds: range(399.0, 401.0),
        };
        (
            DayHistory(vec![(REGION, used)]),
            [(REGION.to_owned(), seen)].into(),
        )
    }

    #[test]
    fn each_number_that_differs_is_named() {
        let (history, seen) = day();
        assert_eq!(history.differences(&seen), Vec::<String>::new());
        type Change = fn(&mut Used);
        let changes: [(Change, &str); 6] = [
            (|it| it.users = 4, "4.0 users,"),
            (|it| it.waited = 3, "3.0 users who waited,"),
            (|it| it.wait_seconds = 9.0, "9.0 seconds of waiting,"),
            (|it| it.unserved = 0, "0.0 users who left,"),
            (|it| it.machine_seconds = 700.0, "700.0 machine-seconds,"),
            (
                |it| it.occupied_seconds = 0.0,
                "machine-seconds with a session,",
            ),
        ];
        for (change, named) in changes {
            let (mut history, _) = day();
            change(&mut history.0[0].1);
            let differences = history.differences(&seen);
            assert_eq!(differences.len(), 1, "{differences:?}");
            assert!(differences[0].contains(named), "{differences:?}");
            assert!(differences[0].contains(REGION), "{differences:?}");
        }
    }

    #[test]
    fn table_has_a_line_for_each_region_and_their_sum() {
        let (mut history, _) = day();
        history.0.push((REGIONS[1].name, history.0[0].1));
        let table = history.table(Pace::from_minutes(6)).to_string();
        let rows: Vec<Vec<_>> = table
            .lines()
            .map(|row| row.split_whitespace().collect())
            .collect();
        assert_eq!(rows.len(), 4, "{table}");
        // Ten real minutes of a six-minute day are forty hours.
        let cells = ["5", "2", "24", "min", "1", "40.0", "26.7", "13.3"];
        assert_eq!(rows[1][1..], cells, "{table}");
        assert_eq!(
            rows[3],
            ["all", "10", "4", "24", "min", "2", "80.0", "53.3", "26.7"]
        );
    }
}
