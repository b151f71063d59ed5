//! Converting a column's JSON value into a setting's type. The error says what is expected.

use std::time::Duration;

use jiff::SignedDuration;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::table::{TABLE, defaults};
use crate::ids::RegionName;
use crate::words::{plain, quoted};

/// A column with an invalid value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Error)]
#[error("column `{column}`: {problem}")]
pub struct BadSetting {
    pub column: &'static str,
    /// What is wrong, and what the value must be.
    pub problem: String,
}

/// Reads one group of settings from a row.
pub(super) fn read<T: DeserializeOwned>(row: &Value) -> Result<T, BadSetting> {
    serde_path_to_error::deserialize(row).map_err(|error| {
        let path = error.path().to_string();
        let message = plain(error.inner());
        // A column that is missing has no path, but its name is in serde's message.
        let column = TABLE
            .iter()
            .map(|setting| setting.column)
            .find(|column| path == *column || message.contains(&format!("field `{column}`")));
        BadSetting {
            column: column.unwrap_or("(unknown)"),
            problem: message,
        }
    })
}

/// One group of settings with the table's defaults.
#[expect(
    clippy::expect_used,
    reason = "the table is constant, and a test reads all of it"
)]
pub(super) fn default_group<T: DeserializeOwned>() -> T {
    read(&Value::Object(defaults())).expect("the table's defaults are valid settings")
}

/// A number that is 0 or more.
pub(super) fn count<'de, D: Deserializer<'de>>(column: D) -> Result<u32, D::Error> {
    number(column, 0)
}

/// Null means that the setting is not set.
pub(super) fn optional_count<'de, D: Deserializer<'de>>(
    column: D,
) -> Result<Option<u32>, D::Error> {
    match Value::deserialize(column)? {
        Value::Null => Ok(None),
        value => count(value).map(Some).map_err(D::Error::custom),
    }
}

/// A number that is 1 or more.
pub(super) fn positive<'de, D: Deserializer<'de>, T: TryFrom<i64>>(
    column: D,
) -> Result<T, D::Error> {
    number(column, 1)
}

fn number<'de, D: Deserializer<'de>, T: TryFrom<i64>>(
    column: D,
    least: i64,
) -> Result<T, D::Error> {
    let value = Value::deserialize(column)?;
    value
        .as_i64()
        .filter(|number| *number >= least)
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| D::Error::custom(format!("{value} must be a whole number, {least} or more")))
}

fn whole_seconds<E: serde::de::Error>(value: &Value) -> Result<u32, E> {
    value
        .as_i64()
        .filter(|seconds| *seconds >= 1)
        .and_then(|seconds| u32::try_from(seconds).ok())
        .ok_or_else(|| E::custom(format!("{value} must be 1 or more seconds")))
}

pub(super) fn seconds<'de, D: Deserializer<'de>>(column: D) -> Result<SignedDuration, D::Error> {
    let seconds: u32 = whole_seconds(&Value::deserialize(column)?)?;
    Ok(SignedDuration::from_secs(seconds.into()))
}

pub(super) fn timeout<'de, D: Deserializer<'de>>(column: D) -> Result<Duration, D::Error> {
    let seconds: u32 = whole_seconds(&Value::deserialize(column)?)?;
    Ok(Duration::from_secs(seconds.into()))
}

/// Null means that the setting is off.
pub(super) fn optional_seconds<'de, D: Deserializer<'de>>(
    column: D,
) -> Result<Option<SignedDuration>, D::Error> {
    match Value::deserialize(column)? {
        Value::Null => Ok(None),
        value => Ok(Some(SignedDuration::from_secs(
            whole_seconds(&value)?.into(),
        ))),
    }
}

/// An empty text counts as not set: web forms leave one behind.
pub(super) fn optional_text<'de, D: Deserializer<'de>>(
    column: D,
) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(column)?.filter(|text| !text.is_empty()))
}

pub(super) fn region_name<'de, D: Deserializer<'de>>(column: D) -> Result<RegionName, D::Error> {
    let name = RegionName::deserialize(column)?;
    if name.is_plausible() {
        Ok(name)
    } else {
        Err(D::Error::custom(format!(
            "{} must be an AWS region, such as us-east-1",
            quoted(&name)
        )))
    }
}
