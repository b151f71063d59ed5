//! Settings of the algorithm `replica`. Their environment variables have SimpleScaleVM's names.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::columns::{self, BadSetting};
use super::table::{Columns, defaults, overlay};
use crate::words::quoted;

/// How a region's replicas are counted, asked and replaced.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReplicaSettings {
    /// Resources of a replica that is being created: `REPLICA_CAPACITY`.
    #[serde(rename = "replica_capacity", deserialize_with = "columns::positive")]
    pub capacity: u32,
    /// Resources that should be available at all times: `REPLICA_MIN_AVAILABLE_RESOURCES`.
    #[serde(rename = "replica_min_available", deserialize_with = "columns::count")]
    pub min_available: u32,
    #[serde(skip)]
    pub api: StatusApi,
    /// Delete surplus replicas that report their full capacity.
    #[serde(rename = "replica_trim")]
    pub trim: bool,
    /// A running replica that does not answer yet counts as creating for this long after launch.
    #[serde(
        rename = "replica_boot_seconds",
        deserialize_with = "columns::optional_seconds"
    )]
    pub boot: Option<SignedDuration>,
    /// A replica whose status is unknown for this long is replaced.
    #[serde(
        rename = "replica_unknown_seconds",
        deserialize_with = "columns::optional_seconds"
    )]
    pub replace_unknown: Option<SignedDuration>,
    /// The tag of the Elastic IPs that healthy replicas get.
    #[serde(rename = "replica_address_tag", deserialize_with = "address_tag")]
    pub address_tag: Option<AddressTag>,
}

/// Where a replica serves its status, and under which keys.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StatusApi {
    #[serde(rename = "replica_api_protocol", deserialize_with = "protocol")]
    pub protocol: Protocol,
    #[serde(rename = "replica_api_port", deserialize_with = "columns::positive")]
    pub port: u16,
    /// Begins with `/`.
    #[serde(rename = "replica_api_path", deserialize_with = "path")]
    pub path: String,
    #[serde(rename = "replica_api_capacity_key")]
    pub capacity_key: String,
    #[serde(rename = "replica_api_termination_key")]
    pub termination_key: String,
    /// The limit for one request, from connecting to the end of the answer.
    #[serde(rename = "replica_api_seconds", deserialize_with = "columns::timeout")]
    pub time_limit: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Https,
}

/// The tag of a pool's addresses: `REPLICA_ADDRESS_TAG`, as `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressTag {
    pub key: String,
    pub value: String,
}

impl ReplicaSettings {
    /// Reads a row, or the columns that the environment sets. Missing columns have their defaults.
    ///
    /// # Errors
    /// Names the first invalid column, and what its value must be.
    pub fn from_columns(row: &Columns) -> Result<Self, BadSetting> {
        Self::read(&Value::Object(overlay(defaults(), row)))
    }

    /// Reads a row that has the defaults already.
    pub(super) fn read(row: &Value) -> Result<Self, BadSetting> {
        Ok(Self {
            api: columns::read(row)?,
            ..columns::read(row)?
        })
    }
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        columns::default_group()
    }
}

impl Default for StatusApi {
    fn default() -> Self {
        columns::default_group()
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

fn protocol<'de, D: Deserializer<'de>>(column: D) -> Result<Protocol, D::Error> {
    match Value::deserialize(column)? {
        Value::String(text) if text == "http" => Ok(Protocol::Http),
        Value::String(text) if text == "https" => Ok(Protocol::Https),
        other => Err(D::Error::custom(format!("{other} must be http or https"))),
    }
}

fn path<'de, D: Deserializer<'de>>(column: D) -> Result<String, D::Error> {
    let path = String::deserialize(column)?;
    if path.starts_with('/') {
        Ok(path)
    } else {
        Err(D::Error::custom(format!(
            "{} must begin with /",
            quoted(&path)
        )))
    }
}

fn address_tag<'de, D: Deserializer<'de>>(column: D) -> Result<Option<AddressTag>, D::Error> {
    let Some(text) = columns::optional_text(column)? else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|BadTag| {
        D::Error::custom(format!(
            "{} must be {}",
            quoted(&text),
            AddressTag::EXPECTED
        ))
    })
}

impl AddressTag {
    const EXPECTED: &'static str = "KEY=VALUE, the tag of the Elastic IPs";
}

/// The text is not `KEY=VALUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTag;

impl fmt::Display for AddressTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

impl FromStr for AddressTag {
    type Err = BadTag;

    /// The first `=` ends the key.
    fn from_str(text: &str) -> Result<Self, BadTag> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(BadTag),
        }
    }
}
