//! What happens by itself as time passes, and to single instances.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    ARCHIVE, Change, Disassociated, EndedBy, Happening, Instance, Interruption, Region,
    ShutdownBehavior, State, World,
};
use crate::clock::UnixMillis;
use crate::faults::{Faults, InstanceEffect, InterruptAction};

/// How an instance comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Termination,
    /// It could be started again, if somebody did.
    Stop,
}

impl World {
    /// The next moment at which something happens by itself.
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.upcoming.first().map(|(at, _, _)| *at)
    }

    /// Lets everything happen that is due by `now`.
    pub fn advance(&mut self, now: UnixMillis) {
        while self.next_due().is_some_and(|at| at <= now) {
            if let Some((at, region, seq)) = self.upcoming.pop_first() {
                self.pass(&region, seq, at);
            }
        }
        self.faults.advance(now);
    }

    /// Lets happen to one instance what is due by `now`.
    fn pass(&mut self, region: &str, seq: u64, now: UnixMillis) {
        self.announce_states(region, seq, now);
        self.strike(region, seq, now);
        self.reclaim(region, seq, now);
        self.forget(region, seq, now);
    }

    fn announce_states(&mut self, region: &str, seq: u64, now: UnixMillis) {
        let Some(instance) = by_seq(&mut self.regions, region, seq) else {
            return;
        };
        let known = instance.transitions_until(now);
        let new = known[instance.announced.min(known.len())..].to_vec();
        instance.announced = known.len();
        let id = instance.id.clone();
        let gone = new.iter().find(|it| it.state == State::Terminated);
        let gone = gone.map(|transition| transition.at_ms);
        for transition in new {
            if transition.state == State::Running {
                let effects = self
                    .faults
                    .strike_instance(region, &instance.id, transition.at_ms);
                for effect in effects {
                    let at = instance.plan(effect, transition.at_ms);
                    self.upcoming.insert((at, region.to_owned(), seq));
                }
            }
            self.changes.push(Change {
                region: region.to_owned(),
                instance_id: instance.id.clone(),
                at: transition.at_ms,
                what: Happening::Is(transition.state),
            });
        }
        if let Some(at) = gone
            && let Some(region) = self.regions.get_mut(region)
        {
            region.free_address_of(&id, Disassociated::Termination, at);
        }
    }

    fn strike(&mut self, region: &str, seq: u64, now: UnixMillis) {
        let Some(instance) = by_seq(&mut self.regions, region, seq) else {
            return;
        };
        let due = instance.faults.partition_point(|it| it.at_ms <= now);
        let new = instance.faults[instance.struck.min(due)..due].to_vec();
        instance.struck = due;
        for strike in new {
            let what = match strike.effect {
                InstanceEffect::NoBoot => continue,
                InstanceEffect::AgentDies { .. } => Happening::AgentDies,
                InstanceEffect::Rebalance { .. } => Happening::RebalanceRecommendation,
                InstanceEffect::Interrupt {
                    warning_ms, action, ..
                } => {
                    let due_at_ms = strike.at_ms.after(Duration::from_millis(warning_ms));
                    instance.interruption = Some(Interruption {
                        warned_at_ms: strike.at_ms,
                        due_at_ms,
                        action,
                    });
                    self.upcoming.insert((due_at_ms, region.to_owned(), seq));
                    Happening::InterruptionWarning(action)
                }
            };
            self.changes.push(Change {
                region: region.to_owned(),
                instance_id: instance.id.clone(),
                at: strike.at_ms,
                what,
            });
        }
    }

    /// Takes back an instance whose time to get ready is over.
    fn reclaim(&mut self, region: &str, seq: u64, now: UnixMillis) {
        let due = by_seq(&mut self.regions, region, seq).and_then(|instance| {
            let interruption = instance.interruption.filter(|it| it.due_at_ms == now)?;
            Some((instance.id.clone(), interruption.action))
        });
        if let Some((id, action)) = due {
            let end = match action {
                InterruptAction::Terminate => End::Termination,
                InterruptAction::Stop => End::Stop,
            };
            self.end_instance(region, &id, EndedBy::Spot, end, now);
        }
    }

    fn forget(&mut self, region_name: &str, seq: u64, now: UnixMillis) {
        let Some(region) = self.regions.get_mut(region_name) else {
            return;
        };
        let is_due = region
            .by_seq_mut(seq)
            .and_then(|instance| instance.forgotten_at)
            .is_some_and(|at| at <= now);
        if is_due && let Some(instance) = region.forget(seq) {
            self.forgotten.push_back((region_name.to_owned(), instance));
            if self.forgotten.len() > ARCHIVE {
                self.forgotten.pop_front();
            }
        }
    }

    /// An instance's own operating system shut down.
    pub fn shut_down_from_inside(&mut self, region: &str, id: &str, now: UnixMillis) {
        let behavior = self
            .region(region)
            .and_then(|region| region.instance(id))
            .map(|instance| instance.spec.shutdown_behavior);
        let end = match behavior {
            Some(ShutdownBehavior::Stop) => End::Stop,
            Some(ShutdownBehavior::Terminate) => End::Termination,
            None => return,
        };
        self.end_instance(region, id, EndedBy::Instance, end, now);
    }

    pub(super) fn end_instance(
        &mut self,
        region: &str,
        id: &str,
        by: EndedBy,
        end: End,
        now: UnixMillis,
    ) {
        let ended_at = now.after(self.settings.shutting_down());
        let visible = self.settings.terminated_visible();
        let Some(instance) = self
            .regions
            .get_mut(region)
            .and_then(|region| region.instance_mut(id))
        else {
            return;
        };
        let states = match (end, instance.state_at(now)) {
            (End::Stop, Some(State::Pending | State::Running)) => [State::Stopping, State::Stopped],
            (
                End::Termination,
                Some(State::Pending | State::Running | State::Stopping | State::Stopped),
            ) => [State::ShuttingDown, State::Terminated],
            _ => return,
        };
        instance.end(by, states, now, ended_at);
        let seq = instance.seq;
        let mut due = vec![now, ended_at];
        if end == End::Termination {
            let forgotten_at = ended_at.after(visible);
            instance.forgotten_at = Some(forgotten_at);
            due.push(forgotten_at);
        }
        let due = due.into_iter().map(|at| (at, region.to_owned(), seq));
        self.upcoming.extend(due);
        self.advance(now);
    }

    /// Replaces what goes wrong. What has not struck yet of the faults before never does; an
    /// interruption that was warned of comes all the same. The error says which field is wrong.
    pub fn set_faults(&mut self, faults: Faults, now: UnixMillis) -> Result<(), String> {
        let faults = faults.begin(now)?;
        self.check_named_instances(&faults, now)?;
        self.faults = faults;
        for region in self.regions.values_mut() {
            for instance in region.instances_mut() {
                instance.forgo_faults(now);
            }
        }
        self.strike_running(now);
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
                    let state = state.as_str();
                    return Err(format!(
                        "instances: {id} is {state}, too late for {effect:?}"
                    ));
                }
                (None, _) => return Err(format!("instances: there is no instance {id}")),
            }
        }
        Ok(())
    }

    /// Lets faults for instances that run already take their course.
    fn strike_running(&mut self, now: UnixMillis) {
        for region in self.regions.values_mut() {
            let name = region.name.clone();
            for instance in region.instances_mut() {
                if instance.state_at(now) != Some(State::Running) {
                    continue;
                }
                for effect in self.faults.strike_named(&name, &instance.id) {
                    let at = instance.plan(effect, now);
                    self.upcoming.insert((at, name.clone(), instance.seq));
                }
            }
        }
    }
}

fn by_seq<'a>(
    regions: &'a mut BTreeMap<String, Region>,
    region: &str,
    seq: u64,
) -> Option<&'a mut Instance> {
    regions.get_mut(region)?.by_seq_mut(seq)
}
