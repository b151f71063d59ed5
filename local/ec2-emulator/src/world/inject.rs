//! Replaces the injected faults, and applies those for instances that already run.

use super::instance::State;
use super::state::World;
use crate::clock::UnixMillis;
use crate::faults::{Faults, InstanceEffect};

impl World {
    /// Replaces all faults.
    ///
    /// Faults that are scheduled but not applied yet are discarded. An interruption still happens
    /// if its warning was already given.
    ///
    /// # Errors
    /// If a field has an invalid value. The message names it, and no fault is replaced.
    pub fn set_faults(&mut self, faults: Faults, now: UnixMillis) -> Result<(), String> {
        let faults = faults.started_at(now)?;
        self.check_named_instances(&faults, now)?;
        self.faults = faults;
        for region in self.regions.values_mut() {
            for instance in region.instances_mut() {
                instance.discard_pending_faults(now);
            }
        }
        self.schedule_for_named(now);
        self.advance(now);
        Ok(())
    }

    fn check_named_instances(&self, faults: &Faults, now: UnixMillis) -> Result<(), String> {
        for fault in &faults.instances {
            let Some(id) = &fault.on.instance_id else {
                continue;
            };
            let state = self
                .regions
                .values()
                .find_map(|region| region.instance(id)?.state_at(now));
            match (state, &fault.effect) {
                (Some(State::Pending), _) => {}
                (Some(State::Running), effect) if *effect != InstanceEffect::NoBoot => {}
                (Some(state), effect) => {
                    let (state, effect) = (state.as_str(), effect.name());
                    return Err(format!(
                        "instances: the effect {effect} comes too late for {id}, which is {state}"
                    ));
                }
                (None, _) => return Err(format!("instances: there is no instance {id}")),
            }
        }
        Ok(())
    }

    /// Schedules the faults that name an instance which has reached their step already.
    fn schedule_for_named(&mut self, now: UnixMillis) {
        for region in self.regions.values_mut() {
            let name = region.name.clone();
            for instance in region.instances_mut() {
                let is_running = match instance.state_at(now) {
                    Some(State::Running) => true,
                    Some(State::Pending) => false,
                    _ => continue,
                };
                let (pool, id) = (instance.pool(&name), &instance.id);
                for effect in self.faults.apply_to_named_instance(pool, id, is_running) {
                    let at = instance.schedule_fault(effect, now);
                    self.upcoming.insert((at, name.clone(), instance.seq));
                }
            }
        }
    }
}
