//! What earlier passes recorded and may not have finished comes first.

use jiff::Timestamp;

use super::{Action, Plan, Reason, Snapshot};

pub(super) fn resume(snapshot: &Snapshot, now: Timestamp, plan: &mut Plan) {
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
                    uncovered: snapshot.uncovered(intent),
                },
            );
        } else {
            let hours = now.duration_since(intent.created_at).as_hours();
            plan.push(action, Reason::IntentTooOld { hours });
            plan.alert(None, Reason::IntentTooOld { hours });
        }
    }
}
