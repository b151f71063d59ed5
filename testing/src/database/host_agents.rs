//! The functions of host agents (`…_host_agents/up.sql`). An agent is identified by its launch. For
//! it, instances of other launches do not exist.

use jiff::Timestamp;
use shared::ids::{InstanceId, LaunchId};
use shared::model::InstanceStatus;

use super::tables::{Heartbeat, InstanceRow, SlotRow, SlotStatus, Tables};

/// A row of `agent_answers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentAnswer {
    pub instance_id: Option<InstanceId>,
    pub outcome: AgentOutcome,
    pub status: Option<InstanceStatus>,
}

/// The outcome of an agent's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AgentOutcome {
    /// The instance is registered and has its slots.
    Registered,
    /// The instance has no row yet.
    Retry,
    /// The instance is terminating, or of another launch.
    ShutDown,
    Ok,
    Claimed,
    Reported,
    /// The slot's state does not allow it, or the slot is not of this user and session.
    Refused,
    /// The launch has no such slot.
    Unknown,
    Replaced,
    /// The slot was deleted, and no new one was inserted.
    Removed,
}

fn answer(
    instance_id: Option<&InstanceId>,
    outcome: AgentOutcome,
    status: Option<InstanceStatus>,
) -> AgentAnswer {
    AgentAnswer {
        instance_id: instance_id.cloned(),
        outcome,
        status,
    }
}

impl Tables {
    /// Makes an instance `ACTIVE` with all its slots free.
    pub fn register_host(
        &mut self,
        id: &InstanceId,
        ip_addr: &str,
        launch: &LaunchId,
        now: Timestamp,
    ) -> AgentAnswer {
        let Some(row) = self.instances.get_mut(id) else {
            return answer(Some(id), AgentOutcome::Retry, None);
        };
        if row.launch_id != *launch {
            return answer(Some(id), AgentOutcome::ShutDown, None);
        }
        let status = row.status;
        let was_drained = status == InstanceStatus::Draining && row.active_at.is_none();
        if status == InstanceStatus::Terminating || was_drained {
            return answer(Some(id), AgentOutcome::ShutDown, Some(status));
        }
        if status == InstanceStatus::PreConnection {
            row.status = InstanceStatus::Active;
            row.active_at = Some(now);
            row.ip_addr = Some(ip_addr.to_owned());
            for _ in 0..row.capacity {
                self.add_slot(SlotRow::waiting(id.clone()));
            }
        }
        self.beat(id, now);
        let status = self.instances.get(id).map(|row| row.status);
        answer(Some(id), AgentOutcome::Registered, status)
    }

    fn beat(&mut self, id: &InstanceId, now: Timestamp) {
        let region = self.instances.get(id).map(|row| row.region.clone());
        let timeout = region.and_then(|region| self.heartbeat_timeout(&region));
        let beat = self.heartbeats.entry(id.clone()).or_insert(Heartbeat {
            beat_at: now,
            resumed_at: None,
        });
        if timeout.is_some_and(|timeout| beat.beat_at < now - timeout) {
            beat.resumed_at = Some(now);
        }
        beat.beat_at = beat.beat_at.max(now);
    }

    /// Records a heartbeat.
    pub fn heartbeat(&mut self, id: &InstanceId, launch: &LaunchId, now: Timestamp) -> AgentAnswer {
        let row = self.instances.get(id).filter(|r| r.launch_id == *launch);
        let status = row.map(|row| row.status);
        match status {
            None | Some(InstanceStatus::Terminating) => {
                answer(Some(id), AgentOutcome::ShutDown, status)
            }
            Some(_) => {
                self.beat(id, now);
                answer(Some(id), AgentOutcome::Ok, status)
            }
        }
    }

    /// The instance of a slot, if it is of this launch.
    fn instance_of_slot(
        &self,
        slot: &str,
        launch: &LaunchId,
    ) -> Option<(InstanceId, &InstanceRow)> {
        let id = &self.slots.get(slot)?.instance_id;
        let row = self.instances.get(id)?;
        (row.launch_id == *launch).then(|| (id.clone(), row))
    }

    /// Lets the slot's user and session connect.
    pub fn claim_slot(
        &mut self,
        slot: &str,
        user: &str,
        session: &str,
        launch: &LaunchId,
    ) -> AgentAnswer {
        let Some((host, row)) = self.instance_of_slot(slot, launch) else {
            return answer(None, AgentOutcome::Refused, None);
        };
        let status = Some(row.status);
        if row.status == InstanceStatus::Terminating {
            return answer(Some(&host), AgentOutcome::Refused, status);
        }
        let claimed = self.slots.get_mut(slot).is_some_and(|slot| {
            let is_theirs = slot.status.is_held() && slot.is_of(user, session);
            if is_theirs && slot.status == SlotStatus::Allocated {
                slot.status = SlotStatus::Connecting;
            }
            is_theirs
        });
        let outcome = if claimed {
            AgentOutcome::Claimed
        } else {
            AgentOutcome::Refused
        };
        answer(Some(&host), outcome, status)
    }

    /// Reports a claimed slot as `RUNNING` or as `DYING`.
    pub fn report_slot(&mut self, slot: &str, to: SlotStatus, launch: &LaunchId) -> AgentAnswer {
        let Some((host, row)) = self.instance_of_slot(slot, launch) else {
            return answer(None, AgentOutcome::Unknown, None);
        };
        let status = Some(row.status);
        let reported = self
            .slots
            .get_mut(slot)
            .is_some_and(|slot| match (to, slot.status) {
                (SlotStatus::Running, SlotStatus::Connecting | SlotStatus::Running)
                | (
                    SlotStatus::Dying,
                    SlotStatus::Connecting | SlotStatus::Running | SlotStatus::Dying,
                ) => {
                    slot.status = to;
                    true
                }
                _ => false,
            });
        let outcome = if reported {
            AgentOutcome::Reported
        } else {
            AgentOutcome::Refused
        };
        answer(Some(&host), outcome, status)
    }

    /// Deletes a `DYING` slot, and inserts a new one if the instance is `ACTIVE`.
    pub fn replace_slot(&mut self, slot: &str, launch: &LaunchId) -> AgentAnswer {
        let Some((host, row)) = self.instance_of_slot(slot, launch) else {
            return answer(None, AgentOutcome::Unknown, None);
        };
        let status = row.status;
        let is_dying = |row: &SlotRow| row.status == SlotStatus::Dying;
        if !self.slots.get(slot).is_some_and(is_dying) {
            return answer(Some(&host), AgentOutcome::Refused, Some(status));
        }
        self.slots.remove(slot);
        let outcome = if status == InstanceStatus::Active {
            self.add_slot(SlotRow::waiting(host.clone()));
            AgentOutcome::Replaced
        } else {
            AgentOutcome::Removed
        };
        answer(Some(&host), outcome, Some(status))
    }
}
