//! Rows of the database as the domain's types: what a row cannot mean is named, with its column.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::DbError;
use crate::ids::{ClientSha, RegionName};
use crate::model::{
    Image, ImageState, InstanceStatus, LaunchChoice, Notice, RegionSettings, Selector, Upgrades,
    Waits,
};

/// The names under which the schema knows its scalars.
#[allow(
    non_camel_case_types,
    reason = "generated code looks for the schema's own names"
)]
pub(crate) mod scalars {
    pub(crate) type bigint = i64;
    pub(crate) type jsonb = serde_json::Value;
    pub(crate) type timestamptz = jiff::Timestamp;
}

/// More slots on one machine are a mistyped number: its host agent would insert them all.
const LARGEST_CAPACITY: u32 = 1000;

/// A row of `region_views`, not yet checked.
#[derive(Debug)]
pub(super) struct RegionRow {
    pub(super) name: String,
    pub(super) enabled: bool,
    pub(super) paused: bool,
    pub(super) algorithm: String,
    pub(super) target_free: i64,
    pub(super) max_instances: i64,
    pub(super) scale_up_step: i64,
    pub(super) scale_down_step: i64,
    pub(super) launch_choices: Value,
    pub(super) security_groups: Value,
    pub(super) instance_profile: Option<String>,
    pub(super) user_data_template: Option<String>,
    pub(super) heartbeat_seconds: i64,
    pub(super) lost_seconds: i64,
    pub(super) boot_seconds: i64,
    pub(super) drain_seconds: i64,
    pub(super) missing_seconds: i64,
    pub(super) orphan_seconds: i64,
    pub(super) upgrade_surge: i64,
    pub(super) upgrade_seconds: i64,
    pub(super) swap_when_warm: bool,
    pub(super) bake_seconds: i64,
    pub(super) old_image_seconds: Option<i64>,
    pub(super) now: Timestamp,
    pub(super) waiting: u32,
    pub(super) watched_since: Timestamp,
    pub(super) app_sha: Option<ClientSha>,
}

/// The generated structs of each operation have the same fields and no common trait.
macro_rules! region {
    ($row:expr) => {{
        let row = $row;
        $crate::db::rows::RegionRow {
            name: row.name,
            enabled: row.enabled,
            paused: row.paused,
            algorithm: row.algorithm,
            target_free: row.target_free,
            max_instances: row.max_instances,
            scale_up_step: row.scale_up_step,
            scale_down_step: row.scale_down_step,
            launch_choices: row.launch_choices,
            security_groups: row.security_groups,
            instance_profile: row.instance_profile,
            user_data_template: row.user_data_template,
            heartbeat_seconds: row.heartbeat_seconds,
            lost_seconds: row.lost_seconds,
            boot_seconds: row.boot_seconds,
            drain_seconds: row.drain_seconds,
            missing_seconds: row.missing_seconds,
            orphan_seconds: row.orphan_seconds,
            upgrade_surge: row.upgrade_surge,
            upgrade_seconds: row.upgrade_seconds,
            swap_when_warm: row.swap_when_warm,
            bake_seconds: row.bake_seconds,
            old_image_seconds: row.old_image_seconds,
            now: row.now,
            waiting: u32::try_from(row.waiting).unwrap_or(0),
            watched_since: row.watched_since,
            app_sha: row.app_client_sha.map(Into::into),
        }
    }};
}
pub(super) use region;

macro_rules! instance {
    ($row:expr) => {{
        let row = $row;
        let count = |n: i64| u32::try_from(n).unwrap_or(0);
        let notice = $crate::db::rows::notice(&row.id, row.notice.as_deref());
        let status = $crate::db::rows::status(&row.id, &row.status);
        notice
            .and_then(|notice| Ok((status?, notice)))
            .map(|(status, notice)| $crate::model::Instance {
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
                slots: $crate::model::SlotCounts {
                    waiting: count(row.slots_waiting),
                    occupied: count(row.slots_occupied),
                    unclaimed: count(row.slots_unclaimed),
                },
            })
    }};
}
pub(super) use instance;

pub(super) fn notice(id: &str, notice: Option<&str>) -> Result<Option<Notice>, DbError> {
    let Some(notice) = notice else {
        return Ok(None);
    };
    word(notice).map(Some).ok_or_else(|| DbError::BadRow {
        table: "instances",
        key: id.to_owned(),
        column: "notice",
        problem: format!("{notice:?} is neither REBALANCE nor INTERRUPTION"),
    })
}

pub(super) fn status(id: &str, status: &str) -> Result<InstanceStatus, DbError> {
    word(status).ok_or_else(|| DbError::BadRow {
        table: "instances",
        key: id.to_owned(),
        column: "status",
        problem: format!("{status:?} is none of PRE_CONNECTION, ACTIVE, DRAINING, TERMINATING"),
    })
}

pub(super) fn image(
    id: String,
    client_sha: String,
    state: &str,
    since: Timestamp,
) -> Result<Image, DbError> {
    let state: ImageState = word(state).ok_or_else(|| DbError::BadRow {
        table: "images",
        key: id.clone(),
        column: "state",
        problem: format!("{state:?} is none of WARMING, CURRENT, BAKING, RETIRED, FAILED"),
    })?;
    Ok(Image {
        id: id.into(),
        client_sha: client_sha.into(),
        state,
        since,
    })
}

fn word<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(Value::String(text.to_owned())).ok()
}

impl RegionRow {
    /// # Errors
    /// Names the first column that cannot be worked with, and what it should be.
    pub(super) fn settings(self) -> Result<RegionSettings, DbError> {
        let bad = |column: &'static str, problem: String| DbError::BadRow {
            table: "regions",
            key: self.name.clone(),
            column,
            problem,
        };
        let count = |column, value: i64| {
            u32::try_from(value).map_err(|_| bad(column, format!("{value} must be 0 or more")))
        };
        let seconds = |column, value: i64| match u64::try_from(value) {
            Ok(seconds @ 1..) => SignedDuration::try_from(Duration::from_secs(seconds))
                .map_err(|_| bad(column, format!("{value} is too long"))),
            _ => Err(bad(column, format!("{value} must be 1 or more seconds"))),
        };
        if !RegionName::new(self.name.clone()).is_plausible() {
            return Err(bad(
                "name",
                "must be an AWS region, such as us-east-1".to_owned(),
            ));
        }
        if self.lost_seconds <= self.heartbeat_seconds {
            let rule = format!("{} must be more than heartbeat_seconds", self.lost_seconds);
            return Err(bad("lost_seconds", rule));
        }
        let launch_choices = each(&self.launch_choices, |choice: &LaunchChoice| {
            if choice.instance_type.is_empty() {
                return Err("`instance_type` is empty".to_owned());
            }
            if !(1..=LARGEST_CAPACITY).contains(&choice.capacity) {
                return Err(format!("`capacity` must be 1 to {LARGEST_CAPACITY} slots"));
            }
            check_selector(&choice.subnet)
        })
        .map_err(|problem| bad("launch_choices", problem))?;
        let security_groups = each(&self.security_groups, check_selector)
            .map_err(|problem| bad("security_groups", problem))?;
        Ok(RegionSettings {
            enabled: self.enabled,
            paused: self.paused,
            algorithm: self.algorithm.clone(),
            target_free: count("target_free", self.target_free)?,
            max_instances: count("max_instances", self.max_instances)?,
            scale_up_step: count("scale_up_step", self.scale_up_step)?,
            scale_down_step: count("scale_down_step", self.scale_down_step)?,
            waits: Waits {
                heartbeat: seconds("heartbeat_seconds", self.heartbeat_seconds)?,
                lost: seconds("lost_seconds", self.lost_seconds)?,
                boot: seconds("boot_seconds", self.boot_seconds)?,
                drain: seconds("drain_seconds", self.drain_seconds)?,
                missing: seconds("missing_seconds", self.missing_seconds)?,
                orphan: seconds("orphan_seconds", self.orphan_seconds)?,
            },
            upgrades: Upgrades {
                surge: count("upgrade_surge", self.upgrade_surge)?,
                deadline: seconds("upgrade_seconds", self.upgrade_seconds)?,
                swap_when_warm: self.swap_when_warm,
                bake: seconds("bake_seconds", self.bake_seconds)?,
                old_image: self
                    .old_image_seconds
                    .map(|value| seconds("old_image_seconds", value))
                    .transpose()?,
            },
            launch_choices,
            security_groups,
            // An empty text is what a form leaves behind: not set.
            instance_profile: self
                .instance_profile
                .clone()
                .filter(|text| !text.is_empty()),
            user_data_template: self
                .user_data_template
                .clone()
                .filter(|text| !text.is_empty()),
            name: RegionName::new(self.name),
        })
    }
}

/// Reads a JSON list item by item, so that the error says which item is wrong.
fn each<T: DeserializeOwned>(
    list: &Value,
    check: impl Fn(&T) -> Result<(), String>,
) -> Result<Vec<T>, String> {
    let Value::Array(items) = list else {
        return Err("must be a JSON array".to_owned());
    };
    items
        .iter()
        .enumerate()
        .map(|(place, item)| {
            let at = |problem: String| format!("item {place} ({item}): {problem}");
            let value: T = T::deserialize(item).map_err(|error| at(error.to_string()))?;
            check(&value).map_err(at)?;
            Ok(value)
        })
        .collect()
}

fn check_selector(selector: &Selector) -> Result<(), String> {
    let empty = match selector {
        Selector::Id(id) => id.is_empty(),
        Selector::Tag { key, .. } => key.is_empty(),
    };
    if empty {
        Err("the id or the tag's `key` is empty".to_owned())
    } else {
        Ok(())
    }
}
