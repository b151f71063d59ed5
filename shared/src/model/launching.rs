//! Launches: the request, the intent that records it, the pools that rest, and the tally of an hour.

use std::collections::BTreeMap;
use std::fmt;

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
    /// Whether EBS optimization is requested. EC2 refuses it for types that do not have it, and the
    /// others have it anyway, so only requests of an earlier version do.
    #[serde(default = "ebs_optimized_by_earlier_version")]
    pub ebs_optimized: bool,
}

fn ebs_optimized_by_earlier_version() -> bool {
    true
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

/// What EC2's capacity is counted by: an instance type in a subnet, spot or on demand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CapacityPool {
    #[serde(default)]
    pub spot: bool,
    pub instance_type: String,
    pub subnet_id: String,
}

impl CapacityPool {
    /// The pool that a request asks.
    pub fn of(request: &LaunchRequest) -> Self {
        Self {
            spot: request.spot,
            instance_type: request.instance_type.clone(),
            subnet_id: request.subnet_id.clone(),
        }
    }

    fn has(&self, choice: &LaunchChoice, subnet_id: &str) -> bool {
        self.spot == choice.spot
            && self.instance_type == choice.instance_type
            && self.subnet_id == subnet_id
    }
}

impl fmt::Display for CapacityPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let market = if self.spot { "spot " } else { "" };
        write!(f, "{market}{} in {}", self.instance_type, self.subnet_id)
    }
}

/// Nothing is launched from a pool before `until`: EC2 refused it, or what was launched from it did
/// not live. It is remembered for longer, because the next rest is twice as long, until an instance
/// of the pool has lived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    #[serde(flatten)]
    pub pool: CapacityPool,
    /// The pool rests for launches of this image only: its instances died, and that may be the
    /// image's fault. None: for all images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    /// When it was recorded. Instances launched before it are not counted again.
    #[serde(default)]
    pub at: Timestamp,
    pub until: Timestamp,
    /// The number of rests in a row.
    #[serde(default = "one")]
    pub rests: u32,
    /// For operators.
    #[serde(default)]
    pub why: String,
}

fn one() -> u32 {
    1
}

impl Refusal {
    pub const FIRST_REST: SignedDuration = SignedDuration::from_mins(3);
    pub const LONGEST_REST: SignedDuration = SignedDuration::from_hours(1);

    /// The next rest of a pool, from `now` on. `before` are the refusals that are remembered.
    pub fn next(
        pool: CapacityPool,
        image: Option<ImageId>,
        why: String,
        before: &[Self],
        now: Timestamp,
    ) -> Self {
        let before = before
            .iter()
            .find(|refusal| refusal.pool == pool && refusal.image == image);
        let rests = before.map_or(1, |refusal| refusal.rests.saturating_add(1));
        let doubled = 2_i32.saturating_pow(rests - 1);
        let rest = Self::FIRST_REST.saturating_mul(doubled);
        Self {
            pool,
            image,
            at: now,
            until: now + rest.min(Self::LONGEST_REST),
            rests,
            why,
        }
    }

    /// The same with the longest rest at once, for what will not change soon.
    pub fn for_long(self) -> Self {
        Self {
            until: self.at + Self::LONGEST_REST,
            ..self
        }
    }

    /// Unique among the region's refusals.
    pub fn key(&self) -> String {
        let CapacityPool {
            spot,
            instance_type,
            subnet_id,
        } = &self.pool;
        let market = if *spot { "spot#" } else { "" };
        match &self.image {
            None => format!("{market}{instance_type}#{subnet_id}"),
            Some(image) => format!("{market}{instance_type}#{subnet_id}#{image}"),
        }
    }

    /// Whether the pool still rests.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.until > now
    }

    /// Until when the number of rests counts. A pool that nobody tried for that long begins anew.
    pub fn remembered_until(&self) -> Timestamp {
        self.until + Self::LONGEST_REST
    }

    /// Whether this choice in this subnet must not be requested yet for this image.
    pub fn covers(
        &self,
        choice: &LaunchChoice,
        subnet_id: &str,
        image: &ImageId,
        now: Timestamp,
    ) -> bool {
        self.is_in_force(now)
            && self.pool.has(choice, subnet_id)
            && self.image.as_ref().is_none_or(|only| only == image)
    }
}

/// How many instances were launched in each minute of the last hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaunchTally(BTreeMap<Timestamp, u32>);

impl LaunchTally {
    pub const PERIOD: SignedDuration = SignedDuration::from_hours(1);

    /// Adds instances that were requested at that time, and forgets what is older than the period.
    pub fn add(&mut self, count: u32, at: Timestamp) {
        self.0.retain(|minute, _| *minute > at - Self::PERIOD);
        let sum = self.0.entry(minute(at)).or_default();
        *sum = sum.saturating_add(count);
    }

    /// Takes back instances that were requested at that time and not launched.
    pub fn take_back(&mut self, count: u32, at: Timestamp) {
        if let Some(sum) = self.0.get_mut(&minute(at)) {
            *sum = sum.saturating_sub(count);
        }
    }

    /// The instances of the last hour.
    pub fn launched(&self, now: Timestamp) -> u32 {
        self.within(now).map(|(_, count)| *count).sum()
    }

    /// When the oldest launches of the last hour are an hour old; none without launches.
    pub fn next_free(&self, now: Timestamp) -> Option<Timestamp> {
        let mut launches = self.within(now).filter(|(_, count)| **count > 0);
        launches.next().map(|(minute, _)| *minute + Self::PERIOD)
    }

    fn within(&self, now: Timestamp) -> impl Iterator<Item = (&Timestamp, &u32)> {
        self.0
            .iter()
            .filter(move |(minute, _)| **minute > now - Self::PERIOD)
    }
}

fn minute(at: Timestamp) -> Timestamp {
    let second = at.as_second();
    Timestamp::from_second(second - second.rem_euclid(60)).unwrap_or(at)
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
    fn request_of_an_earlier_version_is_read_as_that_version_sent_it() {
        let request: LaunchRequest = serde_json::from_value(json!({
            "image_id": "ami-1", "client_sha": "sha", "instance_type": "m6i.large",
            "subnet_id": "subnet-a", "security_group_ids": [], "instance_profile": null,
            "user_data": "", "tags": [], "count": 1, "capacity": 2,
        }))
        .unwrap();
        assert!(!request.spot);
        assert_eq!(request.imds_hop_limit, None);
        assert!(request.ebs_optimized);
        let refusal: Refusal = serde_json::from_value(json!({
            "instance_type": "m6i.large", "subnet_id": "subnet-a", "until": "2026-01-01T12:00:00Z",
        }))
        .unwrap();
        assert_eq!(refusal.key(), "m6i.large#subnet-a");
        assert_eq!(refusal.rests, 1);
    }

    fn pool(spot: bool) -> CapacityPool {
        CapacityPool {
            spot,
            instance_type: "m6i.large".to_owned(),
            subnet_id: "subnet-a".to_owned(),
        }
    }

    fn refusal(spot: bool, image: Option<&str>, before: &[Refusal]) -> Refusal {
        let now = Timestamp::UNIX_EPOCH;
        Refusal::next(
            pool(spot),
            image.map(ImageId::from),
            String::new(),
            before,
            now,
        )
    }

    #[test]
    fn refusal_of_spot_does_not_cover_on_demand() {
        let now = Timestamp::UNIX_EPOCH;
        let image = ImageId::from("ami-1");
        let mut choice = choice(&json!({
            "instance_type": "m6i.large", "capacity": 2, "subnet_id": "subnet-a", "spot": true,
        }))
        .unwrap();
        let spot = refusal(true, None, &[]);
        assert!(spot.covers(&choice, "subnet-a", &image, now));
        assert!(!spot.covers(&choice, "subnet-b", &image, now));
        assert!(!spot.covers(&choice, "subnet-a", &image, spot.until));
        choice.spot = false;
        assert!(!spot.covers(&choice, "subnet-a", &image, now));
        assert_ne!(refusal(false, None, &[]).key(), spot.key());
    }

    #[test]
    fn refusal_of_one_image_does_not_cover_another() {
        let now = Timestamp::UNIX_EPOCH;
        let choice = choice(&json!({
            "instance_type": "m6i.large", "capacity": 2, "subnet_id": "subnet-a",
        }))
        .unwrap();
        let of_image = refusal(false, Some("ami-1"), &[]);
        assert!(of_image.covers(&choice, "subnet-a", &"ami-1".into(), now));
        assert!(!of_image.covers(&choice, "subnet-a", &"ami-2".into(), now));
        assert_ne!(refusal(false, None, &[]).key(), of_image.key());
    }

    #[test]
    fn rests_double_up_to_an_hour() {
        let mut before = vec![];
        let mut minutes = vec![];
        for _ in 0..40 {
            let next = refusal(false, None, &before);
            minutes.push(next.until.duration_since(next.at).as_mins());
            before = vec![next];
        }
        assert_eq!(minutes[..6], [3, 6, 12, 24, 48, 60]);
        assert!(minutes[6..].iter().all(|rest| *rest == 60));
    }

    #[test]
    fn tally_counts_the_last_hour_only() {
        let start = Timestamp::UNIX_EPOCH;
        let after = |minutes| start + SignedDuration::from_mins(minutes);
        let mut tally = LaunchTally::default();
        tally.add(3, after(0));
        tally.add(2, after(30));
        tally.take_back(1, after(30));
        assert_eq!(tally.launched(after(59)), 4);
        assert_eq!(tally.next_free(after(59)), Some(after(60)));
        assert_eq!(tally.launched(after(60)), 1);
        assert_eq!(tally.launched(after(90)), 0);
        assert_eq!(tally.next_free(after(90)), None);
        for minute in 0..1000 {
            tally.add(1, after(minute));
        }
        assert_eq!(tally.launched(after(999)), 60);
        assert_eq!(tally.0.len(), 60);
    }
}
