//! The invariants of the design, checked after each step. A rule's number is the one in the
//! design's list.

mod context;
mod decisions;
mod history;
mod images;
mod launches;
mod line;
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
    lines: line::Lines,
    machines: machines::Machines,
    launches: launches::Launches,
    lock: lock::Lock,
    wakes: wakes::Wakes,
    images: images::Images,
    decisions: decisions::Decisions,
    history: history::History,
    found: Vec<Violation>,
}

impl Checks {
    /// Checks the effects of one step, and the state after it.
    pub fn check_step(&mut self, context: &StepContext<'_>, effects: &[(ProcessId, Effect)]) {
        let found = &mut self.found;
        for (process, effect) in effects {
            self.lock.check_effect(context, *process, effect, found);
            self.launches.check_effect(context, effect, found);
            self.wakes.check_effect(context, *process, effect, found);
        }
        let rows = context.world.database.rows();
        let now = context.world.now();
        for (_, effect) in effects {
            self.slots.check_effect(effect, &rows.tables, now, found);
        }
        for (_, effect) in effects {
            let before = self.slots.before();
            self.lines
                .check_effect(effect, before, &rows.tables, now, found);
        }
        self.slots.check_honest_first(context, &rows.tables, found);
        self.slots.check_ends(&rows.tables, now, found);
        self.slots.check_state(&rows.tables, found);
        self.machines.check_state(context, &rows.tables, found);
        self.images.check_step(&rows.tables, effects, found);
        self.decisions
            .check_step(context, &rows.tables, effects, found);
        self.history.check_state(&rows.tables, found);
        drop(rows);
        for (_, effect) in effects {
            self.machines.check_effect(effect, found);
        }
    }

    /// Tells the checks that a fault hit a function: a wake may then have to wait for the schedule.
    pub fn note_fault(&mut self, fault: Fault) {
        self.wakes.note_fault(fault);
    }

    /// Tells the checks that an event was accepted: the sender does not send it again.
    pub fn note_event_accepted(&mut self, event: &DatabaseEvent) {
        self.wakes.check_event_accepted(event, &mut self.found);
    }

    /// Tells the checks of an intent that existed before the run.
    pub fn note_intent_before(&mut self, region: &RegionName, intent: &Intent) {
        self.launches.note_recorded_before(region, intent);
    }

    /// Tells the checks that an operator set an image's state.
    pub fn note_image_set_by_hand(&mut self, region: &RegionName) {
        self.images.note_manual_change(region);
    }

    /// Tells the checks that an event was created.
    pub fn note_event_created(&mut self, id: &str) {
        self.wakes.note_event_created(id);
    }

    /// Tells the checks that no function runs.
    pub fn check_idle(&mut self, world: &World) {
        self.wakes.check_idle(world, &mut self.found);
    }

    pub fn report(&mut self, violation: Violation) {
        self.found.push(violation);
    }

    /// The first violation.
    pub fn first(&self) -> Option<&Violation> {
        self.found.first()
    }
}
