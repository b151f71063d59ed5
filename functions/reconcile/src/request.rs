//! Parses the events of `reconcile` into requests.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use scaling_economics::replay::{Question, parse_since};
use serde::Deserialize;
use serde_json::{Map, Value};
use shared::ids::{ClientSha, RegionName};
use shared::settings::Columns;
use shared::trigger::Trigger;
use shared::words::{plain, quoted};
use thiserror::Error;

/// In bytes, as in `assign-user`: no client could request a slot on an image with a longer hash.
const LONGEST_SHA: usize = 128;

/// An invocation has no time for more.
const MOST_PROPOSALS: usize = 20;

/// A parsed event.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// None means all regions that have a row.
    pub regions: Option<Vec<RegionName>>,
    pub dry_run: bool,
    pub approve_mass_removal: bool,
    /// Examine the deployment instead of running passes.
    pub doctor: bool,
    /// Play a region's past again instead of running passes.
    pub replay: Option<ReplayRequest>,
    pub trigger: Trigger,
    /// New images for some regions; then only these get a pass.
    pub image_upgrade: Option<ImageUpgrade>,
    /// The id of the event that an earlier pass handed over; otherwise none.
    pub id: Option<String>,
}

/// What would other settings have cost a region?
#[derive(Debug, PartialEq)]
pub struct ReplayRequest {
    pub region: RegionName,
    pub since: Since,
    /// None means until now.
    pub until: Option<Timestamp>,
    pub question: Question,
}

/// When a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    Ago(SignedDuration),
    At(Timestamp),
}

impl ReplayRequest {
    /// From when until when.
    ///
    /// # Errors
    /// When that is not a time that a replay can be of.
    pub fn times(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), BadRequest> {
        let until = self.until.unwrap_or(now);
        let since = match self.since {
            Since::Ago(time) => now - time,
            Since::At(since) => since,
        };
        let is_ok = until <= now && (SHORTEST..=LONGEST).contains(&until.duration_since(since));
        if is_ok {
            Ok((since, until))
        } else {
            Err(BadRequest::BadTimes)
        }
    }
}

/// In less, there is nothing to be learnt.
const SHORTEST: SignedDuration = SignedDuration::from_secs(30);

/// Figures of machine time are read for a month at most.
const LONGEST: SignedDuration = SignedDuration::from_hours(31 * 24);

/// A request for new images, one for each named region.
#[derive(Debug, PartialEq, Eq)]
pub struct ImageUpgrade {
    pub client_sha: ClientSha,
    /// Not checked yet, not even whether it is a string: an invalid one is an error of its region
    /// only.
    pub images: Vec<(RegionName, Value)>,
}

#[derive(Debug, PartialEq, Eq, Error)]
pub enum BadRequest {
    #[error(
        "the event must be a JSON object: EventBridge's scheduled event, or \
         {{\"regions\":[\"us-east-1\"],\"dry_run\":true}}, every field optional"
    )]
    NotAnObject,
    #[error(
        "{0}; known fields: regions, dry_run, approve_mass_removal, image_upgrade, doctor, replay"
    )]
    Field(String),
    #[error("field `regions` is empty: leave it out to mean all regions")]
    NoRegions,
    #[error("field `regions`: {} is not a region's name: lower-case letters, digits and `-`", quoted(.0))]
    BadRegion(String),
    #[error("field `image_upgrade.client_sha` must have 1 to 128 bytes, it has {0}")]
    BadClientSha(usize),
    #[error("field `image_upgrade.images` is empty: name an image for each region to upgrade")]
    NoImages,
    #[error("fields `{0}` and `image_upgrade` exclude each other: the upgrade names its regions")]
    NotWithUpgrade(&'static str),
    #[error("field `doctor` stands alone: it examines all regions and changes nothing")]
    DoctorAlone,
    #[error("field `replay` stands alone: it plays one region's past again and changes nothing")]
    ReplayAlone,
    #[error(
        "field `replay.since`: {} is neither a time from 1h to 31d, a number with `h` or `d` as `7d`, nor \
         a date with a time as `2026-11-29T15:00:00Z`",
        quoted(.0)
    )]
    BadSince(String),
    #[error("field `replay.until`: {} is not a date with a time, as `2026-11-29T15:00:00Z`", quoted(.0))]
    BadUntil(String),
    #[error(
        "fields `replay.since` and `replay.until`: from 30 s to 31 days apart, and not to come"
    )]
    BadTimes,
    #[error("field `replay.settings`: {MOST_PROPOSALS} settings at most, not {0}")]
    TooManySettings(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventFields {
    regions: Option<Vec<String>>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    approve_mass_removal: bool,
    image_upgrade: Option<UpgradeFields>,
    #[serde(default)]
    doctor: bool,
    replay: Option<ReplayFields>,
    /// Set by a pass that hands over to this invocation: the id of its event.
    hand_over: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayFields {
    region: String,
    #[serde(default = "a_week")]
    since: String,
    until: Option<String>,
    #[serde(default)]
    settings: Vec<Columns>,
    #[serde(default)]
    frontier: bool,
}

fn a_week() -> String {
    "7d".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpgradeFields {
    client_sha: String,
    images: BTreeMap<String, Value>,
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
                doctor: false,
                replay: None,
                trigger: Trigger::Schedule,
                image_upgrade: None,
                id: None,
            });
        }
        let stands_alone = fields.len() == 1;
        let fields: EventFields = field_by_field(fields)?;
        if fields.doctor && !stands_alone {
            return Err(BadRequest::DoctorAlone);
        }
        if fields.replay.is_some() && !stands_alone {
            return Err(BadRequest::ReplayAlone);
        }
        if fields.image_upgrade.is_some() {
            if fields.dry_run {
                return Err(BadRequest::NotWithUpgrade("dry_run"));
            }
            if fields.regions.is_some() {
                return Err(BadRequest::NotWithUpgrade("regions"));
            }
        }
        let regions = fields.regions.map(region_names).transpose()?;
        Ok(Self {
            regions,
            dry_run: fields.dry_run,
            approve_mass_removal: fields.approve_mass_removal,
            doctor: fields.doctor,
            replay: fields.replay.map(replay).transpose()?,
            trigger: match fields.hand_over {
                Some(_) => Trigger::HandOver,
                None => Trigger::ByHand,
            },
            image_upgrade: fields.image_upgrade.map(upgrade).transpose()?,
            id: fields.hand_over,
        })
    }
}

/// EventBridge's envelope. A rule with a constant input counts as "by hand".
fn is_scheduled(fields: &Map<String, Value>) -> bool {
    fields.get("source").and_then(Value::as_str) == Some("aws.events")
        && fields.contains_key("detail-type")
}

/// serde's message says what is expected, but not in which field: so each field is parsed alone
/// first.
fn field_by_field(fields: Map<String, Value>) -> Result<EventFields, BadRequest> {
    for (name, value) in &fields {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        if let Err(error) = EventFields::deserialize(Value::Object(alone)) {
            return Err(BadRequest::Field(format!(
                "field `{name}`: {}",
                plain(&error)
            )));
        }
    }
    EventFields::deserialize(Value::Object(fields))
        .map_err(|error| BadRequest::Field(plain(&error)))
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
            .map(|(region, image)| (region.into(), image))
            .collect(),
    })
}

fn replay(fields: ReplayFields) -> Result<ReplayRequest, BadRequest> {
    let region = RegionName::new(fields.region);
    if !region.is_plausible() {
        return Err(BadRequest::BadRegion(region.to_string()));
    }
    if fields.settings.len() > MOST_PROPOSALS {
        return Err(BadRequest::TooManySettings(fields.settings.len()));
    }
    Ok(ReplayRequest {
        region,
        since: since(&fields.since).ok_or(BadRequest::BadSince(fields.since))?,
        until: fields.until.map(until).transpose()?,
        question: Question {
            proposals: fields.settings,
            frontier: fields.frontier,
        },
    })
}

fn since(text: &str) -> Option<Since> {
    let ago = parse_since(text).map(Since::Ago);
    ago.or_else(|| Some(Since::At(text.parse().ok()?)))
}

fn until(text: String) -> Result<Timestamp, BadRequest> {
    text.parse().map_err(|_| BadRequest::BadUntil(text))
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
        // A region that is named twice gets one pass.
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
    fn empty_request_means_all_regions() {
        let request = Request::parse(json!({})).unwrap();
        assert_eq!(request.regions, None);
        assert_eq!(request.trigger, Trigger::ByHand);
        assert!(!request.dry_run);
    }

    #[test]
    fn wrong_type_names_its_field() {
        let error = Request::parse(json!({"regions": "us-east-1"}))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("field `regions`") && error.contains("sequence"),
            "{error}"
        );
    }

    #[test]
    fn every_error_is_in_plain_words() {
        let upgrade = json!({"client_sha": 7, "images": {"us-east-1": null}});
        for (field, wrong) in [
            ("regions", json!({})),
            ("regions", json!([7])),
            ("regions", json!(["No Region"])),
            ("dry_run", json!("yes")),
            ("approve_mass_removal", json!(1)),
            ("image_upgrade", json!("ami-1")),
            ("image_upgrade", json!([])),
            ("image_upgrade", upgrade),
            ("image_upgrade", json!({"client_sha": "sha", "images": 7})),
            ("hand_over", json!({})),
            ("replay", json!("us-east-1")),
            ("replay", json!({"region": 7})),
            ("replay", json!({"region": "us-east-1", "settings": [7]})),
        ] {
            let error = Request::parse(json!({ field: wrong })).unwrap_err();
            testing::assert_plain(&error.to_string());
        }
    }

    #[test]
    fn unknown_field_is_named_with_the_known_ones() {
        let error = Request::parse(json!({"dryrun": true}))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`dryrun`") && error.contains("dry_run"),
            "{error}"
        );
    }

    #[test]
    fn invalid_region_name_is_rejected() {
        for name in ["", "US-EAST-1", "a#b", "../x"] {
            let error = Request::parse(json!({"regions": [name]})).unwrap_err();
            assert_eq!(error, BadRequest::BadRegion(name.to_owned()));
        }
    }

    #[test]
    fn empty_list_of_regions_is_rejected() {
        assert_eq!(
            Request::parse(json!({"regions": []})).unwrap_err(),
            BadRequest::NoRegions
        );
    }

    #[test]
    fn event_that_is_not_an_object_is_rejected() {
        assert_eq!(
            Request::parse(json!([1])).unwrap_err(),
            BadRequest::NotAnObject
        );
    }

    #[test]
    fn doctor_stands_alone() {
        assert!(Request::parse(json!({"doctor": true})).unwrap().doctor);
        assert!(
            !Request::parse(json!({"doctor": false, "dry_run": true}))
                .unwrap()
                .doctor
        );
        for (field, value) in [("dry_run", json!(true)), ("regions", json!(["us-east-1"]))] {
            let event = json!({"doctor": true, field: value});
            let error = Request::parse(event).unwrap_err();
            assert_eq!(error, BadRequest::DoctorAlone, "{field}");
        }
        let error = Request::parse(json!({"doctor": "yes"})).unwrap_err();
        assert!(error.to_string().contains("field `doctor`"), "{error}");
    }

    #[test]
    fn replay_has_a_region_a_time_and_settings() {
        let parsed = |replay: Value| Request::parse(json!({ "replay": replay }));
        let replay = parsed(json!({"region": "us-east-1"}))
            .unwrap()
            .replay
            .unwrap();
        assert_eq!(replay.since, Since::Ago(SignedDuration::from_hours(7 * 24)));
        assert_eq!(replay.until, None);
        assert_eq!(replay.question, Question::default());
        let asked = json!({"region": "us-east-1", "since": "36h", "frontier": true,
            "settings": [{"target_free": 3}]});
        let replay = parsed(asked).unwrap().replay.unwrap();
        assert_eq!(replay.since, Since::Ago(SignedDuration::from_hours(36)));
        assert!(replay.question.frontier);
        assert_eq!(replay.question.proposals[0]["target_free"], 3);
        let error = |replay: Value| parsed(replay).unwrap_err().to_string();
        for since in ["", "7", "d", "0d", "32d", "7w", "-1d", "1.5d"] {
            let error = error(json!({"region": "us-east-1", "since": since}));
            assert!(error.contains("replay.since"), "{since}: {error}");
        }
        assert!(error(json!({})).contains("`region`"));
        assert!(error(json!({"region": "no region"})).contains("regions"));
        let many = vec![json!({}); 21];
        assert!(error(json!({"region": "us-east-1", "settings": many})).contains("not 21"));
        let both = json!({"replay": {"region": "us-east-1"}, "dry_run": true});
        assert_eq!(Request::parse(both), Err(BadRequest::ReplayAlone));
    }

    #[test]
    fn replay_is_of_a_time_that_is_over_and_not_too_long() {
        let now: Timestamp = "2026-11-29T15:00:00Z".parse().unwrap();
        let times = |since: &str, until: Option<&str>| {
            let replay = json!({"region": "us-east-1", "since": since, "until": until});
            let request = Request::parse(json!({ "replay": replay }))?;
            let times = request.replay.unwrap().times(now)?;
            Ok((times.0.to_string(), times.1.to_string()))
        };
        let of = |since: &str, until: &str| Ok((since.to_owned(), until.to_owned()));
        let (day, noon) = ("2026-11-28T12:00:00Z", "2026-11-28T12:04:22Z");
        assert_eq!(
            times("3h", None),
            of("2026-11-29T12:00:00Z", "2026-11-29T15:00:00Z")
        );
        assert_eq!(times(day, Some(noon)), of(day, noon));
        assert_eq!(times(day, None), of(day, "2026-11-29T15:00:00Z"));
        for (since, until) in [
            (noon, day),
            (day, "2026-11-28T12:00:29Z"),
            ("2026-10-28T12:00:00Z", noon),
            (day, "2026-11-29T15:00:01Z"),
            ("7d", "2026-11-22T14:00:00Z"),
        ] {
            assert_eq!(
                times(since, Some(until)),
                Err(BadRequest::BadTimes),
                "{since} {until}"
            );
        }
        let bad = times(day, Some("noon"));
        assert_eq!(bad, Err(BadRequest::BadUntil("noon".to_owned())));
    }

    #[test]
    fn upgrade_names_its_regions_and_its_client() {
        let images = json!({"us-east-1": "ami-2", "eu-west-1": "ami-3"});
        let event = json!({"image_upgrade": {"client_sha": "sha", "images": images}});
        let request = Request::parse(event).unwrap();
        let upgrade = request.image_upgrade.unwrap();
        assert_eq!(upgrade.client_sha, "sha".into());
        let pairs = [("eu-west-1", "ami-3"), ("us-east-1", "ami-2")];
        let pairs = pairs.map(|(region, image)| (region.into(), json!(image)));
        assert_eq!(upgrade.images, pairs);
    }

    #[test]
    fn incomplete_upgrade_names_the_missing_field() {
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
    fn upgrade_excludes_regions_and_dry_run() {
        let upgrade = json!({"client_sha": "sha", "images": {"us-east-1": "ami-2"}});
        for (field, value) in [("dry_run", json!(true)), ("regions", json!(["us-east-1"]))] {
            let mut event = json!({"image_upgrade": upgrade});
            event[field] = value;
            let error = Request::parse(event).unwrap_err();
            assert_eq!(error, BadRequest::NotWithUpgrade(field));
        }
    }
}
