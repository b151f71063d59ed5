//! `regions.launch_choices` and `regions.security_groups`: where and as what to launch.

use std::fmt;
use std::ops::Not;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::shapes;

/// A larger capacity is taken for a typing error. Without a limit, a host agent's registration
/// would insert that many slots.
const LARGEST_CAPACITY: u32 = 1000;

/// A pass asks EC2 once for each choice that it tries, and has less than a minute.
pub(super) const MOST_CHOICES: usize = 64;

/// EC2's quota of security groups of one network interface can be raised to this.
pub(super) const MOST_GROUPS: usize = 16;

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
    #[serde(deserialize_with = "capacity")]
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

/// What keeps a choice from working, or that it repeats one of those `before` it.
pub(super) fn check_choice(choice: &LaunchChoice, before: &[LaunchChoice]) -> Result<(), String> {
    shapes::instance_type(&choice.instance_type)?;
    if !(1..=LARGEST_CAPACITY).contains(&choice.capacity) {
        return Err(format!("`capacity` must be 1 to {LARGEST_CAPACITY} slots"));
    }
    check_selector("subnet-", &choice.subnet)?;
    let is_same = |other: &&LaunchChoice| {
        (other.spot, &other.instance_type, &other.subnet)
            == (choice.spot, &choice.instance_type, &choice.subnet)
    };
    match before.iter().find(is_same) {
        Some(_) => Err("it repeats an item before it, which is used".to_owned()),
        None => Ok(()),
    }
}

pub(super) fn check_group(group: &Selector) -> Result<(), String> {
    check_selector("sg-", group)
}

fn check_selector(prefix: &str, selector: &Selector) -> Result<(), String> {
    match selector {
        Selector::Id(id) => shapes::id(prefix, id),
        Selector::Tag { key, value } => shapes::tag(key, value),
    }
}

/// As a `u32`, whatever the number is, so that the error does not name that type.
fn capacity<'de, D: Deserializer<'de>>(value: D) -> Result<u32, D::Error> {
    let value = Value::deserialize(value)?;
    let capacity = value.as_u64().and_then(|slots| u32::try_from(slots).ok());
    capacity.ok_or_else(|| {
        D::Error::custom(format!(
            "`capacity` is {value}: it must be a whole number, 1 to {LARGEST_CAPACITY}"
        ))
    })
}

/// Sets the capacity of choices that have none.
pub(super) fn fill_in_capacity(choices: &mut Value, capacity: u32) {
    for choice in choices.as_array_mut().into_iter().flatten() {
        if let Value::Object(choice) = choice {
            choice.entry("capacity").or_insert_with(|| capacity.into());
        }
    }
}
