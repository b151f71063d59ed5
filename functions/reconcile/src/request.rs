//! What `reconcile` can be asked for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use shared::ids::{ClientSha, ImageId, RegionName};
use shared::trigger::Trigger;
use thiserror::Error;

/// As for `assign-user`: nobody could ask for an image whose hash is longer.
const LONGEST_SHA: usize = 128;

/// An invocation's payload, understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// None: all that have a row.
    pub regions: Option<Vec<RegionName>>,
    pub dry_run: bool,
    pub approve_mass_removal: bool,
    pub trigger: Trigger,
    /// A new image for some regions; then only they get a pass.
    pub image_upgrade: Option<ImageUpgrade>,
    /// Of a trigger that came before; none for one of its own.
    pub id: Option<String>,
}

/// An order for new images, one for each region that is named.
#[derive(Debug, PartialEq, Eq)]
pub struct ImageUpgrade {
    pub client_sha: ClientSha,
    /// As they came: a bad one is its region's error, and the others go on.
    pub images: Vec<(RegionName, ImageId)>,
}

#[derive(Debug, PartialEq, Eq, Error)]
pub enum BadRequest {
    #[error(
        "the event must be a JSON object: EventBridge's scheduled event, or \
         {{\"regions\":[\"us-east-1\"],\"dry_run\":true}}, every field optional"
    )]
    NotAnObject,
    #[error("{0}; known fields: regions, dry_run, approve_mass_removal, image_upgrade")]
    Field(String),
    #[error("field `regions` is empty: leave it out to mean all regions")]
    NoRegions,
    #[error("field `regions`: {0:?} is not a region's name: lower-case letters, digits and `-`")]
    BadRegion(String),
    #[error("field `image_upgrade.client_sha` should have 1 to 128 bytes, it has {0}")]
    BadClientSha(usize),
    #[error("field `image_upgrade.images` is empty: name an image for each region to upgrade")]
    NoImages,
    #[error("fields `{0}` and `image_upgrade` exclude each other: the upgrade names its regions")]
    NotWithUpgrade(&'static str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByHand {
    regions: Option<Vec<String>>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    approve_mass_removal: bool,
    image_upgrade: Option<UpgradeFields>,
    /// Set by a pass that leaves the rest to this invocation: the id of what it came from.
    hand_over: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpgradeFields {
    client_sha: String,
    images: BTreeMap<String, String>,
}

impl Request {
    /// # Errors
    /// Names the field that is wrong, and what it should be.
    pub fn parse(event: Value) -> Result<Self, BadRequest> {
        let Value::Object(fields) = event else {
            return Err(BadRequest::NotAnObject);
        };
        if is_scheduled(&fields) {
            return Ok(Self {
                regions: None,
                dry_run: false,
                approve_mass_removal: false,
                trigger: Trigger::Schedule,
                image_upgrade: None,
                id: None,
            });
        }
        let asked: ByHand = field_by_field(fields)?;
        if asked.image_upgrade.is_some() {
            if asked.dry_run {
                return Err(BadRequest::NotWithUpgrade("dry_run"));
            }
            if asked.regions.is_some() {
                return Err(BadRequest::NotWithUpgrade("regions"));
            }
        }
        let regions = asked.regions.map(region_names).transpose()?;
        Ok(Self {
            regions,
            dry_run: asked.dry_run,
            approve_mass_removal: asked.approve_mass_removal,
            trigger: match asked.hand_over {
                Some(_) => Trigger::HandOver,
                None => Trigger::ByHand,
            },
            image_upgrade: asked.image_upgrade.map(upgrade).transpose()?,
            id: asked.hand_over,
        })
    }
}

/// EventBridge's own envelope; a rule may also be given a constant input, which is "by hand".
fn is_scheduled(fields: &Map<String, Value>) -> bool {
    fields.get("source").and_then(Value::as_str) == Some("aws.events")
        && fields.contains_key("detail-type")
}

/// serde's message says what was expected, but not in which field: so each is tried alone.
fn field_by_field(fields: Map<String, Value>) -> Result<ByHand, BadRequest> {
    for (name, value) in &fields {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        if let Err(error) = ByHand::deserialize(Value::Object(alone)) {
            return Err(BadRequest::Field(format!("field `{name}`: {error}")));
        }
    }
    ByHand::deserialize(Value::Object(fields)).map_err(|e| BadRequest::Field(e.to_string()))
}

fn upgrade(fields: UpgradeFields) -> Result<ImageUpgrade, BadRequest> {
    let length = fields.client_sha.len();
    if !(1..=LONGEST_SHA).contains(&length) {
        return Err(BadRequest::BadClientSha(length));
    }
    if fields.images.is_empty() {
        return Err(BadRequest::NoImages);
    }
    Ok(ImageUpgrade {
        client_sha: fields.client_sha.into(),
        images: fields
            .images
            .into_iter()
            .map(|(region, image)| (region.into(), image.into()))
            .collect(),
    })
}

fn region_names(names: Vec<String>) -> Result<Vec<RegionName>, BadRequest> {
    if names.is_empty() {
        return Err(BadRequest::NoRegions);
    }
    let mut regions: Vec<RegionName> = Vec::with_capacity(names.len());
    for name in names {
        let region = RegionName::new(name);
        if !region.is_plausible() {
            return Err(BadRequest::BadRegion(region.to_string()));
        }
        // Named twice is looked at once.
        if !regions.contains(&region) {
            regions.push(region);
        }
    }
    Ok(regions)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_asked_for_means_all_regions() {
        let request = Request::parse(json!({})).unwrap();
        assert_eq!(request.regions, None);
        assert_eq!(request.trigger, Trigger::ByHand);
        assert!(!request.dry_run);
    }

    #[test]
    fn a_wrong_type_names_its_field() {
        let error = Request::parse(json!({"regions": "us-east-1"}))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("field `regions`") && error.contains("sequence"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_field_is_named_with_those_that_exist() {
        let error = Request::parse(json!({"dryrun": true}))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`dryrun`") && error.contains("dry_run"),
            "{error}"
        );
    }

    #[test]
    fn a_region_that_could_not_be_one_is_refused_before_anything_is_written() {
        for name in ["", "US-EAST-1", "a#b", "../x"] {
            let error = Request::parse(json!({"regions": [name]})).unwrap_err();
            assert_eq!(error, BadRequest::BadRegion(name.to_owned()));
        }
    }

    #[test]
    fn an_empty_list_is_not_all() {
        assert_eq!(
            Request::parse(json!({"regions": []})).unwrap_err(),
            BadRequest::NoRegions
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert_eq!(
            Request::parse(json!([1])).unwrap_err(),
            BadRequest::NotAnObject
        );
    }

    #[test]
    fn an_upgrade_names_its_regions_and_its_client() {
        let images = json!({"us-east-1": "ami-2", "eu-west-1": "ami-3"});
        let event = json!({"image_upgrade": {"client_sha": "sha", "images": images}});
        let request = Request::parse(event).unwrap();
        let upgrade = request.image_upgrade.unwrap();
        assert_eq!(upgrade.client_sha, "sha".into());
        let pairs = [("eu-west-1", "ami-3"), ("us-east-1", "ami-2")];
        let pairs = pairs.map(|(region, image)| (region.into(), image.into()));
        assert_eq!(upgrade.images, pairs);
    }

    #[test]
    fn an_upgrade_that_is_not_complete_names_what_is_missing() {
        let of = |sha: &str, images| json!({"client_sha": sha, "images": images});
        let image = json!({"us-east-1": "ami-2"});
        let error = |upgrade: Value| {
            let parsed = Request::parse(json!({"image_upgrade": upgrade}));
            parsed.unwrap_err().to_string()
        };
        assert!(error(json!({"images": image})).contains("`client_sha`"));
        assert!(error(json!({"client_sha": "sha"})).contains("`images`"));
        assert!(error(of("", image.clone())).contains("image_upgrade.client_sha"));
        assert!(error(of(&"a".repeat(129), image)).contains("it has 129"));
        assert!(error(of("sha", json!({}))).contains("image_upgrade.images"));
        let list = error(of("sha", json!(["ami-2"])));
        assert!(list.contains("field `image_upgrade`"), "{list}");
    }

    #[test]
    fn an_upgrade_goes_with_no_other_choice_of_regions() {
        let upgrade = json!({"client_sha": "sha", "images": {"us-east-1": "ami-2"}});
        for (field, value) in [("dry_run", json!(true)), ("regions", json!(["us-east-1"]))] {
            let mut event = json!({"image_upgrade": upgrade});
            event[field] = value;
            let error = Request::parse(event).unwrap_err();
            assert_eq!(error, BadRequest::NotWithUpgrade(field));
        }
    }
}
