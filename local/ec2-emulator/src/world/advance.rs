//! What happens to instances as time passes: states, faults, interruptions, removal.

use std::time::Duration;

use super::address::DisassociationReason;
use super::change::{Change, ChangeKind};
use super::ended_by::EndedBy;
use super::instance::{Interruption, State};
use super::shutdown::ShutdownKind;
use super::state::World;
use crate::clock::UnixMillis;
use crate::faults::{AppliesFrom, InstanceEffect, InterruptAction};

impl World {
    /// When the next instance changes without a request.
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.upcoming.first().map(|(at, _, _)| *at)
    }

    /// Applies everything that is due by `now`.
    pub fn advance(&mut self, now: UnixMillis) {
        while self.next_due().is_some_and(|at| at <= now) {
            if let Some((at, region, seq)) = self.upcoming.pop_first() {
                self.advance_instance(&region, seq, at);
            }
        }
        self.faults.advance(now);
    }

    fn advance_instance(&mut self, region: &str, seq: u64, now: UnixMillis) {
        self.publish_transitions(region, seq, now);
        self.apply_due_faults(region, seq, now);
        self.interrupt_if_due(region, seq, now);
        self.archive_if_due(region, seq, now);
    }

    fn publish_transitions(&mut self, region: &str, seq: u64, now: UnixMillis) {
        let Some(instance) = self
            .regions
            .get_mut(region)
            .and_then(|region| region.by_seq_mut(seq))
        else {
            return;
        };
        let past = instance.transitions_until(now);
        let new = past[instance.published_transitions.min(past.len())..].to_vec();
        instance.published_transitions = past.len();
        let id = instance.id.clone();
        let terminated = new.iter().find(|it| it.state == State::Terminated);
        let terminated_at = terminated.map(|transition| transition.at_ms);
        for transition in new {
            if transition.state == State::Running {
                let effects = self.faults.apply_to_instance(
                    instance.pool(region),
                    &instance.id,
                    AppliesFrom::Start,
                    transition.at_ms,
                );
                for effect in effects {
                    let at = instance.schedule_fault(effect, transition.at_ms);
                    self.upcoming.insert((at, region.to_owned(), seq));
                }
            }
            self.changes.push(Change {
                region: region.to_owned(),
                instance_id: instance.id.clone(),
                at: transition.at_ms,
                kind: ChangeKind::StateChanged(transition.state),
            });
        }
        if let Some(at) = terminated_at
            && let Some(region) = self.regions.get_mut(region)
        {
            region.disassociate_instance(&id, DisassociationReason::Termination, at);
        }
    }

    fn apply_due_faults(&mut self, region: &str, seq: u64, now: UnixMillis) {
        let Some(instance) = self
            .regions
            .get_mut(region)
            .and_then(|region| region.by_seq_mut(seq))
        else {
            return;
        };
        let due = instance.faults.partition_point(|it| it.at_ms <= now);
        let new = instance.faults[instance.applied_faults.min(due)..due].to_vec();
        instance.applied_faults = due;
        let mut failed = None;
        for fault in new {
            let kind = match fault.effect {
                InstanceEffect::NoBoot => continue,
                InstanceEffect::LaunchFails { reason, .. } => {
                    failed = Some((instance.id.clone(), reason));
                    continue;
                }
                InstanceEffect::AgentDies { .. } => ChangeKind::AgentKilled,
                InstanceEffect::Rebalance { .. } => ChangeKind::RebalanceRecommendation,
                InstanceEffect::Interrupt {
                    warning_ms, action, ..
                } => {
                    let due_at_ms = fault.at_ms.after(Duration::from_millis(warning_ms));
                    instance.interruption = Some(Interruption {
                        warned_at_ms: fault.at_ms,
                        due_at_ms,
                        action,
                    });
                    self.upcoming.insert((due_at_ms, region.to_owned(), seq));
                    ChangeKind::InterruptionWarning(action)
                }
            };
            self.changes.push(Change {
                region: region.to_owned(),
                instance_id: instance.id.clone(),
                at: fault.at_ms,
                kind,
            });
        }
        if let Some((id, reason)) = failed {
            let by = EndedBy::Launch(reason);
            self.shut_down(region, &id, by, ShutdownKind::Terminate, now);
        }
    }

    /// Shuts down an instance when the time between its interruption warning and its end is over.
    fn interrupt_if_due(&mut self, region: &str, seq: u64, now: UnixMillis) {
        let due = self.instance_by_seq(region, seq).and_then(|instance| {
            let interruption = instance.interruption.filter(|it| it.due_at_ms == now)?;
            Some((instance.id.clone(), interruption.action))
        });
        if let Some((id, action)) = due {
            let kind = match action {
                InterruptAction::Terminate => ShutdownKind::Terminate,
                InterruptAction::Stop => ShutdownKind::Stop,
            };
            self.shut_down(region, &id, EndedBy::Spot(action), kind, now);
        }
    }

    /// Archives a terminated instance when EC2 no longer lists it.
    fn archive_if_due(&mut self, region_name: &str, seq: u64, now: UnixMillis) {
        let Some(region) = self.regions.get_mut(region_name) else {
            return;
        };
        let is_due = region
            .by_seq_mut(seq)
            .and_then(|instance| instance.archived_at)
            .is_some_and(|at| at <= now);
        if is_due && let Some(instance) = region.remove(seq) {
            self.archive(region_name.to_owned(), instance);
        }
    }
}
