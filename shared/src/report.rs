//! A pass's report, for its invoker and the logs, and its decision, for the store.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::RegionName;
use crate::metrics::Measured;
use crate::scaling::Plan;
use crate::trigger::Trigger;

/// The report of one pass: one region's part of an invocation's answer.
#[derive(Clone, Debug, Serialize)]
pub struct PassReport {
    pub region: RegionName,
    #[serde(flatten)]
    pub outcome: PassOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<StepResult>,
    /// How many rounds the pass ran: more than one if the region was marked meanwhile.
    pub rounds: u32,
    pub duration_ms: i64,
    /// How many steps, notes, replicas and results did not fit into the answer. The log has all but
    /// the replicas.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: usize,
    /// For the metrics only.
    #[serde(skip)]
    pub measured: Measured,
}

impl PassReport {
    /// An empty report, to be filled in.
    pub fn of(region: &RegionName) -> Self {
        Self {
            region: region.clone(),
            outcome: PassOutcome::Done,
            plan: None,
            results: Vec::new(),
            rounds: 0,
            duration_ms: 0,
            left_out: 0,
            measured: Measured::default(),
        }
    }

    /// The report of a pass that failed as a whole.
    pub fn failed(region: &RegionName, error: &(impl ToString + ?Sized)) -> Self {
        let outcome = PassOutcome::Failed {
            error: error.to_string(),
        };
        Self {
            outcome,
            ..Self::of(region)
        }
    }

    /// Adds a round: its plan replaces the previous one. Alerts of earlier rounds are kept, because
    /// a later plan does not have them if their cause is over.
    pub(crate) fn add_round(&mut self, mut plan: Plan, results: Vec<StepResult>) {
        let earlier = self.plan.take().map(|plan| plan.notes).unwrap_or_default();
        for note in earlier.into_iter().filter(|note| note.alert) {
            if !plan.notes.iter().any(|later| later.is_like(&note)) {
                plan.notes.push(note);
            }
        }
        self.plan = Some(plan);
        self.results.extend(results);
    }

    /// Truncates each list to `most` entries, and adds the number that it removed to `left_out`.
    pub fn shorten(&mut self, most: usize) {
        let mut left_out = self.results.len().saturating_sub(most);
        self.results.truncate(most);
        if let Some(plan) = &mut self.plan {
            left_out += plan.steps.len().saturating_sub(most);
            left_out += plan.notes.len().saturating_sub(most);
            left_out += plan.replicas.len().saturating_sub(most);
            plan.steps.truncate(most);
            plan.notes.truncate(most);
            plan.replicas.truncate(most);
        }
        self.left_out += left_out;
    }

    pub(crate) fn outcome_of_steps(&self) -> PassOutcome {
        PassOutcome::of_steps(&self.results)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum PassOutcome {
    /// Every step succeeded.
    Done,
    /// Some steps failed: their results say why.
    Incomplete,
    /// Nothing was changed, as requested.
    DryRun,
    /// Another pass has the lock. Unless the trigger is the schedule, the region is marked, so that
    /// the lock's holder runs one more round.
    Busy { until: Timestamp },
    /// The region could not be observed, or its plan was rejected.
    Failed { error: String },
}

impl PassOutcome {
    /// The outcome of a plan, from the results of its steps.
    pub(crate) fn of_steps(results: &[StepResult]) -> Self {
        if results.iter().all(|result| result.ok) {
            Self::Done
        } else {
            Self::Incomplete
        }
    }
}

/// The result of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    pub step: String,
    pub ok: bool,
    pub result: String,
    /// How many machines a launch brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched: Option<usize>,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers pass values that they have just made"
)]
impl StepResult {
    pub fn ok(step: impl ToString, result: impl ToString) -> Self {
        Self {
            step: step.to_string(),
            ok: true,
            result: result.to_string(),
            launched: None,
        }
    }

    pub fn failed(step: impl ToString, error: impl ToString) -> Self {
        Self {
            step: step.to_string(),
            ok: false,
            result: error.to_string(),
            launched: None,
        }
    }

    /// A launch that brought this many machines.
    pub fn launched(step: impl ToString, launched: usize, result: impl ToString) -> Self {
        Self {
            launched: Some(launched),
            ..Self::ok(step, result)
        }
    }
}

/// A decision as it is stored: the trigger, the plan with the counts that it is based on, and the
/// results.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    pub region: RegionName,
    /// The lock's version, and so the decision's id within its region.
    pub version: i64,
    pub at: Timestamp,
    /// The id that the log lines of its pass have as `span.id`.
    pub id: String,
    pub trigger: Trigger,
    pub plan: Plan,
    pub results: Vec<StepResult>,
    /// `Done` or `Incomplete`: a pass with another outcome has no decision.
    #[serde(flatten)]
    pub outcome: PassOutcome,
    /// From the beginning of the observation to recording the decision.
    pub duration_ms: i64,
}

impl Decision {
    /// A DynamoDB item may have 400 KB; a decision stays well below.
    pub const LIMIT_BYTES: usize = 300_000;

    /// As JSON of at most [`Self::LIMIT_BYTES`]. If it is larger, the longest list is halved until
    /// it fits, and `left_out` says how many entries are missing.
    pub fn to_bounded_json(&self) -> String {
        let mut bounded = Bounded {
            decision: self.clone(),
            left_out: 0,
        };
        loop {
            let json = match serde_json::to_string(&bounded) {
                Ok(json) => json,
                // Serialising these types cannot fail; if it did, the error would be stored.
                Err(error) => return format!("{{\"error\":\"{error}\"}}"),
            };
            if json.len() <= Self::LIMIT_BYTES || !bounded.halve() {
                return json;
            }
        }
    }
}

#[derive(Serialize)]
struct Bounded {
    #[serde(flatten)]
    decision: Decision,
    #[serde(skip_serializing_if = "is_zero")]
    left_out: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Bounded {
    /// Halves the longest list; false if all lists are empty.
    fn halve(&mut self) -> bool {
        let Decision { plan, results, .. } = &mut self.decision;
        let (steps, notes, done) = (plan.steps.len(), plan.notes.len(), results.len());
        let replicas = plan.replicas.len();
        let longest = steps.max(notes).max(done).max(replicas);
        if longest == 0 {
            return false;
        }
        let keep = longest / 2;
        // Replicas go first: they are only observations, and steps say what was done to them.
        if longest == replicas {
            plan.replicas.truncate(keep);
        } else if longest == notes {
            plan.notes.truncate(keep);
        } else if longest == done {
            results.truncate(keep);
        } else {
            plan.steps.truncate(keep);
        }
        self.left_out += longest - keep;
        true
    }
}
