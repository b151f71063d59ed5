//! Converting rows into the domain's types. An error names the row and the column.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::db::DbError;
use shared::ids::{ClientSha, RegionName};
use shared::model::{
    DrainCause, Flow, Image, ImageState, InstanceStatus, Line, Spending, SpotNotice,
};
use shared::overview::LineOverview;
use shared::settings::{BadSetting, Columns, RegionSettings};
use shared::usage::EndReason;
use shared::words::quoted;

/// The schema's names of its scalars.
#[allow(
    non_camel_case_types,
    reason = "generated code uses the schema's names"
)]
pub(crate) mod scalars {
    pub(crate) type bigint = i64;
    pub(crate) type jsonb = serde_json::Value;
    pub(crate) type timestamptz = jiff::Timestamp;
    pub(crate) type uuid = String;
    pub(crate) type date = jiff::civil::Date;
}

/// Converts a row of `instance_views`, whose generated type differs from document to document.
macro_rules! instance {
    ($row:expr) => {{
        let row = $row;
        let count = |n: i64| u32::try_from(n).unwrap_or(0);
        let notice = $crate::rows::notice(&row.id, row.notice.as_deref());
        let status = $crate::rows::status(&row.id, &row.status);
        let ip = |column, text: Option<String>| $crate::rows::ip(&row.id, column, text.as_deref());
        let ips = ip("private_ip", row.private_ip)
            .and_then(|private| Ok((private, ip("public_ip", row.public_ip)?)));
        notice
            .and_then(|notice| Ok((status?, notice, ips?)))
            .map(|(status, notice, ips)| ::shared::model::Instance {
                id: row.id.into(),
                launch_id: row.launch_id.into(),
                image_id: row.image_id.into(),
                client_sha: row.client_sha.into(),
                pool: row.subnet_id.zip(row.spot).map(|(subnet_id, spot)| {
                    ::shared::model::CapacityPool {
                        spot,
                        instance_type: row.instance_type,
                        subnet_id,
                    }
                }),
                capacity: count(row.capacity),
                status,
                launched_at: row.launched_at,
                running_at: row.running_at,
                active_at: row.active_at,
                draining_since: row.draining_since,
                drain_cause: row
                    .drain_cause
                    .as_deref()
                    .and_then($crate::rows::drain_cause),
                leave_reason: row.leave_reason,
                missing_since: row.missing_since,
                beat_at: row.beat_at,
                resumed_at: row.resumed_at,
                notice,
                ip_addr: row.ip_addr,
                private_ip: ips.0,
                public_ip: ips.1,
                token: row
                    .token_key_id
                    .zip(row.token_valid_until)
                    .map(|(key, valid_until)| ::shared::model::NextToken {
                        key: key.into(),
                        valid_until,
                        untaken_since: row.token_untaken_since,
                    }),
                slots: ::shared::model::SlotCounts {
                    waiting: count(row.slots_waiting),
                    occupied: count(row.slots_occupied),
                    unclaimed: count(row.slots_unclaimed),
                },
                sessions: ::shared::model::SessionEnds {
                    quick: count(row.quick_ends),
                    unclaimed: count(row.unclaimed_ends),
                    live: row.sessions_live,
                },
                ends: ::shared::model::EndCounts {
                    due: count(row.ends_due),
                    overdue: count(row.ends_overdue),
                    dying: count(row.slots_dying),
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
        problem: format!("{} is neither REBALANCE nor INTERRUPTION", quoted(notice)),
    })
}

pub(crate) fn ip(
    id: &str,
    column: &'static str,
    text: Option<&str>,
) -> Result<Option<IpAddr>, DbError> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| DbError::BadRow {
        table: "instances",
        key: id.to_owned(),
        column,
        problem: format!("{} is not an IP address", quoted(text)),
    })
}

/// A cause that a later version wrote is as unknown as that of an earlier one.
pub(crate) fn drain_cause(cause: &str) -> Option<DrainCause> {
    from_name(cause)
}

pub(crate) fn status(id: &str, status: &str) -> Result<InstanceStatus, DbError> {
    from_name(status).ok_or_else(|| DbError::BadRow {
        table: "instances",
        key: id.to_owned(),
        column: "status",
        problem: format!(
            "{} is none of PRE_CONNECTION, ACTIVE, DRAINING, TERMINATING",
            quoted(status)
        ),
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
        problem: format!(
            "{} is none of WARMING, CURRENT, BAKING, RETIRED, FAILED",
            quoted(state)
        ),
    })
}

pub(crate) fn end_reason(slot: &str, reason: &str) -> Result<EndReason, DbError> {
    from_name(reason).ok_or_else(|| DbError::BadRow {
        table: "session_history",
        key: slot.to_owned(),
        column: "end_reason",
        problem: format!(
            "{} is none of AGENT, USER, OPERATOR, LIMIT, LOST, INTERRUPTED, NEVER_CLAIMED, MOVED",
            quoted(reason)
        ),
    })
}

/// The lines in a row of `region_views`.
pub(crate) fn lines(region: &RegionName, lines: Value) -> Result<Vec<Line>, DbError> {
    #[derive(Deserialize)]
    struct Row {
        client_sha: ClientSha,
        users: u32,
        session_ends: u32,
        ends_since: Timestamp,
    }
    let rows: Vec<Row> = line_rows("region_views", region.as_str(), lines)?;
    let lines = rows.into_iter().map(|row| Line {
        client_sha: row.client_sha,
        users: row.users,
        session_ends: row.session_ends,
        ends_since: row.ends_since,
    });
    Ok(lines.collect())
}

/// The flow of users in a row of `region_views`.
pub(crate) fn flow(region: &RegionName, flow: Value) -> Result<Flow, DbError> {
    serde_json::from_value(flow).map_err(|error| DbError::BadRow {
        table: "region_views",
        key: region.to_string(),
        column: "flow",
        problem: error.to_string(),
    })
}

/// What a region's instances have cost; none without prices.
pub(crate) fn spending(
    region: &RegionName,
    spending: Option<Value>,
) -> Result<Option<Spending>, DbError> {
    let read = spending.map(serde_json::from_value).transpose();
    read.map_err(|error| DbError::BadRow {
        table: "region_views",
        key: region.to_string(),
        column: "spending",
        problem: error.to_string(),
    })
}

/// The lines in a row of `region_statuses`. `now` is the database's clock.
pub(crate) fn line_overviews(
    region: &str,
    lines: Value,
    now: Timestamp,
) -> Result<Vec<LineOverview>, DbError> {
    #[derive(Deserialize)]
    struct Row {
        client_sha: ClientSha,
        users: u32,
        first_at: Timestamp,
        estimate_seconds: Option<u32>,
    }
    let rows: Vec<Row> = line_rows("region_statuses", region, lines)?;
    let lines = rows.into_iter().map(|row| LineOverview {
        client_sha: row.client_sha,
        users: row.users,
        longest_wait_seconds: now.duration_since(row.first_at).as_secs().max(0),
        last_estimate_seconds: row.estimate_seconds,
    });
    Ok(lines.collect())
}

fn line_rows<R: DeserializeOwned>(
    table: &'static str,
    region: &str,
    lines: Value,
) -> Result<Vec<R>, DbError> {
    serde_json::from_value(lines).map_err(|error| DbError::BadRow {
        table,
        key: region.to_owned(),
        column: "lines",
        problem: error.to_string(),
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
        return Err(bad("settings", NOT_A_ROW.to_owned()));
    };
    let row = shared::settings::overlay(defaults.clone(), row);
    RegionSettings::from_columns(&row).map_err(|error| bad(error.column, error.problem))
}

/// What is wrong with a row of `regions` as JSON. Without the defaults of the environment, which
/// passes have checked when they started.
pub(crate) fn problems(settings: &Value) -> Vec<BadSetting> {
    match settings {
        Value::Object(row) => RegionSettings::problems(row),
        _ => vec![BadSetting {
            column: "settings",
            problem: NOT_A_ROW.to_owned(),
        }],
    }
}

const NOT_A_ROW: &str = "is not a JSON object";
