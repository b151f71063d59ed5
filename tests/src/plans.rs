//! What a pass reports of its plan.

use serde_json::Value;

/// Whether a plan has a note of this reason that an operator is alerted to.
pub fn alerts_to(plan: &Value, reason: &str) -> bool {
    let notes = plan["notes"].as_array().map_or(&[][..], Vec::as_slice);
    let mut notes = notes.iter();
    notes.any(|note| note["reason"] == reason && note["alert"] == true)
}
