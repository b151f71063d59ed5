//! The writes of passes (`…_pass_writes/up.sql`). A write that fails changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use secrecy::ExposeSecret;
use shared::agent_token::AgentToken;
use shared::db::{DbError, Fence, WriteOutcome, WriteResult};
use shared::ids::{InstanceId, RegionName};
use shared::model::{DrainCause, InstanceAddresses, InstanceStatus, NewInstance, TerminateIf};

use super::tables::{InstanceRow, SlotRow, SlotStatus, Tables, TokenRow};

type Written = Result<Vec<WriteResult>, DbError>;

impl Tables {
    /// Raises the fence to the version, or fails if it is higher already.
    pub(super) fn fenced(&mut self, fence: &Fence) -> Result<(), DbError> {
        if self.raise_fence(fence) == fence.version {
            return Ok(());
        }
        Err(DbError::Fenced {
            region: fence.region.clone(),
            version: fence.version,
        })
    }

    /// Inserts launched instances as `PRE_CONNECTION`.
    ///
    /// # Errors
    /// [`DbError::Fenced`]; [`DbError::Refused`] for a row that the schema rejects.
    pub fn record_instances(&mut self, fence: &Fence, instances: &[NewInstance]) -> Written {
        self.insert_instances(fence, instances, InstanceStatus::PreConnection)
    }

    /// Inserts machines that have no row as `TERMINATING`.
    ///
    /// # Errors
    /// As [`Tables::record_instances`].
    pub fn adopt_orphans(&mut self, fence: &Fence, orphans: &[NewInstance]) -> Written {
        self.insert_instances(fence, orphans, InstanceStatus::Terminating)
    }

    fn insert_instances(
        &mut self,
        fence: &Fence,
        given: &[NewInstance],
        status: InstanceStatus,
    ) -> Written {
        let before = self.fences.get(&fence.region).copied();
        self.fenced(fence)?;
        let inserted: BTreeSet<_> = given
            .iter()
            .map(|new| new.id.clone())
            .filter(|id| !self.instances.contains_key(id))
            .collect();
        let is_invalid = |new: &NewInstance| {
            new.capacity == 0 || new.id.as_str().is_empty() || new.launch_id.as_str().is_empty()
        };
        let region_is_unknown = !inserted.is_empty() && !self.regions.contains_key(&fence.region);
        let mut new = given.iter().filter(|new| inserted.contains(&new.id));
        if region_is_unknown || new.any(is_invalid) {
            match before {
                Some(row) => self.fences.insert(fence.region.clone(), row),
                None => self.fences.remove(&fence.region),
            };
            return Err(DbError::Refused {
                operation: "insert instances",
                code: "constraint-violation".to_owned(),
                message: "the region does not exist, or an instance is invalid".to_owned(),
            });
        }
        for new in given {
            let row = || InstanceRow::new(&fence.region, new, status);
            self.instances.entry(new.id.clone()).or_insert_with(row);
        }
        let outcome = |new: &NewInstance| match inserted.contains(&new.id) {
            true => WriteOutcome::Done,
            false => WriteOutcome::Already,
        };
        let each = given.iter().map(|new| result(&new.id, outcome(new)));
        let mut results: Vec<_> = each.collect();
        results.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(results)
    }

    /// The outcome for each id, in the order of ids and without duplicates. An instance of another
    /// region is unknown.
    fn each(
        &self,
        region: &RegionName,
        ids: &[InstanceId],
        decide: impl Fn(&InstanceId, &InstanceRow) -> WriteOutcome,
    ) -> Vec<(InstanceId, WriteOutcome)> {
        let ids: BTreeSet<_> = ids.iter().cloned().collect();
        ids.into_iter()
            .map(|id| {
                let row = self.instances.get(&id).filter(|row| row.region == *region);
                let outcome = row.map_or(WriteOutcome::Unknown, |row| decide(&id, row));
                (id, outcome)
            })
            .collect()
    }

    /// Applies `change` to the ids whose outcome is `DONE`, but for those that are held, which are
    /// `BUSY`, and returns all outcomes.
    fn change(
        &mut self,
        mut outcomes: Vec<(InstanceId, WriteOutcome)>,
        mut change: impl FnMut(&mut Self, &InstanceId),
    ) -> Vec<WriteResult> {
        for (id, outcome) in &mut outcomes {
            if *outcome == WriteOutcome::Done && self.held.contains(id) {
                *outcome = WriteOutcome::Busy;
            }
            if *outcome == WriteOutcome::Done {
                change(self, id);
            }
        }
        outcomes
            .into_iter()
            .map(|(id, outcome)| result(&id, outcome))
            .collect()
    }

    /// Whether a drain for this cause leaves users where they are.
    fn leaves_users(&self, row: &InstanceRow, cause: DrainCause) -> bool {
        match cause {
            DrainCause::Suspect | DrainCause::MaxAge => true,
            DrainCause::Image => {
                let region = self.regions.get(&row.region);
                region.is_some_and(|row| row.settings.endings.drain_deadline.is_some())
            }
            _ => false,
        }
    }

    /// Takes instances out of service.
    ///
    /// # Errors
    /// [`DbError::Fenced`].
    pub fn drain(
        &mut self,
        fence: &Fence,
        ids: &[InstanceId],
        cause: DrainCause,
        now: Timestamp,
    ) -> Written {
        self.fenced(fence)?;
        let outcomes = self.each(&fence.region, ids, |id, row| match row.status {
            InstanceStatus::Draining => WriteOutcome::Already,
            InstanceStatus::Terminating => WriteOutcome::WrongState,
            _ if row.notice.is_none() && !self.leaves_users(row, cause) && self.is_occupied(id) => {
                WriteOutcome::Occupied
            }
            _ => WriteOutcome::Done,
        });
        Ok(self.change(outcomes, |tables, id| {
            if let Some(row) = tables.instances.get_mut(id) {
                row.status = InstanceStatus::Draining;
                row.draining_since = Some(now);
                row.drain_cause = Some(cause);
            }
        }))
    }

    /// Takes back drains for surplus of which the agents do not know yet.
    ///
    /// # Errors
    /// [`DbError::Fenced`].
    pub fn reopen(&mut self, fence: &Fence, ids: &[InstanceId], now: Timestamp) -> Written {
        self.fenced(fence)?;
        let timeout = self.heartbeat_timeout(&fence.region).unwrap_or_default();
        let outcomes = self.each(&fence.region, ids, |id, row| {
            let beat_at = self.heartbeats.get(id).map(|beat| beat.beat_at);
            let has_not_heard = beat_at.is_some_and(|beat| {
                row.draining_since.is_some_and(|since| beat < since) && beat >= now - timeout
            });
            match row.status {
                InstanceStatus::Active => WriteOutcome::Already,
                InstanceStatus::Draining
                    if row.drain_cause == Some(DrainCause::Surplus)
                        && row.notice.is_none()
                        && has_not_heard =>
                {
                    WriteOutcome::Done
                }
                _ => WriteOutcome::WrongState,
            }
        });
        Ok(self.change(outcomes, |tables, id| {
            if let Some(row) = tables.instances.get_mut(id) {
                row.status = InstanceStatus::Active;
                row.draining_since = None;
                row.drain_cause = None;
            }
        }))
    }

    /// Sets instances to `TERMINATING`, and their occupied slots to `DYING`.
    ///
    /// # Errors
    /// [`DbError::Fenced`].
    pub fn terminate(
        &mut self,
        fence: &Fence,
        ids: &[InstanceId],
        condition: TerminateIf,
        now: Timestamp,
    ) -> Written {
        self.fenced(fence)?;
        let outcomes = self.each(&fence.region, ids, |id, row| {
            self.may_terminate(id, row, condition, now)
        });
        Ok(self.change(outcomes, |tables, id| {
            let end_reason = tables.why_instance_ends(id, now);
            if let Some(row) = tables.instances.get_mut(id) {
                row.status = InstanceStatus::Terminating;
                row.terminating_at = Some(now);
                row.end_reason = end_reason;
            }
            tables.end_sessions_of(id, now);
        }))
    }

    fn end_sessions_of(&mut self, id: &InstanceId, now: Timestamp) {
        let held = self.slots_of(id).filter(|(_, slot)| slot.status.is_held());
        let held: Vec<_> = held.map(|(id, slot)| (id.clone(), slot.clone())).collect();
        for (id, was) in held {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.status = SlotStatus::Dying;
            }
            self.record_session(&id, &was, SlotStatus::Dying, now);
        }
    }

    fn may_terminate(
        &self,
        id: &InstanceId,
        row: &InstanceRow,
        condition: TerminateIf,
        now: Timestamp,
    ) -> WriteOutcome {
        let beat_at = self.heartbeats.get(id).map(|beat| beat.beat_at);
        let timeouts = self.regions.get(&row.region).map(|r| r.settings.timeouts);
        match condition {
            _ if row.status == InstanceStatus::Terminating => WriteOutcome::Already,
            TerminateIf::Empty if self.is_occupied(id) => WriteOutcome::Occupied,
            TerminateIf::Deadline if !self.is_past_deadline(id, row, now) => WriteOutcome::Occupied,
            TerminateIf::Empty if row.status == InstanceStatus::Active => WriteOutcome::WrongState,
            TerminateIf::Missing
                if timeouts.is_some_and(|timeouts| {
                    beat_at.is_some_and(|at| at >= now - timeouts.heartbeat)
                }) =>
            {
                WriteOutcome::Alive
            }
            TerminateIf::Lost => {
                let heard_at = beat_at.or(row.active_at).unwrap_or(row.launched_at);
                let silent_since = Some(heard_at).max(self.watched_since(&row.region, now));
                if timeouts.is_some_and(|timeouts| silent_since >= Some(now - timeouts.lost)) {
                    WriteOutcome::Alive
                } else {
                    WriteOutcome::Done
                }
            }
            _ => WriteOutcome::Done,
        }
    }

    /// Deletes `TERMINATING` instances, with their slots and heartbeats.
    ///
    /// # Errors
    /// [`DbError::Fenced`].
    pub fn remove(&mut self, fence: &Fence, ids: &[InstanceId], now: Timestamp) -> Written {
        self.fenced(fence)?;
        let outcomes = self.each(&fence.region, ids, |_, row| match row.status {
            InstanceStatus::Terminating => WriteOutcome::Done,
            _ => WriteOutcome::WrongState,
        });
        Ok(self.change(outcomes, |tables, id| {
            tables.end_sessions_of(id, now);
            tables.record_instance(id, now);
            tables.instances.remove(id);
            tables.heartbeats.remove(id);
            tables.agent_tokens.remove(id);
            tables.session_ends.remove(id);
            tables.slots.retain(|_, slot| slot.instance_id != *id);
        }))
    }

    /// Stores the next tokens of agents.
    ///
    /// # Errors
    /// [`DbError::Fenced`].
    pub fn renew_tokens(
        &mut self,
        fence: &Fence,
        tokens: &[(InstanceId, AgentToken)],
        now: Timestamp,
    ) -> Written {
        self.fenced(fence)?;
        let tokens: BTreeMap<_, _> = tokens
            .iter()
            .map(|(id, token)| (id.clone(), token))
            .collect();
        let ids: Vec<_> = tokens.keys().cloned().collect();
        let outcomes = self.each(&fence.region, &ids, |_, row| {
            let ends = row.status == InstanceStatus::Terminating || row.revoked_at.is_some();
            match ends {
                true => WriteOutcome::WrongState,
                false => WriteOutcome::Done,
            }
        });
        Ok(self.change(outcomes, |tables, id| {
            let Some(token) = tokens.get(id) else {
                return;
            };
            let row = TokenRow {
                token: token.token.expose_secret().to_owned(),
                token_id: token.token_id.clone(),
                key_id: token.key_id.clone(),
                valid_until: token.valid_until,
                renewed_at: now,
                taken_at: None,
            };
            tables.agent_tokens.insert(id.clone(), row);
        }))
    }

    /// Records since when instances are missing from listings. An id that is both missing and
    /// present counts as present.
    ///
    /// # Errors
    /// [`DbError::Fenced`].
    pub fn note_missing(
        &mut self,
        fence: &Fence,
        missing: &[InstanceId],
        present: &[InstanceId],
        now: Timestamp,
    ) -> Written {
        self.fenced(fence)?;
        let mut given: BTreeMap<_, _> = missing.iter().map(|id| (id.clone(), true)).collect();
        given.extend(present.iter().map(|id| (id.clone(), false)));
        let ids: Vec<_> = given.keys().cloned().collect();
        let outcomes = self.each(&fence.region, &ids, |id, row| {
            if row.missing_since.is_none() == given[id] {
                WriteOutcome::Done
            } else {
                WriteOutcome::Already
            }
        });
        Ok(self.change(outcomes, |tables, id| {
            if let Some(row) = tables.instances.get_mut(id) {
                row.missing_since = given[id].then_some(now);
            }
        }))
    }

    /// Records the addresses that EC2 gave instances, and gives them to users where the region does.
    ///
    /// # Errors
    /// [`DbError::Fenced`].
    pub fn note_addresses(&mut self, fence: &Fence, addresses: &[InstanceAddresses]) -> Written {
        self.fenced(fence)?;
        let source = self.regions.get(&fence.region);
        let source = source.map(|row| row.settings.addresses.clone());
        let source = source.unwrap_or_default();
        let given: BTreeMap<_, _> = addresses.iter().map(|new| (new.id.clone(), new)).collect();
        let ids: Vec<_> = given.keys().cloned().collect();
        let given_to_users = |new: &InstanceAddresses| {
            let ip = source.of(new.private_ip, new.public_ip);
            ip.map(|ip| ip.to_string())
        };
        let outcomes = self.each(&fence.region, &ids, |id, row| {
            let new = given[id];
            let known = (row.private_ip, row.public_ip) == (new.private_ip, new.public_ip);
            let is_current = |given: &String| given_to_users(new).is_none_or(|new| new == *given);
            match row.status {
                InstanceStatus::Terminating => WriteOutcome::WrongState,
                _ if known && row.ip_addr.as_ref().is_none_or(is_current) => WriteOutcome::Already,
                _ => WriteOutcome::Done,
            }
        });
        Ok(self.change(outcomes, |tables, id| {
            if let Some(row) = tables.instances.get_mut(id) {
                let new = given[id];
                (row.private_ip, row.public_ip) = (new.private_ip, new.public_ip);
                if row.ip_addr.is_some() {
                    row.ip_addr = given_to_users(new).or(row.ip_addr.take());
                }
            }
        }))
    }

    /// Frees the slots that were not claimed in the region's time, and returns the outcome for each.
    ///
    /// # Errors
    /// [`DbError::Fenced`].
    pub fn release_unclaimed(&mut self, fence: &Fence, now: Timestamp) -> Written {
        self.fenced(fence)?;
        let Some(claim) = self.regions.get(&fence.region).map(|row| row.claim) else {
            return Ok(vec![]);
        };
        let is_here = |slot: &SlotRow| {
            let host = self.instances.get(&slot.instance_id);
            host.is_some_and(|host| host.region == fence.region)
        };
        let unclaimed: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| is_here(slot) && slot.is_unclaimed(now - claim))
            .map(|(id, slot)| (id.clone(), slot.clone()))
            .collect();
        let mut released = vec![];
        for (id, slot) in unclaimed {
            let outcome = if self.held.contains(&slot.instance_id) {
                WriteOutcome::Busy
            } else {
                let free = self.release(&slot, now);
                self.slots.insert(id.clone(), free);
                self.record_session(&id, &slot, SlotStatus::Waiting, now);
                WriteOutcome::Done
            };
            released.push(WriteResult { id, outcome });
        }
        Ok(released)
    }
}

impl InstanceRow {
    /// A row as a pass inserts it, before its agent registers.
    fn new(region: &RegionName, new: &NewInstance, status: InstanceStatus) -> Self {
        Self {
            region: region.clone(),
            launch_id: new.launch_id.clone(),
            image_id: new.image_id.clone(),
            client_sha: new.client_sha.clone(),
            instance_type: new.instance_type.clone(),
            subnet_id: new.subnet_id.clone(),
            spot: Some(new.spot),
            capacity: new.capacity,
            ip_addr: None,
            private_ip: new.private_ip,
            public_ip: new.public_ip,
            status,
            launched_at: new.launched_at,
            running_at: None,
            active_at: None,
            draining_since: None,
            drain_cause: None,
            leave_reason: None,
            missing_since: None,
            notice: None,
            revoked_at: None,
            terminating_at: None,
            end_reason: None,
        }
    }
}

fn result(id: &InstanceId, outcome: WriteOutcome) -> WriteResult {
    WriteResult {
        id: id.to_string(),
        outcome,
    }
}
