//! Converting rows into the domain's types. An error names the row and the column.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::db::DbError;
use shared::ids::RegionName;
use shared::model::{Image, ImageState, InstanceStatus, SpotNotice};
use shared::settings::{Columns, RegionSettings};

/// The schema's names of its scalars.
#[allow(
    non_camel_case_types,
    reason = "generated code uses the schema's names"
)]
pub(crate) mod scalars {
    pub(crate) type bigint = i64;
    pub(crate) type jsonb = serde_json::Value;
    pub(crate) type timestamptz = jiff::Timestamp;
}

/// Converts a row of `instance_views`, whose generated type differs from document to document.
macro_rules! instance {
    ($row:expr) => {{
        let row = $row;
        let count = |n: i64| u32::try_from(n).unwrap_or(0);
        let notice = $crate::rows::notice(&row.id, row.notice.as_deref());
        let status = $crate::rows::status(&row.id, &row.status);
        notice
            .and_then(|notice| Ok((status?, notice)))
            .map(|(status, notice)| ::shared::model::Instance {
                id: row.id.into(),
                launch_id: row.launch_id.into(),
                image_id: row.image_id.into(),
                client_sha: row.client_sha.into(),
                capacity: count(row.capacity),
                status,
                launched_at: row.launched_at,
                active_at: row.active_at,
                draining_since: row.draining_since,
                missing_since: row.missing_since,
                beat_at: row.beat_at,
                resumed_at: row.resumed_at,
                notice,
                slots: ::shared::model::SlotCounts {
                    waiting: count(row.slots_waiting),
                    occupied: count(row.slots_occupied),
                    unclaimed: count(row.slots_unclaimed),
                },
            })
    }};
}
pub(crate) use instance;

pub(crate) fn notice(id: &str, notice: Option<&str>) -> Result<Option<SpotNotice>, DbError> {
    let Some(notice) = notice else {
        return Ok(None);
    };
    from_name(notice).map(Some).ok_or_else(|| DbError::BadRow {
        table: "instances",
        key: id.to_owned(),
        column: "notice",
        problem: format!("{notice:?} is neither REBALANCE nor INTERRUPTION"),
    })
}

pub(crate) fn status(id: &str, status: &str) -> Result<InstanceStatus, DbError> {
    from_name(status).ok_or_else(|| DbError::BadRow {
        table: "instances",
        key: id.to_owned(),
        column: "status",
        problem: format!("{status:?} is none of PRE_CONNECTION, ACTIVE, DRAINING, TERMINATING"),
    })
}

pub(crate) fn image(
    id: String,
    client_sha: String,
    state: &str,
    since: Timestamp,
) -> Result<Image, DbError> {
    let state = image_state(&id, state)?;
    Ok(Image {
        id: id.into(),
        client_sha: client_sha.into(),
        state,
        since,
    })
}

pub(crate) fn image_state(id: &str, state: &str) -> Result<ImageState, DbError> {
    from_name(state).ok_or_else(|| DbError::BadRow {
        table: "images",
        key: id.to_owned(),
        column: "state",
        problem: format!("{state:?} is none of WARMING, CURRENT, BAKING, RETIRED, FAILED"),
    })
}

fn from_name<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(Value::String(text.to_owned())).ok()
}

/// The settings in a row of `region_views`. `settings` is the region's row of `regions` as JSON;
/// `defaults` apply where a column is null.
///
/// # Errors
/// Names the first invalid column, and what its value must be.
pub(crate) fn settings(
    region: &RegionName,
    settings: &Value,
    defaults: &Columns,
) -> Result<RegionSettings, DbError> {
    let bad = |column, problem| DbError::BadRow {
        table: "regions",
        key: region.to_string(),
        column,
        problem,
    };
    let Value::Object(row) = settings else {
        return Err(bad("settings", "is not a JSON object".to_owned()));
    };
    let row = shared::settings::overlay(defaults.clone(), row);
    RegionSettings::from_columns(&row).map_err(|error| bad(error.column, error.problem))
}
