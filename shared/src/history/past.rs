//! A decision as it was recorded, perhaps by another version of the service: what this one does
//! not know is passed on as it is.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::{InstanceId, RegionName};
use crate::report::StepResult;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastDecision {
    pub region: RegionName,
    /// The lock's version, and so the decision's id within its region.
    pub version: i64,
    pub at: Timestamp,
    /// What the lines of the log carry that belong to it.
    pub id: String,
    pub trigger: PastTrigger,
    /// `done` or `incomplete`; none where an earlier version of the service recorded it.
    #[serde(default)]
    pub outcome: Option<String>,
    #[serde(default)]
    pub duration_ms: Option<i64>,
    pub plan: PastPlan,
    #[serde(default)]
    pub results: Vec<StepResult>,
    /// How many steps, notes and results there were besides.
    #[serde(default)]
    pub left_out: usize,
}

/// Why the pass ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastTrigger {
    pub kind: String,
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastPlan {
    /// The numbers that the decision rested on.
    #[serde(default)]
    pub figures: Map<String, Value>,
    /// Those of each image's buffer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Map<String, Value>>,
    /// Each replica with its status, of the algorithm `replica`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<Map<String, Value>>,
    #[serde(default)]
    pub steps: Vec<PastStep>,
    #[serde(default)]
    pub notes: Vec<PastNote>,
}

/// What was to be done, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastStep {
    #[serde(rename = "do")]
    pub action: String,
    #[serde(flatten)]
    pub details: Map<String, Value>,
    pub because: PastReason,
}

/// What was not done, and why, or what an operator should know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastNote {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    #[serde(flatten)]
    pub reason: PastReason,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alert: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastReason {
    pub reason: String,
    /// The sentence that the log has.
    #[serde(default)]
    pub text: String,
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl PastDecision {
    /// One of the numbers that the decision rested on.
    pub fn figure(&self, name: &str) -> Option<u32> {
        let figure = self.plan.figures.get(name)?.as_u64()?;
        u32::try_from(figure).ok()
    }

    /// Leaves out what is beyond `most` in each of its lists, and counts it.
    pub fn shorten(&mut self, most: usize) {
        let Self { plan, results, .. } = self;
        let beyond = |length: usize| length.saturating_sub(most);
        self.left_out +=
            beyond(plan.steps.len()) + beyond(plan.notes.len()) + beyond(results.len());
        self.left_out += beyond(plan.replicas.len());
        plan.replicas.truncate(most);
        plan.steps.truncate(most);
        plan.notes.truncate(most);
        results.truncate(most);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Instance, LaunchChoice, Selector};
    use crate::report::{Decision, PassOutcome};
    use crate::scaling::{Action, LaunchOption, Note, Plan, Reason, Step};
    use crate::testing::{NOW, instance};
    use crate::trigger::Trigger;

    fn decision(instances: &[Instance]) -> Decision {
        let launch = Action::Launch {
            image: "ami-1".into(),
            client_sha: "sha".into(),
            options: vec![LaunchOption {
                count: 2,
                choice: LaunchChoice {
                    spot: true,
                    instance_type: "m6i.large".to_owned(),
                    capacity: 2,
                    subnet: Selector::Id("subnet-a".to_owned()),
                },
            }],
        };
        let drains = instances.iter().map(|instance| Step {
            action: Action::Drain {
                instance: instance.id.clone(),
            },
            because: Reason::Surplus { target: 1, free: 9 },
        });
        let because = Reason::BelowTarget {
            target: 4,
            waiting: 1,
            free: 0,
            starting: 0,
        };
        let launch = Step {
            action: launch,
            because,
        };
        Decision {
            region: "us-east-1".into(),
            version: 12,
            at: NOW,
            id: "event".to_owned(),
            trigger: Trigger::DatabaseEvent {
                name: "region_wake".to_owned(),
            },
            plan: Plan {
                steps: std::iter::once(launch).chain(drains).collect(),
                notes: vec![Note {
                    instance: Some("i-1".into()),
                    reason: Reason::IntentTooOld { hours: 13 },
                    alert: true,
                }],
                ..Plan::default()
            },
            results: vec![StepResult::failed("launch", "no room")],
            outcome: PassOutcome::Incomplete,
            duration_ms: 288,
        }
    }

    fn read(json: &Value) -> PastDecision {
        serde_json::from_value(json.clone()).unwrap()
    }

    #[test]
    fn what_was_recorded_is_read_back_to_the_letter() {
        let recorded: Value =
            serde_json::from_str(&decision(&[instance("i-2")]).to_bounded_json()).unwrap();
        let past = read(&recorded);
        assert_eq!(past.outcome.as_deref(), Some("incomplete"));
        assert_eq!(past.duration_ms, Some(288));
        assert_eq!(past.trigger.kind, "database_event");
        assert_eq!(past.plan.steps[0].action, "launch");
        let why = &past.plan.steps[0].because;
        assert_eq!(
            why.text,
            "free 0 and starting 0 are below target 4 + waiting 1"
        );
        assert!(past.plan.notes[0].alert);
        let mut told = serde_json::to_value(&past).unwrap();
        assert_eq!(told["left_out"].take(), 0);
        let mut expected = recorded;
        expected["left_out"] = Value::Null;
        assert_eq!(told, expected);
    }

    #[test]
    fn what_an_earlier_version_recorded_has_no_outcome_and_what_a_later_one_did_is_passed_on() {
        let past = read(&json!({
            "region": "us-east-1", "version": 1, "at": "2026-01-01T12:00:00Z", "id": "x",
            "trigger": {"kind": "moon_phase", "phase": "full"},
            "plan": {"figures": {"target": 4, "moons": 1}, "images": [], "notes": [],
                "steps": [{"do": "howl", "at": "moon", "because": {"reason": "full", "text": "full"}}]},
            "results": [],
        }));
        assert_eq!((past.outcome.as_deref(), past.duration_ms), (None, None));
        assert_eq!(past.trigger.details["phase"], "full");
        let told = serde_json::to_value(&past).unwrap();
        assert_eq!(told["plan"]["steps"][0]["at"], "moon");
        assert_eq!(told["plan"]["figures"]["moons"], 1);
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let instances: Vec<_> = (0..30).map(|n| instance(&format!("i-{n}"))).collect();
        let mut past = read(&serde_json::to_value(decision(&instances)).unwrap());
        past.shorten(20);
        assert_eq!((past.plan.steps.len(), past.left_out), (20, 11));
        past.shorten(0);
        assert_eq!(past.left_out, 33, "31 steps, a note and a result");
    }
}
