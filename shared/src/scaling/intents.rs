//! Open launch intents: what earlier passes recorded and may not have completed.

use jiff::Timestamp;

use super::plan::{Action, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;

/// Resumes every open intent, the oldest first. One that is too old to resume is looked up only,
/// and reported.
pub(super) fn resume_open(snapshot: &Snapshot, now: Timestamp, plan: &mut Plan) {
    let mut intents: Vec<_> = snapshot.open_intents.iter().collect();
    intents.sort_by_key(|intent| (intent.created_at, &intent.launch_id));
    for intent in intents {
        let action = Action::ResumeLaunch {
            launch: intent.launch_id.clone(),
        };
        if intent.is_resumable(now) {
            plan.push(
                action,
                Reason::IntentOpen {
                    unrecorded_count: snapshot.unrecorded_count(intent),
                },
            );
        } else {
            let hours = now.duration_since(intent.created_at).as_hours();
            plan.push(action, Reason::IntentTooOld { hours });
            plan.alert(None, Reason::IntentTooOld { hours });
        }
    }
}
