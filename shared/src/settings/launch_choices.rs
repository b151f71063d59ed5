//! `regions.launch_choices` and `regions.security_groups`: where and as what to launch.

use std::fmt;
use std::ops::Not;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A larger capacity is taken for a typing error. Without a limit, a host agent's registration
/// would insert that many slots.
const LARGEST_CAPACITY: u32 = 1000;

/// One way to launch: an instance type in a subnet, spot or on demand, with its number of slots.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "ChoiceColumns", into = "ChoiceColumns")]
pub struct LaunchChoice {
    /// Spot instead of on demand: cheaper, but EC2 may take the instance.
    pub spot: bool,
    pub instance_type: String,
    pub capacity: u32,
    pub subnet: Selector,
}

/// A choice as an item of `regions.launch_choices`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with `instance_type`, `capacity`, `subnet_id` or `subnet_tag`, and \
                 optionally `spot`"
)]
struct ChoiceColumns {
    #[serde(default, skip_serializing_if = "Not::not")]
    spot: bool,
    instance_type: String,
    capacity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet_tag: Option<TagColumns>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a tag: an object with `key` and `value`"
)]
struct TagColumns {
    key: String,
    value: String,
}

impl TryFrom<ChoiceColumns> for LaunchChoice {
    type Error = &'static str;

    fn try_from(columns: ChoiceColumns) -> Result<Self, Self::Error> {
        let ChoiceColumns {
            spot,
            instance_type,
            capacity,
            subnet_id,
            subnet_tag,
        } = columns;
        let subnet = match (subnet_id, subnet_tag) {
            (Some(id), None) => Selector::Id(id),
            (None, Some(TagColumns { key, value })) => Selector::Tag { key, value },
            _ => return Err("give either `subnet_id` or `subnet_tag`"),
        };
        Ok(Self {
            spot,
            instance_type,
            capacity,
            subnet,
        })
    }
}

impl From<LaunchChoice> for ChoiceColumns {
    fn from(choice: LaunchChoice) -> Self {
        let LaunchChoice {
            spot,
            instance_type,
            capacity,
            subnet,
        } = choice;
        let (subnet_id, subnet_tag) = match subnet {
            Selector::Id(id) => (Some(id), None),
            Selector::Tag { key, value } => (None, Some(TagColumns { key, value })),
        };
        Self {
            spot,
            instance_type,
            capacity,
            subnet_id,
            subnet_tag,
        }
    }
}

impl LaunchChoice {
    /// The instance type, with `spot` in front if it is spot.
    pub fn machine(&self) -> String {
        let market = if self.spot { "spot " } else { "" };
        format!("{market}{}", self.instance_type)
    }
}

impl fmt::Display for LaunchChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.machine(), self.subnet)
    }
}

/// Selects a subnet or security groups: by id, or by a tag that is looked up at launch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "must be an id, or a tag: an object with `key` and `value`"
)]
pub enum Selector {
    Id(String),
    Tag { key: String, value: String },
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_str(id),
            Self::Tag { key, value } => write!(f, "tag {key}={value}"),
        }
    }
}

pub(super) fn launch_choices<'de, D: Deserializer<'de>>(
    column: D,
) -> Result<Vec<LaunchChoice>, D::Error> {
    each(column, |choice: &LaunchChoice| {
        if choice.instance_type.is_empty() {
            return Err("`instance_type` is empty".to_owned());
        }
        if !(1..=LARGEST_CAPACITY).contains(&choice.capacity) {
            return Err(format!("`capacity` must be 1 to {LARGEST_CAPACITY} slots"));
        }
        check_selector(&choice.subnet)
    })
}

pub(super) fn security_groups<'de, D: Deserializer<'de>>(
    column: D,
) -> Result<Vec<Selector>, D::Error> {
    each(column, check_selector)
}

/// Sets the capacity of choices that have none.
pub(super) fn fill_in_capacity(choices: &mut Value, capacity: u32) {
    for choice in choices.as_array_mut().into_iter().flatten() {
        if let Value::Object(choice) = choice {
            choice.entry("capacity").or_insert_with(|| capacity.into());
        }
    }
}

/// Reads a JSON array item by item, so that the error names the invalid item.
fn each<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    column: D,
    check: impl Fn(&T) -> Result<(), String>,
) -> Result<Vec<T>, D::Error> {
    let Value::Array(items) = Value::deserialize(column)? else {
        return Err(D::Error::custom("must be a JSON array"));
    };
    items
        .iter()
        .enumerate()
        .map(|(place, item)| {
            let at =
                |problem: String| D::Error::custom(format!("item {place} ({item}): {problem}"));
            let value = T::deserialize(item).map_err(|error| at(error.to_string()))?;
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
