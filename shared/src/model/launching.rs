//! Launches: the request, the intent that records it, and refusals for lack of capacity.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{ClientSha, ClientToken, ImageId, LaunchId};
use crate::settings::LaunchChoice;

/// The exact `RunInstances` request of an intent. Nothing is resolved again on resume, because EC2
/// rejects the same token with other parameters. A field that an earlier version did not record
/// defaults to what that version sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchRequest {
    pub image_id: ImageId,
    pub client_sha: ClientSha,
    /// Spot instances instead of on-demand ones.
    #[serde(default)]
    pub spot: bool,
    pub instance_type: String,
    pub subnet_id: String,
    pub security_group_ids: Vec<String>,
    pub instance_profile: Option<String>,
    /// In base64, as EC2 requires.
    pub user_data: String,
    /// In the order in which they are sent.
    pub tags: Vec<(String, String)>,
    pub count: u32,
    /// Slots per instance.
    pub capacity: u32,
    /// The hop limit of the metadata service's answers; if it is set, IMDSv2 is required. None in
    /// requests of an earlier version, which left both to the image.
    #[serde(default)]
    pub imds_hop_limit: Option<u8>,
}

/// A recorded launch, whose request may or may not have reached EC2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub launch_id: LaunchId,
    pub client_token: ClientToken,
    pub created_at: Timestamp,
    pub request: LaunchRequest,
}

impl Intent {
    /// The age up to which the request may be sent again. EC2 does not say how long it keeps a
    /// token; once it has forgotten it, the same request would launch again. So an older intent is
    /// only looked up.
    pub const RESUMABLE: SignedDuration = SignedDuration::from_hours(12);

    pub fn is_resumable(&self, now: Timestamp) -> bool {
        now.duration_since(self.created_at) <= Self::RESUMABLE
    }
}

/// EC2 had no capacity for an instance type in a subnet. It is not asked again before `until`. Spot
/// and on demand have separate capacity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityRefusal {
    #[serde(default)]
    pub spot: bool,
    pub instance_type: String,
    pub subnet_id: String,
    pub until: Timestamp,
}

impl CapacityRefusal {
    /// How long a refusal is in force.
    pub const VALID_FOR: SignedDuration = SignedDuration::from_mins(3);

    /// A refusal of this request, in force from `now` on.
    pub fn of(request: &LaunchRequest, now: Timestamp) -> Self {
        Self {
            spot: request.spot,
            instance_type: request.instance_type.clone(),
            subnet_id: request.subnet_id.clone(),
            until: now + Self::VALID_FOR,
        }
    }

    /// Unique among the region's refusals.
    pub fn key(&self) -> String {
        let market = if self.spot { "spot#" } else { "" };
        format!("{market}{}#{}", self.instance_type, self.subnet_id)
    }

    /// Whether this choice in this subnet must not be requested yet.
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
    fn choice_without_spot_is_on_demand() {
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
    fn choice_whose_spot_is_not_a_boolean_is_rejected() {
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
    fn request_of_an_earlier_version_is_on_demand_without_a_hop_limit() {
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
    fn refusal_of_spot_does_not_cover_on_demand() {
        let now = Timestamp::UNIX_EPOCH;
        let mut choice = choice(&json!({
            "instance_type": "m6i.large", "capacity": 2, "subnet_id": "subnet-a", "spot": true,
        }))
        .unwrap();
        let refusal = CapacityRefusal {
            spot: true,
            instance_type: "m6i.large".to_owned(),
            subnet_id: "subnet-a".to_owned(),
            until: now + CapacityRefusal::VALID_FOR,
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
