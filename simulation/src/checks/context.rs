//! What checks may read besides the effects of a step.

use std::collections::BTreeSet;

use crate::agents::Agents;
use crate::world::World;
use crate::yield_points::ProcessId;

/// What checks may read besides the effects.
#[derive(Debug)]
pub struct StepContext<'s> {
    pub world: &'s World,
    pub agents: &'s Agents,
    /// Processes that a fault makes act later than they should.
    pub delayed: &'s BTreeSet<ProcessId>,
    /// The effect is that of a request whose sender has given up or died.
    pub late_request: bool,
}
