//! What was requested from EC2, and what it refused.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{ClientSha, ClientToken, ImageId, LaunchId};
use crate::settings::LaunchChoice;

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
pub struct CapacityRefusal {
    #[serde(default)]
    pub spot: bool,
    pub instance_type: String,
    pub subnet_id: String,
    pub until: Timestamp,
}

impl CapacityRefusal {
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
        let refusal: CapacityRefusal = serde_json::from_value(json!({
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
        let refusal = CapacityRefusal {
            spot: true,
            instance_type: "m6i.large".to_owned(),
            subnet_id: "subnet-a".to_owned(),
            until: now + CapacityRefusal::REMEMBERED,
        };
        assert!(refusal.covers(&choice, "subnet-a", now));
        assert!(!refusal.covers(&choice, "subnet-b", now));
        assert!(!refusal.covers(&choice, "subnet-a", refusal.until));
        choice.spot = false;
        assert!(!refusal.covers(&choice, "subnet-a", now));
        let on_demand = CapacityRefusal {
            spot: false,
            ..refusal.clone()
        };
        assert_ne!(refusal.key(), on_demand.key());
    }
}
