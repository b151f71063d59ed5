//! Rows of the database as the domain's types: what a row cannot mean is named, with its column.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::DbError;
use crate::ids::{ClientSha, RegionName};
use crate::model::{
    AddressTag, Image, ImageState, InstanceStatus, LaunchChoice, Notice, RegionSettings,
    ReplicaSettings, Selector, Upgrades, Waits,
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
    pub(super) replicas: ReplicaColumns,
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
            replicas: $crate::db::rows::ReplicaColumns {
                capacity: row.replica_capacity,
                min_available: row.replica_min_available,
                api_protocol: row.replica_api_protocol,
                api_port: row.replica_api_port,
                api_path: row.replica_api_path,
                api_capacity_key: row.replica_api_capacity_key,
                api_termination_key: row.replica_api_termination_key,
                api_seconds: row.replica_api_seconds,
                trim: row.replica_trim,
                unknown_seconds: row.replica_unknown_seconds,
                boot_seconds: row.replica_boot_seconds,
                address_tag: row.replica_address_tag,
            },
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
    let state = image_state(&id, state)?;
    Ok(Image {
        id: id.into(),
        client_sha: client_sha.into(),
        state,
        since,
    })
}

pub(super) fn image_state(id: &str, state: &str) -> Result<ImageState, DbError> {
    word(state).ok_or_else(|| DbError::BadRow {
        table: "images",
        key: id.to_owned(),
        column: "state",
        problem: format!("{state:?} is none of WARMING, CURRENT, BAKING, RETIRED, FAILED"),
    })
}

fn word<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(Value::String(text.to_owned())).ok()
}

impl RegionRow {
    /// # Errors
    /// Names the first column that cannot be worked with, and what it should be.
    pub(super) fn settings(self, replicas: &ReplicaSettings) -> Result<RegionSettings, DbError> {
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
        let of_replicas = self.algorithm == crate::scaling::REPLICA;
        let replicas = self
            .replicas
            .over(replicas)
            .map_err(|(column, problem)| bad(column, problem))?;
        let choices = if of_replicas {
            &with_capacity(&self.launch_choices, replicas.capacity)
        } else {
            &self.launch_choices
        };
        let launch_choices =
            launch_choices(choices).map_err(|problem| bad("launch_choices", problem))?;
        let security_groups = security_groups(&self.security_groups)
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
            replicas,
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

/// `regions.launch_choices`.
pub(crate) fn launch_choices(list: &Value) -> Result<Vec<LaunchChoice>, String> {
    each(list, |choice: &LaunchChoice| {
        if choice.instance_type.is_empty() {
            return Err("`instance_type` is empty".to_owned());
        }
        if !(1..=LARGEST_CAPACITY).contains(&choice.capacity) {
            return Err(format!("`capacity` must be 1 to {LARGEST_CAPACITY} slots"));
        }
        check_selector(&choice.subnet)
    })
}

/// `regions.security_groups`.
pub(crate) fn security_groups(list: &Value) -> Result<Vec<Selector>, String> {
    each(list, check_selector)
}

/// A choice of a replicas' region need not say its capacity: there are no slots.
pub(crate) fn with_capacity(choices: &Value, capacity: u32) -> Value {
    let mut choices = choices.clone();
    for choice in choices.as_array_mut().into_iter().flatten() {
        if let Value::Object(choice) = choice {
            choice.entry("capacity").or_insert_with(|| capacity.into());
        }
    }
    choices
}

/// The columns that are null unless an operator set them.
#[derive(Debug)]
pub(super) struct ReplicaColumns {
    pub(super) capacity: Option<i64>,
    pub(super) min_available: Option<i64>,
    pub(super) api_protocol: Option<String>,
    pub(super) api_port: Option<i64>,
    pub(super) api_path: Option<String>,
    pub(super) api_capacity_key: Option<String>,
    pub(super) api_termination_key: Option<String>,
    pub(super) api_seconds: Option<i64>,
    pub(super) trim: Option<bool>,
    pub(super) unknown_seconds: Option<i64>,
    pub(super) boot_seconds: Option<i64>,
    pub(super) address_tag: Option<String>,
}

impl ReplicaColumns {
    /// The row's word, and where it has none the environment's.
    fn over(&self, defaults: &ReplicaSettings) -> Result<ReplicaSettings, (&'static str, String)> {
        let mut settings = defaults.clone();
        let api = &mut settings.api;
        number("replica_capacity", self.capacity, 1, &mut settings.capacity)?;
        let min = &mut settings.min_available;
        number("replica_min_available", self.min_available, 0, min)?;
        number("replica_api_port", self.api_port, 1, &mut api.port)?;
        if let Some(protocol) = &self.api_protocol {
            let expected = || {
                (
                    "replica_api_protocol",
                    format!("{protocol:?} is no http or https"),
                )
            };
            api.protocol = protocol.parse().map_err(|()| expected())?;
        }
        if let Some(path) = &self.api_path {
            if !path.starts_with('/') {
                return Err(("replica_api_path", format!("{path:?} must begin with /")));
            }
            api.path.clone_from(path);
        }
        for (key, to) in [
            (&self.api_capacity_key, &mut api.capacity_key),
            (&self.api_termination_key, &mut api.termination_key),
        ] {
            if let Some(key) = key {
                to.clone_from(key);
            }
        }
        if self.api_seconds.is_some() {
            let mut seconds = 0u64;
            number("replica_api_seconds", self.api_seconds, 1, &mut seconds)?;
            api.time_limit = Duration::from_secs(seconds);
        }
        let unknown = ("replica_unknown_seconds", self.unknown_seconds);
        let boot = ("replica_boot_seconds", self.boot_seconds);
        for ((column, value), to) in [
            (unknown, &mut settings.replace_unknown),
            (boot, &mut settings.boot),
        ] {
            if value.is_some() {
                let mut seconds = 0u32;
                number(column, value, 1, &mut seconds)?;
                *to = Some(SignedDuration::from_secs(seconds.into()));
            }
        }
        settings.trim = self.trim.unwrap_or(settings.trim);
        if let Some(tag) = &self.address_tag {
            let expected = || {
                let expected = AddressTag::EXPECTED;
                ("replica_address_tag", format!("{tag:?} is not {expected}"))
            };
            settings.address_tag = Some(tag.parse().map_err(|()| expected())?);
        }
        Ok(settings)
    }
}

fn number<T: TryFrom<i64>>(
    column: &'static str,
    value: Option<i64>,
    least: i64,
    to: &mut T,
) -> Result<(), (&'static str, String)> {
    let Some(value) = value else { return Ok(()) };
    let number = (value >= least).then(|| T::try_from(value).ok()).flatten();
    *to = number.ok_or_else(|| (column, format!("{value} must be {least} or more")))?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocol, StatusApi};

    /// A row in which an operator has set nothing.
    fn null() -> ReplicaColumns {
        ReplicaColumns {
            capacity: None,
            min_available: None,
            api_protocol: None,
            api_port: None,
            api_path: None,
            api_capacity_key: None,
            api_termination_key: None,
            api_seconds: None,
            trim: None,
            unknown_seconds: None,
            boot_seconds: None,
            address_tag: None,
        }
    }

    /// Other than the defaults, in all fields.
    fn of_the_environment() -> ReplicaSettings {
        ReplicaSettings {
            capacity: 5,
            min_available: 10,
            api: StatusApi {
                protocol: Protocol::Https,
                port: 9000,
                path: "/env".to_owned(),
                capacity_key: "free".to_owned(),
                termination_key: "done".to_owned(),
                time_limit: Duration::from_secs(9),
            },
            trim: true,
            boot: Some(SignedDuration::from_mins(8)),
            replace_unknown: Some(SignedDuration::from_mins(9)),
            address_tag: "pool=env".parse().ok(),
        }
    }

    #[test]
    fn what_a_row_leaves_open_is_the_environments() {
        let environment = of_the_environment();
        assert_eq!(null().over(&environment), Ok(environment));
    }

    #[test]
    fn what_a_row_says_goes_before_the_environment() {
        let row = ReplicaColumns {
            capacity: Some(3),
            min_available: Some(0),
            api_protocol: Some("http".to_owned()),
            api_port: Some(8080),
            api_path: Some("/row".to_owned()),
            api_capacity_key: Some("capacity".to_owned()),
            api_termination_key: Some("termination".to_owned()),
            api_seconds: Some(2),
            trim: Some(false),
            unknown_seconds: Some(60),
            boot_seconds: Some(120),
            address_tag: Some("pool=row".to_owned()),
        };
        let expected = ReplicaSettings {
            capacity: 3,
            min_available: 0,
            api: StatusApi {
                protocol: Protocol::Http,
                port: 8080,
                path: "/row".to_owned(),
                capacity_key: "capacity".to_owned(),
                termination_key: "termination".to_owned(),
                time_limit: Duration::from_secs(2),
            },
            trim: false,
            boot: Some(SignedDuration::from_mins(2)),
            replace_unknown: Some(SignedDuration::from_mins(1)),
            address_tag: "pool=row".parse().ok(),
        };
        assert_eq!(row.over(&of_the_environment()), Ok(expected));
    }

    /// The schema refuses most of these; a row may come from an older one.
    #[test]
    fn a_column_that_cannot_be_worked_with_is_named() {
        let text = |value: &str| Some(value.to_owned());
        let wrong: [(&str, ReplicaColumns); 9] = [
            (
                "replica_capacity",
                ReplicaColumns {
                    capacity: Some(0),
                    ..null()
                },
            ),
            (
                "replica_min_available",
                ReplicaColumns {
                    min_available: Some(-1),
                    ..null()
                },
            ),
            (
                "replica_api_protocol",
                ReplicaColumns {
                    api_protocol: text("gopher"),
                    ..null()
                },
            ),
            (
                "replica_api_port",
                ReplicaColumns {
                    api_port: Some(65_536),
                    ..null()
                },
            ),
            (
                "replica_api_port",
                ReplicaColumns {
                    api_port: Some(0),
                    ..null()
                },
            ),
            (
                "replica_api_path",
                ReplicaColumns {
                    api_path: text("row"),
                    ..null()
                },
            ),
            (
                "replica_api_seconds",
                ReplicaColumns {
                    api_seconds: Some(0),
                    ..null()
                },
            ),
            (
                "replica_unknown_seconds",
                ReplicaColumns {
                    unknown_seconds: Some(-60),
                    ..null()
                },
            ),
            (
                "replica_address_tag",
                ReplicaColumns {
                    address_tag: text("pool"),
                    ..null()
                },
            ),
        ];
        for (column, row) in wrong {
            let (named, problem) = row.over(&of_the_environment()).unwrap_err();
            assert_eq!(named, column, "{problem}");
        }
    }

    #[test]
    fn only_a_choice_that_does_not_say_its_capacity_gets_the_replicas() {
        let choices = serde_json::json!([{"a": 1}, {"capacity": 7}, "no object"]);
        let expected = serde_json::json!([{"a": 1, "capacity": 3}, {"capacity": 7}, "no object"]);
        assert_eq!(with_capacity(&choices, 3), expected);
        assert_eq!(with_capacity(&Value::Null, 3), Value::Null);
    }
}
