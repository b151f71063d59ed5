//! Parses EC2's events from EventBridge, and says which of them need a pass.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use shared::ids::{InstanceId, RegionName};
use shared::model::{InstanceStatus, MachineState, SpotNotice};
use shared::words::{plain, quoted};
use thiserror::Error;

/// The fields of an event that are used. Others are ignored: AWS adds fields.
#[derive(Debug, PartialEq, Eq)]
pub struct InstanceEvent {
    /// The same for every delivery of this event.
    pub id: String,
    /// Where the instance is; the event may have been forwarded from there.
    pub region: RegionName,
    pub instance: InstanceId,
    pub kind: Ec2EventKind,
    /// When it happened, to the second; none if it does not say so as AWS does.
    pub time: Option<Timestamp>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Ec2EventKind {
    State(MachineState),
    SpotNotice(SpotNotice),
}

#[derive(Debug, Error)]
pub enum BadEvent {
    #[error("this is not an EventBridge event: {}", plain(.0))]
    NotAnEvent(#[source] serde_json::Error),
    #[error("field `source` is {}: it must be \"aws.ec2\"", quoted(.0))]
    Source(String),
    #[error(
        "field `detail-type` is {}: it must be one of \"{STATE_CHANGE}\", \"{INTERRUPTION}\", \
         \"{REBALANCE}\"",
        quoted(.0)
    )]
    DetailType(String),
    #[error("field `{0}` is missing, empty or longer than 200 bytes")]
    Text(&'static str),
    #[error("field `region` is {}, which cannot be a region's name", quoted(.0))]
    Region(RegionName),
    #[error("field `detail.state` is {0}: it must be one of EC2's instance states")]
    State(Value),
}

const STATE_CHANGE: &str = "EC2 Instance State-change Notification";
const INTERRUPTION: &str = "EC2 Spot Instance Interruption Warning";
const REBALANCE: &str = "EC2 Instance Rebalance Recommendation";

#[derive(Deserialize)]
struct Envelope {
    id: String,
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    region: String,
    /// Only the history needs it: an event is not rejected for it.
    #[serde(default)]
    time: Value,
    detail: Detail,
}

#[derive(Deserialize)]
struct Detail {
    /// Taken from here, because the ARN in the `resources` of a warning lacks the account.
    #[serde(rename = "instance-id", default)]
    instance_id: String,
    #[serde(default)]
    state: Value,
}

impl InstanceEvent {
    /// # Errors
    /// Names the field that is wrong, and what it should be.
    pub fn parse(event: Value) -> Result<Self, BadEvent> {
        let envelope = Envelope::deserialize(event).map_err(BadEvent::NotAnEvent)?;
        if envelope.source != "aws.ec2" {
            return Err(BadEvent::Source(envelope.source));
        }
        let kind = match envelope.detail_type.as_str() {
            STATE_CHANGE => {
                let state = envelope.detail.state;
                MachineState::deserialize(&state)
                    .map(Ec2EventKind::State)
                    .map_err(|_| BadEvent::State(state))?
            }
            INTERRUPTION => Ec2EventKind::SpotNotice(SpotNotice::Interruption),
            REBALANCE => Ec2EventKind::SpotNotice(SpotNotice::Rebalance),
            _ => return Err(BadEvent::DetailType(envelope.detail_type)),
        };
        // They become part of keys, queries and log lines.
        for (field, text) in [
            ("id", &envelope.id),
            ("detail.instance-id", &envelope.detail.instance_id),
        ] {
            if text.is_empty() || text.len() > 200 {
                return Err(BadEvent::Text(field));
            }
        }
        let region = RegionName::new(envelope.region);
        if !region.is_plausible() {
            return Err(BadEvent::Region(region));
        }
        Ok(Self {
            id: envelope.id,
            region,
            instance: envelope.detail.instance_id.into(),
            kind,
            time: Timestamp::deserialize(&envelope.time).ok(),
        })
    }
}

/// Whether a state change needs a pass, given the status of the instance's row. Events may be late:
/// the pass decides by what it observes, not by the event.
pub fn is_news(state: MachineState, status: InstanceStatus) -> bool {
    let leaving = status == InstanceStatus::Terminating;
    match state {
        // The instance boots as requested. Its host agent reports when it is up.
        MachineState::Pending | MachineState::Running => false,
        // Expected after a pass has committed `TERMINATING`.
        MachineState::Stopping | MachineState::Stopped | MachineState::ShuttingDown => !leaving,
        // Its row can be removed, which makes room for another instance.
        MachineState::Terminated => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over what they have just made"
    )]
    fn event(detail_type: &str, detail: Value) -> Value {
        json!({
            "version": "0",
            "id": "7bf73129-1428-4cd3-a780-95db273d1602",
            "detail-type": detail_type,
            "source": "aws.ec2",
            "account": "123456789012",
            "time": "2026-11-21T18:43:48Z",
            "region": "eu-west-1",
            "resources": ["arn:aws:ec2:eu-west-1:123456789012:instance/i-1"],
            "detail": detail
        })
    }

    #[test]
    fn each_kind_of_event_is_parsed() {
        for (detail_type, detail, kind) in [
            (
                STATE_CHANGE,
                json!({"instance-id": "i-1", "state": "shutting-down"}),
                Ec2EventKind::State(MachineState::ShuttingDown),
            ),
            (
                INTERRUPTION,
                json!({"instance-id": "i-1", "instance-action": "terminate"}),
                Ec2EventKind::SpotNotice(SpotNotice::Interruption),
            ),
            (
                REBALANCE,
                json!({"instance-id": "i-1"}),
                Ec2EventKind::SpotNotice(SpotNotice::Rebalance),
            ),
        ] {
            let event = InstanceEvent::parse(event(detail_type, detail)).unwrap();
            assert_eq!(event.kind, kind);
            assert_eq!(event.time, "2026-11-21T18:43:48Z".parse().ok());
            assert_eq!(event.instance, "i-1".into());
            assert_eq!(event.region, "eu-west-1".into());
        }
    }

    #[test]
    fn invalid_field_is_named() {
        let state = |detail| event(STATE_CHANGE, detail);
        let mut no_id = state(json!({"instance-id": "i-1", "state": "running"}));
        no_id["id"] = json!("");
        let mut elsewhere = no_id.clone();
        elsewhere["source"] = json!("aws.s3");
        for (event, names) in [
            (json!([1]), "not an EventBridge event"),
            (json!({"source": "aws.ec2"}), "`id`"),
            (no_id, "`id`"),
            (elsewhere, "\"aws.s3\""),
            (state(json!({"state": "running"})), "`detail.instance-id`"),
            (
                state(json!({"instance-id": "i-1", "state": "asleep"})),
                "\"asleep\"",
            ),
            (state(json!({"instance-id": "i-1"})), "`detail.state`"),
            (event("EC2 Fleet Error", json!({})), "\"EC2 Fleet Error\""),
        ] {
            let error = InstanceEvent::parse(event).unwrap_err().to_string();
            assert!(error.contains(names), "{error}");
            testing::assert_plain(&error);
        }
    }

    #[test]
    fn value_of_another_type_is_rejected_in_plain_words() {
        let sound = event(
            STATE_CHANGE,
            json!({"instance-id": "i-1", "state": "running"}),
        );
        for field in ["id", "source", "detail-type", "region", "detail"] {
            for wrong in [json!(7), json!([]), json!({}), json!(null), json!("A b")] {
                let mut event = sound.clone();
                event[field] = wrong;
                if let Err(error) = InstanceEvent::parse(event) {
                    testing::assert_plain(&error.to_string());
                }
            }
        }
        let mut event = sound;
        event["region"] = json!("No Region");
        assert_eq!(
            InstanceEvent::parse(event).unwrap_err().to_string(),
            "field `region` is \"No Region\", which cannot be a region's name"
        );
    }

    #[test]
    fn state_is_news_only_if_the_database_does_not_expect_it() {
        use InstanceStatus::{Active, Draining, PreConnection, Terminating};
        use MachineState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
        let statuses = [PreConnection, Active, Draining, Terminating];
        for (state, news) in [
            (Pending, [false; 4]),
            (Running, [false; 4]),
            (Stopping, [true, true, true, false]),
            (Stopped, [true, true, true, false]),
            (ShuttingDown, [true, true, true, false]),
            (Terminated, [true; 4]),
        ] {
            assert_eq!(statuses.map(|status| is_news(state, status)), news);
        }
    }
}
