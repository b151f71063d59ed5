//! What `reconcile` can be asked for.

use serde::Deserialize;
use serde_json::{Map, Value};
use shared::ids::RegionName;
use shared::trigger::Trigger;
use thiserror::Error;

/// An invocation's payload, understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// None: all that have a row.
    pub regions: Option<Vec<RegionName>>,
    pub dry_run: bool,
    pub approve_mass_removal: bool,
    pub trigger: Trigger,
    /// Of a trigger that came before; none for one of its own.
    pub id: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Error)]
pub enum BadRequest {
    #[error(
        "the event must be a JSON object: EventBridge's scheduled event, or \
         {{\"regions\":[\"us-east-1\"],\"dry_run\":true}}, every field optional"
    )]
    NotAnObject,
    #[error("{0}; known fields: regions, dry_run, approve_mass_removal")]
    Field(String),
    #[error("field `regions` is empty: leave it out to mean all regions")]
    NoRegions,
    #[error("field `regions`: {0:?} is not a region's name: lower-case letters, digits and `-`")]
    BadRegion(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByHand {
    regions: Option<Vec<String>>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    approve_mass_removal: bool,
    /// Set by a pass that leaves the rest to this invocation: the id of what it came from.
    hand_over: Option<String>,
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
                id: None,
            });
        }
        let asked: ByHand = field_by_field(fields)?;
        let regions = asked.regions.map(region_names).transpose()?;
        Ok(Self {
            regions,
            dry_run: asked.dry_run,
            approve_mass_removal: asked.approve_mass_removal,
            trigger: match asked.hand_over {
                Some(_) => Trigger::HandOver,
                None => Trigger::ByHand,
            },
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
}
