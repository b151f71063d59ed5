//! Parses the payloads of Hasura's event triggers, and says which regions they affect.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};
use shared::ids::RegionName;
use shared::words::{plain, quoted};
use thiserror::Error;

/// The width of `region_wakeups.bucket`.
const BUCKET: SignedDuration = SignedDuration::from_secs(2);

/// The longest time from the clock reading that chooses an assign's bucket to its commit.
const COMMIT: SignedDuration = SignedDuration::from_millis(250);

/// The fields of a payload that are used. Others are ignored: engines add fields.
#[derive(Debug, PartialEq)]
pub struct DatabaseEvent {
    /// The same for every delivery of this event.
    pub id: String,
    pub trigger: String,
    op: String,
    new: Option<Map<String, Value>>,
}

/// The regions that need a pass because of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum AffectedRegions {
    One(RegionName),
    All,
    /// With the reason: no pass has to act on this change, or the trigger is not one of ours.
    None(&'static str),
}

#[derive(Debug, Error)]
pub enum BadPayload {
    #[error("the body is not the payload of a Hasura event trigger: {}", plain(.0))]
    NotAnEvent(#[source] serde_json::Error),
    #[error("field `{0}` must not be empty or longer than 200 bytes")]
    Id(&'static str),
    #[error(
        "field `event.data.new.region` is {}, which cannot be a region's name: it must be \
         lower-case letters, digits and `-`, 64 at most",
        quoted(.0)
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
    pub fn affected_regions(&self, environment: &str) -> Result<AffectedRegions, BadPayload> {
        match self.trigger.as_str() {
            "region_wake" => Ok(AffectedRegions::One(self.region()?)),
            "instance_status_changed" if self.op == "DELETE" => {
                Ok(AffectedRegions::None("the row is gone"))
            }
            "instance_status_changed" => match self.column("status")? {
                "DRAINING" => Ok(AffectedRegions::One(self.region()?)),
                _ => Ok(AffectedRegions::None("only DRAINING needs a pass")),
            },
            "app_version_changed" if self.op == "DELETE" => {
                Ok(AffectedRegions::None("the row is gone"))
            }
            "app_version_changed" => Ok(if self.column("environment")? == environment {
                AffectedRegions::All
            } else {
                AffectedRegions::None("another environment's app version")
            }),
            _ => Ok(AffectedRegions::None("an unknown trigger")),
        }
    }

    /// When the last assign that this event stands for may commit: a row of `region_wakeups` stands
    /// for its whole two-second bucket, and later assigns of the bucket write no other row.
    pub fn bucket_end(&self) -> Option<Timestamp> {
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
