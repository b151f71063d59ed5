//! Reading the plan in a pass's report.

use serde_json::Value;

/// Whether the plan has a note with this reason that alerts an operator.
pub fn alerts_to(plan: &Value, reason: &str) -> bool {
    let notes = plan["notes"].as_array().map_or(&[][..], Vec::as_slice);
    let mut notes = notes.iter();
    notes.any(|note| note["reason"] == reason && note["alert"] == true)
}
