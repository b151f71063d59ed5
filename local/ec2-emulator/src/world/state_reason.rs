//! Why an instance is in its state: EC2's `stateReason`, and the `reason` of its last transition.

use serde::Serialize;

use super::ended_by::EndedBy;
use super::instance::{Instance, State};
use crate::clock::UnixMillis;

/// EC2's `stateReason`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateReason {
    pub code: &'static str,
    pub message: String,
}

impl Instance {
    fn ended_at(&self, at: UnixMillis) -> Option<(EndedBy, UnixMillis)> {
        self.ended.filter(|(_, ended)| *ended <= at)
    }

    /// The reason of the state at that time. A running instance has none.
    pub fn state_reason_at(&self, at: UnixMillis) -> Option<StateReason> {
        match (self.ended_at(at), self.state_at(at)) {
            (Some((by, _)), _) => Some(StateReason {
                code: by.code(),
                message: format!("{}: {}", by.name(), by.message()),
            }),
            (None, Some(State::Pending)) => Some(StateReason {
                code: "pending",
                message: "pending".to_owned(),
            }),
            (None, _) => None,
        }
    }

    /// The reason of the last transition until that time. Empty unless the instance has ended.
    pub fn transition_reason_at(&self, at: UnixMillis) -> String {
        self.ended_at(at)
            .map(|(by, ended)| by.transition_reason(ended))
            .unwrap_or_default()
    }
}
