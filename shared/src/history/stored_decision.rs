//! A decision as it was recorded, perhaps by another version of the service: what this one does
//! not know is passed on as it is.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::{InstanceId, RegionName};
use crate::report::StepResult;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredDecision {
    pub region: RegionName,
    /// The lock's version, and so the decision's id within its region.
    pub version: i64,
    pub at: Timestamp,
    /// What the lines of the log carry that belong to it.
    pub id: String,
    pub trigger: StoredTrigger,
    /// `done` or `incomplete`; none where an earlier version of the service recorded it.
    #[serde(default)]
    pub outcome: Option<String>,
    #[serde(default)]
    pub duration_ms: Option<i64>,
    pub plan: StoredPlan,
    #[serde(default)]
    pub results: Vec<StepResult>,
    /// How many steps, notes and results there were besides.
    #[serde(default)]
    pub left_out: usize,
}

/// Why the pass ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredTrigger {
    pub kind: String,
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredPlan {
    /// The numbers that the decision rested on.
    #[serde(default, rename = "figures")]
    pub counts: Map<String, Value>,
    /// Those of each image's buffer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Map<String, Value>>,
    /// Each replica with its status, of the algorithm `replica`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<Map<String, Value>>,
    #[serde(default)]
    pub steps: Vec<StoredStep>,
    #[serde(default)]
    pub notes: Vec<StoredNote>,
}

/// What was to be done, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredStep {
    #[serde(rename = "do")]
    pub action: String,
    #[serde(flatten)]
    pub details: Map<String, Value>,
    #[serde(rename = "because")]
    pub reason: StoredReason,
}

/// What was not done, and why, or what an operator should know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredNote {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    #[serde(flatten)]
    pub reason: StoredReason,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alert: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredReason {
    pub reason: String,
    /// The sentence that the log has.
    #[serde(default)]
    pub text: String,
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl StoredDecision {
    /// One of the numbers that the decision rested on.
    pub fn figure(&self, name: &str) -> Option<u32> {
        let figure = self.plan.counts.get(name)?.as_u64()?;
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
