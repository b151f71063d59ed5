//! Figures of what was used, as `list_usage` has them.

use graphql_client::GraphQLQuery;
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use shared::db::DbError;
use shared::ids::RegionName;
use shared::usage::figures::{Figures, RegionUsage};

use crate::client::HasuraClient;
use crate::documents::documents;

documents! {
    "graphql/usage.graphql": ListUsage;
}

type Row = list_usage::ListUsageListUsage;

pub(crate) async fn read(
    client: &HasuraClient,
    region: Option<&RegionName>,
    from: Timestamp,
    to: Timestamp,
    step: SignedDuration,
) -> Result<Vec<RegionUsage>, DbError> {
    let variables = list_usage::Variables {
        region: region.map(ToString::to_string),
        from_at: from,
        to_at: to,
        step_seconds: step.as_secs(),
    };
    let answer = client
        .send::<ListUsage>("read the figures of a time", variables)
        .await?;
    answer.list_usage.into_iter().map(usage).collect()
}

fn usage(row: Row) -> Result<RegionUsage, DbError> {
    let key = format!("{} {}", row.region, row.hour);
    let count = |column, value: i64| {
        u64::try_from(value).map_err(|_| bad_row(&key, column, "below 0".to_owned()))
    };
    Ok(RegionUsage {
        figures: Figures {
            sessions: count("sessions", row.sessions)?,
            waited: count("waited", row.waited)?,
            unserved: count("unserved", row.unserved)?,
            waits: parsed(&key, "waits", row.waits)?,
            ends: parsed(&key, "ends", row.ends)?,
            lengths: parsed(&key, "lengths", row.lengths)?,
            instances_gone: count("instances_gone", row.instances_gone)?,
            died_young: parsed(&key, "died_young", row.died_young)?,
            machine_seconds: row.machine_seconds,
            occupied_seconds: row.occupied_seconds,
            slot_seconds: row.slot_seconds,
            session_seconds: row.session_seconds,
        },
        region: row.region.into(),
        from: row.hour,
    })
}

fn parsed<T: DeserializeOwned>(
    key: &str,
    column: &'static str,
    value: serde_json::Value,
) -> Result<T, DbError> {
    serde_json::from_value(value).map_err(|error| bad_row(key, column, error.to_string()))
}

fn bad_row(key: &str, column: &'static str, problem: String) -> DbError {
    DbError::BadRow {
        table: "usage_hours",
        key: key.to_owned(),
        column,
        problem,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::usage::figures::{Bucket, Histogram};

    use super::*;

    fn row(change: impl FnOnce(&mut serde_json::Value)) -> Row {
        let mut row = json!({
            "region": "us-east-1", "hour": "2026-01-01T12:00:00+00:00", "sessions": 3, "waited": 2,
            "unserved": 1, "waits": [{"below": 1, "sessions": 1}, {"below": null, "sessions": 2}],
            "ends": {"AGENT": 4}, "lengths": [], "instances_gone": 5, "died_young": {"LOST": 1},
            "machine_seconds": 7200, "occupied_seconds": 3600.5, "slot_seconds": 14400,
            "session_seconds": 4000,
        });
        change(&mut row);
        serde_json::from_value(row).unwrap()
    }

    #[test]
    fn row_becomes_figures() {
        let usage = usage(row(|_| ())).unwrap();
        assert_eq!(usage.region, "us-east-1".into());
        assert_eq!(usage.from, "2026-01-01T12:00:00Z".parse().unwrap());
        let figures = usage.figures;
        let counts = (figures.sessions, figures.waited, figures.unserved);
        assert_eq!((counts, figures.instances_gone), ((3, 2, 1), 5));
        let buckets = [(Some(1.0), 1), (None, 2)];
        let buckets = buckets.map(|(below, sessions)| Bucket { below, sessions });
        assert_eq!(figures.waits, Histogram(buckets.to_vec()));
        assert_eq!(figures.ends, [("AGENT".to_owned(), 4)].into());
        assert_eq!(figures.died_young, [("LOST".to_owned(), 1)].into());
        assert!((figures.occupied_seconds - 3600.5).abs() < f64::EPSILON);
    }

    #[test]
    fn figure_that_makes_no_sense_is_named() {
        let changes: [(&str, serde_json::Value); 3] = [
            ("waits", json!({"below": 1})),
            ("ends", json!({"AGENT": "many"})),
            ("unserved", json!(-1)),
        ];
        for (column, value) in changes {
            let error = usage(row(|row| row[column] = value)).unwrap_err();
            assert!(error.to_string().contains(column), "{error}");
        }
    }
}
