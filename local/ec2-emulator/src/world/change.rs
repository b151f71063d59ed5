//! The changes of instances that agents and event receivers need to know about.

use super::instance::State;
use crate::clock::UnixMillis;
use crate::faults::InterruptAction;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub region: String,
    pub instance_id: String,
    pub at: UnixMillis,
    pub kind: ChangeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The instance entered this state.
    StateChanged(State),
    /// A fault kills the agent's process. EC2 does not notice it.
    AgentKilled,
    /// EC2 warns that it will interrupt the instance.
    InterruptionWarning(InterruptAction),
    RebalanceRecommendation,
}
