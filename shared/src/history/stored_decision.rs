//! A decision as it was stored, perhaps by another version of the service. Fields that this version
//! does not know are kept as they are.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::{InstanceId, RegionName};
use crate::report::StepResult;
use crate::scaling::Topic;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredDecision {
    pub region: RegionName,
    /// The lock's version, and so the decision's id within its region.
    pub version: i64,
    pub at: Timestamp,
    /// The field `id` of the log lines of its pass.
    pub id: String,
    pub trigger: StoredTrigger,
    /// `done` or `incomplete`. Earlier versions of the service did not store it.
    #[serde(default)]
    pub outcome: Option<String>,
    #[serde(default)]
    pub duration_ms: Option<i64>,
    pub plan: StoredPlan,
    #[serde(default)]
    pub results: Vec<StepResult>,
    /// How many steps, notes, replicas and results were left out of its lists.
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
    /// The numbers that the decision is based on.
    #[serde(default, rename = "figures")]
    pub counts: Map<String, Value>,
    /// The numbers of each image's buffer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Map<String, Value>>,
    /// Each replica with its status. Empty except with the algorithm `replica`.
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
    /// A [`Topic`]'s name, perhaps of a later version. Earlier versions did not store it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Earlier versions did not store it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
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
    /// As [`StoredStep::topic`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// As [`StoredStep::summary`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    #[serde(flatten)]
    pub reason: StoredReason,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alert: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredReason {
    pub reason: String,
    /// The text of the reason in the log.
    #[serde(default)]
    pub text: String,
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl StoredDecision {
    /// One of the numbers that the decision is based on.
    pub fn figure(&self, name: &str) -> Option<u32> {
        let figure = self.plan.counts.get(name)?.as_u64()?;
        u32::try_from(figure).ok()
    }

    /// Cuts each of its lists to `most` entries, and counts what is left out.
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

impl StoredStep {
    /// The stored summary; of a decision that has none, action and reason.
    pub fn summary(&self) -> String {
        match &self.summary {
            Some(summary) => summary.clone(),
            None => format!("{} ({})", self.action.replace('_', " "), self.reason.text),
        }
    }

    pub fn is_about(&self, topic: Topic) -> bool {
        self.topic.as_deref() == Some(topic.name())
    }
}

impl StoredNote {
    /// The stored summary; of a decision that has none, the reason's text.
    pub fn summary(&self) -> &str {
        self.summary.as_deref().unwrap_or(&self.reason.text)
    }

    pub fn is_about(&self, topic: Topic) -> bool {
        self.topic.as_deref() == Some(topic.name())
    }
}
