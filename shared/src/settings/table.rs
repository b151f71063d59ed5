//! Every setting of a region, with its default. The documentation and the migrations are checked
//! against this table.

use serde_json::{Map, Value};

/// A row as `to_jsonb` gives it: column → value.
pub type Columns = Map<String, Value>;

/// One column of `regions`.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub column: &'static str,
    /// The environment variable that applies if the row has null, or if there is no database.
    pub variable: Option<&'static str>,
    pub kind: Kind,
    /// As a text of its kind, or [`REQUIRED`] or [`NONE`].
    pub default: &'static str,
}

/// How a variable's text becomes a column's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Bool,
    Json,
}

/// The row must have a value.
pub const REQUIRED: &str = "required";
/// The setting is off, or empty, unless the row has a value.
pub const NONE: &str = "none";

const fn column(column: &'static str, kind: Kind, default: &'static str) -> Setting {
    Setting {
        column,
        variable: None,
        kind,
        default,
    }
}

impl Setting {
    const fn or(self, variable: &'static str) -> Self {
        Self {
            variable: Some(variable),
            ..self
        }
    }
}

use Kind::{Bool, Json, Number, Text};

pub const TABLE: &[Setting] = &[
    column("name", Text, REQUIRED).or("REPLICA_REGION"),
    column("enabled", Bool, "true"),
    column("paused", Bool, "false"),
    column("algorithm", Text, "default"),
    column("target_free", Number, REQUIRED),
    column("stock_out_goal", Number, "1000"),
    column("target_ceiling", Number, NONE),
    column("pass_seconds", Number, "60"),
    column("max_instances", Number, REQUIRED).or("REPLICA_MAX"),
    column("scale_up_step", Number, "1"),
    column("scale_down_step", Number, "1"),
    column("launches_per_hour", Number, NONE),
    column("quick_end_seconds", Number, "10"),
    column("replacements_per_minute", Number, NONE),
    column("line_seconds", Number, "15"),
    column("launch_choices", Json, REQUIRED).or("REPLICA_LAUNCH_CHOICES"),
    column("security_groups", Json, "[]").or("REPLICA_SECURITY_GROUPS"),
    column("instance_profile", Text, NONE).or("REPLICA_INSTANCE_PROFILE"),
    column("user_data_template", Text, NONE).or("REPLICA_USER_DATA"),
    column("address_source", Text, "private"),
    column("address_suffix", Text, NONE),
    column("heartbeat_seconds", Number, "90"),
    column("lost_seconds", Number, "600"),
    column("claim_seconds", Number, "90"),
    column("boot_seconds", Number, "600"),
    column("drain_seconds", Number, "600"),
    column("missing_seconds", Number, "300"),
    column("orphan_seconds", Number, "600"),
    column("max_session_seconds", Number, NONE),
    column("max_idle_seconds", Number, NONE),
    column("end_warning_seconds", Number, "60"),
    column("drain_deadline_seconds", Number, NONE),
    column("max_age_seconds", Number, NONE),
    column("upgrade_surge", Number, "0"),
    column("upgrade_seconds", Number, "9000"),
    column("swap_when_warm", Bool, "false"),
    column("bake_seconds", Number, "1800"),
    column("old_image_seconds", Number, NONE),
    column("history_days", Number, "90"),
    column("monthly_budget", Number, NONE),
    column("limit_to_budget", Bool, "false"),
    column("replica_capacity", Number, "1").or("REPLICA_CAPACITY"),
    column("replica_min_available", Number, "3").or("REPLICA_MIN_AVAILABLE_RESOURCES"),
    column("replica_api_protocol", Text, "http").or("REPLICA_API_PROTOCOL"),
    column("replica_api_port", Number, "8080").or("REPLICA_API_PORT"),
    column("replica_api_path", Text, "/").or("REPLICA_API_PATH"),
    column("replica_api_capacity_key", Text, "capacity").or("REPLICA_API_CAPACITY_KEY"),
    column("replica_api_termination_key", Text, "termination").or("REPLICA_API_TERMINATION_KEY"),
    column("replica_api_seconds", Number, "3").or("REPLICA_API_SECONDS"),
    column("replica_trim", Bool, "false").or("REPLICA_TRIM"),
    column("replica_unknown_seconds", Number, NONE).or("REPLICA_UNKNOWN_SECONDS"),
    column("replica_boot_seconds", Number, NONE).or("REPLICA_BOOT_SECONDS"),
    column("replica_address_tag", Text, NONE).or("REPLICA_ADDRESS_TAG"),
];

impl Kind {
    /// Parses a text into a column's value; none if it is not of this kind.
    pub fn parse(self, text: &str) -> Option<Value> {
        match self {
            Text => Some(Value::String(text.to_owned())),
            Number => text.parse::<i64>().ok().map(Value::from),
            Bool => text.parse::<bool>().ok().map(Value::from),
            Json => serde_json::from_str(text).ok(),
        }
    }

    /// What a value must be, for error messages.
    pub fn expected(self) -> &'static str {
        match self {
            Text => "a text",
            Number => "a whole number",
            Bool => "true or false",
            Json => "JSON",
        }
    }
}

/// Every column that has a default; null where the setting is off.
pub fn defaults() -> Columns {
    TABLE
        .iter()
        .filter(|setting| setting.default != REQUIRED)
        .map(|setting| {
            let value = match setting.default {
                NONE => None,
                text => setting.kind.parse(text),
            };
            (setting.column.to_owned(), value.unwrap_or_default())
        })
        .collect()
}

/// `base` with the values of `row` that are not null.
pub fn overlay(mut base: Columns, row: &Columns) -> Columns {
    for (column, value) in row.iter().filter(|(_, value)| !value.is_null()) {
        base.insert(column.clone(), value.clone());
    }
    base
}
