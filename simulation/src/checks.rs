//! The invariants of the design, checked after each step. A rule's number is the one in the
//! design's list.

mod context;
mod decisions;
mod images;
mod launches;
mod lock;
mod machines;
mod rule;
mod slots;
mod view;
mod wakes;

use shared::ids::RegionName;
use shared::model::Intent;

use crate::effects::Effect;
use crate::faults::Fault;
use crate::hasura_events::DatabaseEvent;
use crate::world::World;
use crate::yield_points::ProcessId;

pub use context::StepContext;
pub use rule::{Check, Violation};

/// All checks, with the state that they keep between steps.
#[derive(Debug, Default)]
pub struct Checks {
    slots: slots::Slots,
    machines: machines::Machines,
    launches: launches::Launches,
    lock: lock::Lock,
    wakes: wakes::Wakes,
    images: images::Images,
    decisions: decisions::Decisions,
    found: Vec<Violation>,
}

impl Checks {
    /// Checks the effects of one step, and the state after it.
    pub fn after_step(&mut self, context: &StepContext<'_>, effects: &[(ProcessId, Effect)]) {
        let found = &mut self.found;
        for (process, effect) in effects {
            self.lock.effect(context, *process, effect, found);
            self.launches.effect(context, effect, found);
            self.wakes.effect(context, *process, effect, found);
            self.slots.effect(effect, found);
        }
        let rows = context.world.database.rows();
        self.slots.state(&rows.tables, found);
        self.machines.state(context, &rows.tables, found);
        self.images.step(&rows.tables, effects, found);
        self.decisions.step(context, &rows.tables, effects, found);
        drop(rows);
        for (_, effect) in effects {
            self.machines.effect(effect, found);
        }
    }

    /// Tells the checks that a fault hit a function: a wake may then have to wait for the schedule.
    pub fn fault(&mut self, fault: Fault) {
        self.wakes.fault(fault);
    }

    /// Tells the checks that an event was accepted: the sender does not send it again.
    pub fn event_accepted(&mut self, event: &DatabaseEvent) {
        self.wakes.event_accepted(event, &mut self.found);
    }

    /// Tells the checks of an intent that existed before the run.
    pub fn recorded_before(&mut self, region: &RegionName, intent: &Intent) {
        self.launches.recorded_before(region, intent);
    }

    /// Tells the checks that an operator set an image's state.
    pub fn image_set_by_hand(&mut self, region: &RegionName) {
        self.images.by_hand(region);
    }

    /// Tells the checks that an event was created.
    pub fn event_created(&mut self, id: &str) {
        self.wakes.event_created(id);
    }

    /// Tells the checks that no function runs.
    pub fn idle(&mut self, world: &World) {
        self.wakes.idle(world, &mut self.found);
    }

    pub fn report(&mut self, violation: Violation) {
        self.found.push(violation);
    }

    /// The first violation.
    pub fn first(&self) -> Option<&Violation> {
        self.found.first()
    }
}
