//! The functions of host agents (`…_host_agents/up.sql`, `…_agent_tokens/up.sql`). An agent is
//! identified by its launch. For it, instances of other launches do not exist.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use shared::db::WriteOutcome;
use shared::ids::{InstanceId, LaunchId, RegionName, TokenId};
use shared::model::{DrainCause, InstanceStatus};
use shared::settings::AddressSource;

use super::tables::{Heartbeat, InstanceRow, SlotRow, SlotStatus, Tables};

/// Instances that left before this time do not count any more.
const LEAVE_WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// A pass that observed the region within this time need not do it again for an address.
const ADDRESS_WAIT: SignedDuration = SignedDuration::from_secs(10);

/// A row of `agent_answers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentAnswer {
    pub instance_id: Option<InstanceId>,
    pub outcome: AgentOutcome,
    pub status: Option<InstanceStatus>,
    /// The agent's next token.
    pub token: Option<String>,
}

/// The outcome of an agent's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AgentOutcome {
    /// The instance is registered and has its slots.
    Registered,
    /// The instance has no row yet, or EC2 has not given it the address that users get.
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
    /// The instance drains, as its agent requested.
    Leaving,
    /// Too many of the region leave: the instance stays in service.
    Held,
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
        token: None,
    }
}

/// The claims of an agent's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentClaims {
    pub launch: LaunchId,
    /// The token's own id.
    pub token: Option<TokenId>,
}

impl From<&LaunchId> for AgentClaims {
    /// Those of a launch's token.
    fn from(launch: &LaunchId) -> Self {
        Self {
            launch: launch.clone(),
            token: None,
        }
    }
}

impl InstanceRow {
    /// Whether an agent may act for the instance.
    pub fn is_own(&self, launch: &LaunchId) -> bool {
        self.revoked_at.is_none() && self.launch_id == *launch
    }
}

impl Tables {
    /// Makes an instance `ACTIVE` with all its slots free. In a region of reported names, the address
    /// is stored as it is: the fake gets none that the database would reject.
    pub fn register_host(
        &mut self,
        id: &InstanceId,
        ip_addr: &str,
        claims: impl Into<AgentClaims>,
        now: Timestamp,
    ) -> AgentAnswer {
        let claims = claims.into();
        let Some(row) = self.instances.get_mut(id) else {
            return answer(Some(id), AgentOutcome::Retry, None);
        };
        if !row.is_own(&claims.launch) {
            return answer(Some(id), AgentOutcome::ShutDown, None);
        }
        let status = row.status;
        let was_drained = status == InstanceStatus::Draining && row.active_at.is_none();
        if status == InstanceStatus::Terminating || was_drained {
            return answer(Some(id), AgentOutcome::ShutDown, Some(status));
        }
        let source = self.regions.get(&row.region);
        let reports = source.is_some_and(|region| {
            matches!(region.settings.addresses, AddressSource::Reported { .. })
        });
        if status == InstanceStatus::PreConnection {
            let ip = source.and_then(|region| {
                let source = &region.settings.addresses;
                source.of(row.private_ip, row.public_ip)
            });
            let address = ip.map(|ip| ip.to_string());
            let Some(address) = address.or(reports.then(|| ip_addr.to_owned())) else {
                let region = row.region.clone();
                self.seek_address(&region, now);
                return answer(Some(id), AgentOutcome::Retry, Some(status));
            };
            row.status = InstanceStatus::Active;
            row.active_at = Some(now);
            row.ip_addr = Some(address);
            for _ in 0..row.capacity {
                self.add_slot(SlotRow::waiting(id.clone()));
            }
        }
        // An agent that registers again is well, and may have a new name.
        let is_active = |row: &&mut InstanceRow| row.status == InstanceStatus::Active;
        if let Some(row) = self.instances.get_mut(id).filter(is_active) {
            row.leave_reason = None;
            if reports {
                row.ip_addr = Some(ip_addr.to_owned());
            }
        }
        self.beat(id, now);
        let status = self.instances.get(id).map(|row| row.status);
        AgentAnswer {
            token: self.next_token(id, &claims, now),
            ..answer(Some(id), AgentOutcome::Registered, status)
        }
    }

    /// Wakes the region, unless a pass has observed it just now.
    fn seek_address(&mut self, region: &RegionName, now: Timestamp) {
        let last_pass_at = self.fences.get(region).and_then(|row| row.last_pass_at);
        if last_pass_at.is_none_or(|at| at <= now - ADDRESS_WAIT) {
            self.wake(region, None, now);
        }
    }

    /// Takes an instance out of service, because its agent says that it cannot serve users. The
    /// reason is stored as it is: the fake gets none that the database would change.
    pub fn leave_host(
        &mut self,
        id: &InstanceId,
        reason: &str,
        launch: &LaunchId,
        now: Timestamp,
    ) -> AgentAnswer {
        let Some(region) = self.instances.get(id).map(|row| row.region.clone()) else {
            return answer(Some(id), AgentOutcome::Retry, None);
        };
        let may_leave = self.leaves_within_the_hour(&region, now) < self.leave_limit(&region);
        let Some(row) = self.instances.get_mut(id) else {
            return answer(Some(id), AgentOutcome::Retry, None);
        };
        if !row.is_own(launch) {
            return answer(Some(id), AgentOutcome::ShutDown, None);
        }
        if row.status == InstanceStatus::Terminating {
            return answer(Some(id), AgentOutcome::ShutDown, Some(row.status));
        }
        row.leave_reason = Some(reason.to_owned());
        if row.status == InstanceStatus::Draining {
            return answer(Some(id), AgentOutcome::Leaving, Some(row.status));
        }
        if !may_leave {
            return answer(Some(id), AgentOutcome::Held, Some(row.status));
        }
        row.status = InstanceStatus::Draining;
        row.draining_since = Some(now);
        row.drain_cause = Some(DrainCause::Agent);
        self.host_leaves.insert(id.clone(), (region, now));
        answer(
            Some(id),
            AgentOutcome::Leaving,
            Some(InstanceStatus::Draining),
        )
    }

    fn leaves_within_the_hour(&self, region: &RegionName, now: Timestamp) -> usize {
        let leaves = self.host_leaves.values();
        leaves
            .filter(|(of, at)| of == region && *at > now - LEAVE_WINDOW)
            .count()
    }

    /// How many of a region's instances may leave by themselves within an hour.
    fn leave_limit(&self, region: &RegionName) -> usize {
        let rows = self.instances.values();
        let instances = rows.filter(|row| row.region == *region).count();
        (instances / 10).max(3)
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
    pub fn heartbeat(
        &mut self,
        id: &InstanceId,
        claims: impl Into<AgentClaims>,
        now: Timestamp,
    ) -> AgentAnswer {
        let claims = claims.into();
        let own = |row: &&InstanceRow| row.is_own(&claims.launch);
        let status = self.instances.get(id).filter(own).map(|row| row.status);
        if status.is_none_or(|status| status == InstanceStatus::Terminating) {
            return answer(Some(id), AgentOutcome::ShutDown, status);
        }
        self.beat(id, now);
        AgentAnswer {
            token: self.next_token(id, &claims, now),
            ..answer(Some(id), AgentOutcome::Ok, status)
        }
    }

    /// The same, with what the agent says of the activity of its users.
    pub fn heartbeat_with(
        &mut self,
        id: &InstanceId,
        launch: &LaunchId,
        idle_seconds: &BTreeMap<String, u32>,
        now: Timestamp,
    ) -> AgentAnswer {
        let answer = self.heartbeat(id, launch, now);
        if answer.outcome == AgentOutcome::Ok {
            self.note_activity(id, idle_seconds, now);
        }
        answer
    }

    /// The token that the agent is to use from now on, if it does not yet.
    fn next_token(
        &mut self,
        id: &InstanceId,
        claims: &AgentClaims,
        now: Timestamp,
    ) -> Option<String> {
        let row = self.agent_tokens.get_mut(id)?;
        if claims.token.as_ref() != Some(&row.token_id) {
            return Some(row.token.clone());
        }
        row.taken_at.get_or_insert(now);
        None
    }

    /// What the agent reads of its instance: the status, and the slots by id. An agent that is told of
    /// a drain may power off, so this counts as a heartbeat: the drain is not taken back.
    pub fn own_instance(
        &mut self,
        id: &InstanceId,
        launch: &LaunchId,
        now: Timestamp,
    ) -> Option<(InstanceStatus, BTreeMap<String, SlotRow>)> {
        let row = self.instances.get(id).filter(|row| row.is_own(launch))?;
        let status = row.status;
        if status == InstanceStatus::Draining {
            self.beat(id, now);
        }
        let slots = self.slots.iter();
        let own = slots.filter(|(_, slot)| slot.instance_id == *id);
        let own = own.map(|(slot_id, slot)| (slot_id.clone(), slot.clone()));
        Some((status, own.collect()))
    }

    /// Takes the rights of an instance's agent away, and drains the instance.
    pub fn revoke_agent(&mut self, id: &InstanceId, now: Timestamp) -> WriteOutcome {
        let Some(row) = self.instances.get_mut(id) else {
            return WriteOutcome::Unknown;
        };
        if row.revoked_at.is_some() {
            return WriteOutcome::Already;
        }
        row.revoked_at = Some(now);
        row.drain_cause = Some(DrainCause::Revoked);
        if row.status.is_in_service() {
            row.status = InstanceStatus::Draining;
            row.draining_since = Some(now);
        }
        self.agent_tokens.remove(id);
        WriteOutcome::Done
    }

    /// The instance of a slot, if it is the agent's own.
    fn instance_of_slot(
        &self,
        slot: &str,
        launch: &LaunchId,
    ) -> Option<(InstanceId, &InstanceRow)> {
        let id = &self.slots.get(slot)?.instance_id;
        let row = self.instances.get(id)?;
        row.is_own(launch).then(|| (id.clone(), row))
    }

    /// Lets the slot's user and session connect.
    pub fn claim_slot(
        &mut self,
        slot: &str,
        user: &str,
        session: &str,
        launch: &LaunchId,
        now: Timestamp,
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
                slot.claimed_at = Some(now);
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
    pub fn report_slot(
        &mut self,
        slot: &str,
        to: SlotStatus,
        launch: &LaunchId,
        now: Timestamp,
    ) -> AgentAnswer {
        let Some((host, row)) = self.instance_of_slot(slot, launch) else {
            return answer(None, AgentOutcome::Unknown, None);
        };
        let status = Some(row.status);
        let before = self.slots.get(slot).cloned();
        let reported = self
            .slots
            .get_mut(slot)
            .is_some_and(|slot| match (to, slot.status) {
                (SlotStatus::Running, SlotStatus::Connecting | SlotStatus::Running)
                | (
                    SlotStatus::Dying,
                    SlotStatus::Connecting | SlotStatus::Running | SlotStatus::Dying,
                ) => {
                    if (slot.status, to) == (SlotStatus::Connecting, SlotStatus::Running) {
                        slot.running_at = Some(now);
                    }
                    slot.status = to;
                    true
                }
                _ => false,
            });
        if let Some(before) = before.filter(|before| before.status != SlotStatus::Dying)
            && reported
            && to == SlotStatus::Dying
        {
            self.record_session(slot, &before, SlotStatus::Dying, now);
            self.session_ended(&before, now);
        }
        let outcome = if reported {
            AgentOutcome::Reported
        } else {
            AgentOutcome::Refused
        };
        answer(Some(&host), outcome, status)
    }

    /// Deletes a `DYING` slot, and inserts a new one if the instance is `ACTIVE`. It may be free only
    /// after a cool-down.
    pub fn replace_slot(&mut self, slot: &str, launch: &LaunchId, now: Timestamp) -> AgentAnswer {
        let Some((host, row)) = self.instance_of_slot(slot, launch) else {
            return answer(None, AgentOutcome::Unknown, None);
        };
        let status = row.status;
        let dying = self.slots.get(slot).cloned();
        let Some(dying) = dying.filter(|row| row.status == SlotStatus::Dying) else {
            return answer(Some(&host), AgentOutcome::Refused, Some(status));
        };
        self.slots.remove(slot);
        let outcome = if status == InstanceStatus::Active {
            let free_from = self.cool_down(&dying, now);
            let active_at = self.instances.get(&host).and_then(|host| host.active_at);
            self.add_slot(SlotRow {
                free_from,
                replaced_at: active_at.is_some_and(|active| now > active).then_some(now),
                ..SlotRow::waiting(host.clone())
            });
            AgentOutcome::Replaced
        } else {
            AgentOutcome::Removed
        };
        answer(Some(&host), outcome, Some(status))
    }
}
