//! What can be launched, what was asked for, and what was refused.

use std::fmt;
use std::ops::Not;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{ClientSha, ClientToken, ImageId, LaunchId};

/// One way to get capacity: a type in a place, and how many slots it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "ChoiceColumns", into = "ChoiceColumns")]
pub struct LaunchChoice {
    /// A spot instance: cheaper, and EC2 may take it back.
    pub spot: bool,
    pub instance_type: String,
    pub capacity: u32,
    pub subnet: Selector,
}

/// A choice as an item of `regions.launch_choices` spells it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with `instance_type`, `capacity`, `subnet_id` or `subnet_tag`, and \
                 perhaps `spot`"
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
    /// Its type, and that it is spot if it is.
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

/// Names a subnet or a security group: by id, or by a tag that is looked up at launch.
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

/// The exact `RunInstances` request of an intent. Nothing of it is resolved again on resume:
/// the same token with other parameters is an error at EC2. A field that an earlier version did
/// not record stands, when it is missing, for what that version sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchRequest {
    pub image_id: ImageId,
    pub client_sha: ClientSha,
    /// Spot instances, not on-demand ones.
    #[serde(default)]
    pub spot: bool,
    pub instance_type: String,
    pub subnet_id: String,
    pub security_group_ids: Vec<String>,
    pub instance_profile: Option<String>,
    /// Base64, as the wire wants it.
    pub user_data: String,
    /// In the order in which they are sent.
    pub tags: Vec<(String, String)>,
    pub count: u32,
    /// Slots per instance.
    pub capacity: u32,
    /// How far from the metadata service its answers may get, which asks for IMDSv2's tokens
    /// then. None where an earlier version left all of it to the image.
    #[serde(default)]
    pub imds_hop_limit: Option<u8>,
}

/// A launch that was decided and recorded, and may or may not have reached EC2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub launch_id: LaunchId,
    pub client_token: ClientToken,
    pub created_at: Timestamp,
    pub request: LaunchRequest,
}

impl Intent {
    /// Past this age the token may have been forgotten by EC2, which promises no period of
    /// validity: asking again could launch again, so it is looked up only.
    pub const RESUMABLE: SignedDuration = SignedDuration::from_hours(12);

    pub fn is_resumable(&self, now: Timestamp) -> bool {
        now.duration_since(self.created_at) <= Self::RESUMABLE
    }
}

/// EC2 had no room for a type in a subnet, spot or not: two pools that run out each by itself.
/// It is not asked again until `until`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    #[serde(default)]
    pub spot: bool,
    pub instance_type: String,
    pub subnet_id: String,
    pub until: Timestamp,
}

impl Refusal {
    /// How long a capacity refusal is remembered.
    pub const REMEMBERED: SignedDuration = SignedDuration::from_mins(3);

    /// The refusal of this request.
    pub fn of(request: &LaunchRequest, now: Timestamp) -> Self {
        Self {
            spot: request.spot,
            instance_type: request.instance_type.clone(),
            subnet_id: request.subnet_id.clone(),
            until: now + Self::REMEMBERED,
        }
    }

    /// Tells it from the region's other ones.
    pub fn key(&self) -> String {
        let market = if self.spot { "spot#" } else { "" };
        format!("{market}{}#{}", self.instance_type, self.subnet_id)
    }

    /// Whether this choice, in this subnet, is not to be asked for yet.
    pub fn covers(&self, choice: &LaunchChoice, subnet_id: &str, now: Timestamp) -> bool {
        self.until > now
            && self.spot == choice.spot
            && self.instance_type == choice.instance_type
            && self.subnet_id == subnet_id
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn choice(item: &Value) -> Result<LaunchChoice, String> {
        serde_json::from_value(item.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_choice_is_on_demand_unless_it_says_spot() {
        let mut item =
            json!({"instance_type": "m6i.large", "capacity": 2, "subnet_id": "subnet-a"});
        let on_demand = choice(&item).unwrap();
        assert!(!on_demand.spot);
        assert_eq!(on_demand.to_string(), "m6i.large in subnet-a");
        assert_eq!(serde_json::to_value(&on_demand).unwrap(), item);

        item["spot"] = json!(false);
        assert_eq!(choice(&item).unwrap(), on_demand);

        item["spot"] = json!(true);
        let spot = choice(&item).unwrap();
        assert!(spot.spot);
        assert_eq!(spot.to_string(), "spot m6i.large in subnet-a");
        assert_eq!(serde_json::to_value(&spot).unwrap(), item);
    }

    #[test]
    fn spot_is_true_or_false_and_nothing_else() {
        for wrong in [
            json!("true"),
            json!(1),
            json!(null),
            json!({"max_price": "0.1"}),
        ] {
            let item = json!({
                "instance_type": "m6i.large", "capacity": 2, "subnet_id": "subnet-a", "spot": wrong,
            });
            let error = choice(&item).unwrap_err();
            assert!(error.contains("expected a boolean"), "{wrong}: {error}");
        }
        let misspelt = json!({
            "instance_type": "m6i.large", "capacity": 2, "subnet_id": "subnet-a", "Spot": true,
        });
        let error = choice(&misspelt).unwrap_err();
        assert!(error.contains("unknown field `Spot`"), "{error}");
    }

    #[test]
    fn what_an_earlier_version_recorded_was_on_demand_with_the_images_metadata_service() {
        let request: LaunchRequest = serde_json::from_value(json!({
            "image_id": "ami-1", "client_sha": "sha", "instance_type": "m6i.large",
            "subnet_id": "subnet-a", "security_group_ids": [], "instance_profile": null,
            "user_data": "", "tags": [], "count": 1, "capacity": 2,
        }))
        .unwrap();
        assert!(!request.spot);
        assert_eq!(request.imds_hop_limit, None);
        let refusal: Refusal = serde_json::from_value(json!({
            "instance_type": "m6i.large", "subnet_id": "subnet-a", "until": "2026-01-01T12:00:00Z",
        }))
        .unwrap();
        assert_eq!(refusal.key(), "m6i.large#subnet-a");
    }

    #[test]
    fn spot_and_on_demand_are_refused_each_for_itself() {
        let now = Timestamp::UNIX_EPOCH;
        let mut choice = choice(&json!({
            "instance_type": "m6i.large", "capacity": 2, "subnet_id": "subnet-a", "spot": true,
        }))
        .unwrap();
        let refusal = Refusal {
            spot: true,
            instance_type: "m6i.large".to_owned(),
            subnet_id: "subnet-a".to_owned(),
            until: now + Refusal::REMEMBERED,
        };
        assert!(refusal.covers(&choice, "subnet-a", now));
        assert!(!refusal.covers(&choice, "subnet-b", now));
        assert!(!refusal.covers(&choice, "subnet-a", refusal.until));
        choice.spot = false;
        assert!(!refusal.covers(&choice, "subnet-a", now));
        let on_demand = Refusal {
            spot: false,
            ..refusal.clone()
        };
        assert_ne!(refusal.key(), on_demand.key());
    }
}
