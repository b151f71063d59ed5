//! What host agents may do (`…_host_agents/up.sql`). An agent is known by its launch: another
//! launch's instance is answered like one that does not exist.

use jiff::Timestamp;

use super::tables::{Heartbeat, InstanceRow, SlotRow, SlotStatus, Tables};
use shared::ids::{InstanceId, LaunchId};
use shared::model::InstanceStatus;

/// A row of `agent_answers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentAnswer {
    pub instance_id: Option<InstanceId>,
    pub outcome: AgentOutcome,
    pub status: Option<InstanceStatus>,
}

/// What an agent is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AgentOutcome {
    /// To `register_host`: the instance has its slots. `heartbeat` says `OK` instead.
    Registered,
    /// No row yet.
    Retry,
    /// Given up, or another launch's.
    ShutDown,
    Ok,
    Claimed,
    Reported,
    /// Not from the slot's state, or not to this user and session.
    Refused,
    /// No such slot of this launch.
    Unknown,
    Replaced,
    /// The ended slot is gone, and no new one was made.
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
        let wait = region.and_then(|region| self.heartbeat_wait(&region));
        let beat = self.heartbeats.entry(id.clone()).or_insert(Heartbeat {
            beat_at: now,
            resumed_at: None,
        });
        if wait.is_some_and(|wait| beat.beat_at < now - wait) {
            beat.resumed_at = Some(now);
        }
        beat.beat_at = beat.beat_at.max(now);
    }

    /// Says that an instance lives.
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

    /// The instance of a slot, if it is of that launch.
    fn own_slot_host(&self, slot: &str, launch: &LaunchId) -> Option<(InstanceId, &InstanceRow)> {
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
        let Some((host, row)) = self.own_slot_host(slot, launch) else {
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
        let Some((host, row)) = self.own_slot_host(slot, launch) else {
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

    /// Deletes a `DYING` slot, and makes a new one if the instance is `ACTIVE`.
    pub fn replace_slot(&mut self, slot: &str, launch: &LaunchId) -> AgentAnswer {
        let Some((host, row)) = self.own_slot_host(slot, launch) else {
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
