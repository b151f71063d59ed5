//! What Hasura's event triggers send, and which regions that concerns.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};
use shared::ids::RegionName;
use thiserror::Error;

/// The width of `region_wakeups.bucket`.
const BUCKET: SignedDuration = SignedDuration::from_secs(2);

/// What an assign takes from the time that its bucket is told by to its commit.
const COMMIT: SignedDuration = SignedDuration::from_millis(250);

/// Of a payload, what a wake needs. Everything else is ignored: engines add fields.
#[derive(Debug, PartialEq)]
pub struct DatabaseEvent {
    /// The same for every delivery of this event.
    pub id: String,
    pub trigger: String,
    op: String,
    new: Option<Map<String, Value>>,
}

/// What an event asks to be looked at.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    Region(RegionName),
    AllRegions,
    /// And why: it is a change that no pass has to act on, or a trigger of somebody else's.
    Nothing(&'static str),
}

#[derive(Debug, Error)]
pub enum BadPayload {
    #[error("the body is no payload of a Hasura event trigger: {0}")]
    NotAnEvent(#[source] serde_json::Error),
    #[error("field `{0}` must not be empty or longer than 200 bytes")]
    Id(&'static str),
    #[error(
        "field `event.data.new.region` is {0:?}, no region's name: lower-case letters, digits and \
         `-`, 64 at most"
    )]
    Region(RegionName),
    #[error("field `event.data.new.{column}` of trigger {trigger} must be a text")]
    Column {
        trigger: String,
        column: &'static str,
    },
}

#[derive(Deserialize)]
struct Payload {
    id: String,
    trigger: TriggerName,
    event: Change,
}

#[derive(Deserialize)]
struct TriggerName {
    name: String,
}

#[derive(Deserialize)]
struct Change {
    op: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    new: Option<Map<String, Value>>,
}

impl DatabaseEvent {
    /// # Errors
    /// Names what is missing or wrong.
    pub fn parse(body: &[u8]) -> Result<Self, BadPayload> {
        let payload: Payload = serde_json::from_slice(body).map_err(BadPayload::NotAnEvent)?;
        let Payload {
            id,
            trigger: TriggerName { name },
            event,
        } = payload;
        for (field, text) in [("id", &id), ("trigger.name", &name)] {
            // Both become part of keys and log lines.
            if text.is_empty() || text.len() > 200 {
                return Err(BadPayload::Id(field));
            }
        }
        Ok(Self {
            id,
            trigger: name,
            op: event.op,
            new: event.data.new,
        })
    }

    /// # Errors
    /// When a known trigger's row lacks the column that says which region it is about.
    pub fn wanted(&self, environment: &str) -> Result<Wanted, BadPayload> {
        match self.trigger.as_str() {
            "region_wake" => Ok(Wanted::Region(self.region()?)),
            "instance_status_changed" if self.op == "DELETE" => {
                Ok(Wanted::Nothing("the row is gone"))
            }
            "instance_status_changed" => match self.column("status")? {
                "DRAINING" => Ok(Wanted::Region(self.region()?)),
                _ => Ok(Wanted::Nothing("only DRAINING asks for a look")),
            },
            "app_version_changed" if self.op == "DELETE" => Ok(Wanted::Nothing("the row is gone")),
            "app_version_changed" => Ok(if self.column("environment")? == environment {
                Wanted::AllRegions
            } else {
                Wanted::Nothing("another environment's app version")
            }),
            _ => Ok(Wanted::Nothing("an unknown trigger")),
        }
    }

    /// When the last assign that this event stands for may have been made: a wake's row stands
    /// for all of its two-second bucket, and whoever comes later in it writes no other.
    pub fn speaks_until(&self) -> Option<Timestamp> {
        let bucket: Timestamp = match self.trigger.as_str() {
            "region_wake" => self.column("bucket").ok()?.parse().ok()?,
            _ => return None,
        };
        Some(bucket + BUCKET + COMMIT)
    }

    fn region(&self) -> Result<RegionName, BadPayload> {
        let region = RegionName::from(self.column("region")?);
        if region.is_plausible() {
            Ok(region)
        } else {
            Err(BadPayload::Region(region))
        }
    }

    fn column(&self, column: &'static str) -> Result<&str, BadPayload> {
        self.new
            .as_ref()
            .and_then(|row| row.get(column))
            .and_then(Value::as_str)
            .ok_or_else(|| BadPayload::Column {
                trigger: self.trigger.clone(),
                column,
            })
    }
}
