//! What a pass has to say: to who invoked it, to the decision's record, to the logs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::RegionName;
use crate::scaling::Plan;
use crate::trigger::Trigger;

/// One region's part of an invocation's answer.
#[derive(Clone, Debug, Serialize)]
pub struct PassReport {
    pub region: RegionName,
    #[serde(flatten)]
    pub outcome: PassOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<StepResult>,
    /// How often the region was looked at: more than once if it was wanted meanwhile.
    pub rounds: u32,
    pub duration_ms: i64,
    /// Steps, notes, replicas and results that did not fit into the answer; the log has all but
    /// the replicas.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

impl PassReport {
    /// A report to be filled in.
    pub fn of(region: &RegionName) -> Self {
        Self {
            region: region.clone(),
            outcome: PassOutcome::Done,
            plan: None,
            results: Vec::new(),
            rounds: 0,
            duration_ms: 0,
            left_out: 0,
        }
    }

    pub fn failed(region: &RegionName, error: &(impl ToString + ?Sized)) -> Self {
        let outcome = PassOutcome::Failed {
            error: error.to_string(),
        };
        Self {
            outcome,
            ..Self::of(region)
        }
    }

    /// Adds a round: its plan replaces the previous one. Alerts of earlier rounds are kept, since
    /// their cause may be over by now and nobody would hear of it.
    pub(crate) fn add_round(&mut self, mut plan: Plan, results: Vec<StepResult>) {
        let earlier = self.plan.take().map(|plan| plan.notes).unwrap_or_default();
        for note in earlier.into_iter().filter(|note| note.alert) {
            if !plan.notes.iter().any(|told| told.is_like(&note)) {
                plan.notes.push(note);
            }
        }
        self.plan = Some(plan);
        self.results.extend(results);
    }

    /// Leaves out what is beyond `most` in each of its lists, and says how much that was.
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
    /// Every step was carried out.
    Done,
    /// Some steps were not: their results say why.
    Incomplete,
    /// Nothing was changed, as asked.
    DryRun,
    /// Another pass is at it. Unless the schedule asked, the region is marked, so that it is
    /// looked at once more.
    Busy { until: Timestamp },
    /// The region could not be looked at.
    Failed { error: String },
}

impl PassOutcome {
    /// What became of a plan, by what became of its steps.
    pub(crate) fn of_steps(results: &[StepResult]) -> Self {
        if results.iter().all(|result| result.ok) {
            Self::Done
        } else {
            Self::Incomplete
        }
    }
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    pub step: String,
    pub ok: bool,
    pub result: String,
    /// Of a launch: so many machines came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched: Option<usize>,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers hand over what they have just made"
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

    pub fn failed(step: impl ToString, problem: impl ToString) -> Self {
        Self {
            step: step.to_string(),
            ok: false,
            result: problem.to_string(),
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

/// A pass as it is kept: with the trigger, the inputs in figures, the plan and the results.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    pub region: RegionName,
    /// The lock's version, and so the decision's id within its region.
    pub version: i64,
    pub at: Timestamp,
    /// What the lines of the log carry that belong to it.
    pub id: String,
    pub trigger: Trigger,
    pub plan: Plan,
    pub results: Vec<StepResult>,
    /// Done or incomplete: whatever else a pass may come to, it decides nothing then.
    #[serde(flatten)]
    pub outcome: PassOutcome,
    /// From the beginning of the look to the record.
    pub duration_ms: i64,
}

impl Decision {
    /// A DynamoDB item holds 400 KB; a decision stays well below it.
    pub const LIMIT_BYTES: usize = 300_000;

    /// As JSON of at most [`Self::LIMIT_BYTES`]: what does not fit is left out from the end of
    /// the longest list, and counted.
    pub fn to_bounded_json(&self) -> String {
        let mut bounded = Bounded {
            decision: self.clone(),
            left_out: 0,
        };
        loop {
            let json = match serde_json::to_string(&bounded) {
                Ok(json) => json,
                // Nothing in it can fail to serialise; if it ever does, that is what to keep.
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
    /// Halves the longest list; false when there is nothing left to leave out.
    fn halve(&mut self) -> bool {
        let Decision { plan, results, .. } = &mut self.decision;
        let (steps, notes, done) = (plan.steps.len(), plan.notes.len(), results.len());
        let replicas = plan.replicas.len();
        let longest = steps.max(notes).max(done).max(replicas);
        if longest == 0 {
            return false;
        }
        let keep = longest / 2;
        // They were looked at, no more: what was done to one is among the steps.
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
