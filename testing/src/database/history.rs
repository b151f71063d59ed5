//! The history of sessions and instances (`…_history/up.sql`). PostgreSQL's triggers write it; here, each
//! function that ends something does.

use jiff::{SignedDuration, Timestamp};
use shared::ids::{InstanceId, RegionName};
use shared::model::{DrainCause, InstanceStatus, SpotNotice};
use shared::usage::{EndReason, SessionRecord};

use super::endings::EndCause;
use super::stored_name;
use super::tables::{InstanceRow, SlotRow, SlotStatus, Tables};

/// A timer of an agent may be this much early.
const EARLY: SignedDuration = SignedDuration::from_secs(5);

/// The setting's default. No test changes it.
const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The most rows of a kind that one pass deletes.
const MOST_PRUNED: usize = 5000;

/// A row of `instance_history`, without what only repeats the row that it is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRecord {
    pub instance_id: InstanceId,
    pub region: RegionName,
    pub instance_type: String,
    pub spot: Option<bool>,
    pub launched_at: Timestamp,
    pub running_at: Option<Timestamp>,
    pub registered_at: Option<Timestamp>,
    pub draining_at: Option<Timestamp>,
    pub drain_cause: Option<DrainCause>,
    pub terminating_at: Option<Timestamp>,
    pub gone_at: Timestamp,
    pub end_reason: InstanceEnd,
    pub sessions: u32,
    pub session_time: SignedDuration,
    /// With at least one session.
    pub occupied: SignedDuration,
    pub empty: SignedDuration,
}

/// Why an instance ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InstanceEnd {
    /// It was drained and empty.
    Drained,
    NeverRegistered,
    /// EC2 took it, as announced.
    Interrupted,
    /// EC2's listings did not have it any more.
    Missing,
    /// Its agent was silent.
    Lost,
    /// Its sessions had to end by then, and its agent did not end them.
    Deadline,
    /// EC2 reported its end.
    Ended,
    /// It never had a row in service.
    Orphan,
    /// Somebody deleted its row.
    Deleted,
}

impl Tables {
    /// The tables with the rows of history in a fixed order, as the database has none.
    #[must_use]
    pub fn with_sorted_history(mut self) -> Self {
        self.session_history.sort();
        self.unserved_users.sort();
        self.instance_history
            .sort_by(|a, b| (a.gone_at, &a.instance_id).cmp(&(b.gone_at, &b.instance_id)));
        self
    }

    /// Whether the slot is still that of the same stay.
    fn still_holds(&self, id: &str, slot: &SlotRow) -> bool {
        self.slots.get(id).is_some_and(|now| {
            now.status.is_held()
                && now.user == slot.user
                && now.first_allocated_at == slot.first_allocated_at
        })
    }

    /// Records the session of a slot, as it was before, if it does not hold the slot any more.
    pub(super) fn record_session(
        &mut self,
        id: &str,
        slot: &SlotRow,
        becomes: SlotStatus,
        now: Timestamp,
    ) {
        let Some((user, session)) = slot.user.clone().filter(|_| slot.status.is_held()) else {
            return;
        };
        if self.still_holds(id, slot) {
            return;
        }
        let Some(host) = self.instances.get(&slot.instance_id) else {
            return;
        };
        let (end_reason, end_detail) = self.why_session_ended(id, slot, becomes, host, now);
        let assigned_at = slot.first_allocated_at.or(slot.allocated_at).unwrap_or(now);
        self.session_history.push(SessionRecord {
            user,
            session,
            region: host.region.clone(),
            instance_id: slot.instance_id.clone(),
            image_id: host.image_id.clone(),
            instance_type: Some(host.instance_type.clone()),
            slot_id: id.to_owned(),
            requested_at: assigned_at - slot.waited,
            assigned_at,
            connected_at: slot.claimed_at,
            running_at: slot.running_at,
            ended_at: Some(now.max(assigned_at)),
            end_reason: Some(end_reason),
            end_detail,
            waited: slot.waited,
        });
    }

    fn why_session_ended(
        &self,
        id: &str,
        slot: &SlotRow,
        becomes: SlotStatus,
        host: &InstanceRow,
        now: Timestamp,
    ) -> (EndReason, Option<String>) {
        let is_interrupted = host.notice == Some(SpotNotice::Interruption);
        let interrupted_or = |other| match is_interrupted {
            true => EndReason::Interrupted,
            false => other,
        };
        let at_deadline = host.end_reason == Some(InstanceEnd::Deadline);
        if host.status == InstanceStatus::Terminating && !at_deadline {
            let how = host.end_reason.map(stored_name);
            let how = how.filter(|_| !is_interrupted);
            return (interrupted_or(EndReason::Lost), how);
        }
        // Who ends before a limit, of which the agent warns, ends by themselves.
        let due = slot.end.filter(|(_, by)| at_deadline || *by <= now + EARLY);
        let cause = due.map(|(cause, _)| cause);
        match cause.or(at_deadline.then_some(EndCause::Drain)) {
            Some(EndCause::User) => return (EndReason::User, None),
            Some(EndCause::Operator) => return (EndReason::Operator, None),
            Some(limit) => return (EndReason::Limit, Some(stored_name(limit))),
            None => {}
        }
        if becomes == SlotStatus::Dying {
            return (interrupted_or(EndReason::Agent), None);
        }
        let has_another = slot.user.as_ref().is_some_and(|(user, session)| {
            let mut others = self.slots.iter();
            others
                .any(|(other, row)| other != id && row.status.is_held() && row.is_of(user, session))
        });
        let claim = self.claim_period(&host.region);
        let is_over = slot.allocated_at.is_some_and(|at| at + claim <= now);
        let reason = match slot.status {
            _ if has_another => EndReason::Moved,
            SlotStatus::Allocated if is_over => EndReason::NeverClaimed,
            _ if self.is_alive(&slot.instance_id, now) => EndReason::Operator,
            _ => interrupted_or(EndReason::Lost),
        };
        (reason, None)
    }

    /// Why an instance ends that becomes `TERMINATING`.
    pub(super) fn why_instance_ends(&self, id: &InstanceId, now: Timestamp) -> Option<InstanceEnd> {
        let row = self.instances.get(id)?;
        let has_session = self.slots_of(id).any(|(_, slot)| slot.status.is_held());
        let timeouts = self.regions.get(&row.region)?.settings.timeouts;
        let beat = self.heartbeats.get(id);
        Some(match row.status {
            _ if row.notice == Some(SpotNotice::Interruption) => InstanceEnd::Interrupted,
            _ if row.active_at.is_none() => InstanceEnd::NeverRegistered,
            InstanceStatus::Draining if !has_session => InstanceEnd::Drained,
            _ if row.missing_since.is_some() => InstanceEnd::Missing,
            _ if beat.is_none_or(|beat| beat.beat_at < now - timeouts.lost) => InstanceEnd::Lost,
            InstanceStatus::Draining if self.has_overdue_drain(id, now) => InstanceEnd::Deadline,
            _ => InstanceEnd::Ended,
        })
    }

    fn has_overdue_drain(&self, id: &InstanceId, now: Timestamp) -> bool {
        let mut ends = self.slots_of(id).filter_map(|(_, slot)| slot.end);
        ends.any(|(cause, by)| matches!(cause, EndCause::Drain | EndCause::MaxAge) && by <= now)
    }

    /// Records an instance whose row is about to be deleted.
    pub(super) fn record_instance(&mut self, id: &InstanceId, now: Timestamp) {
        let Some(row) = self.instances.get(id).cloned() else {
            return;
        };
        let since = row.launched_at.max(now - KEPT);
        let stays = self.stays(id, since, now);
        let sum = |times: &mut dyn Iterator<Item = SignedDuration>| {
            times.fold(SignedDuration::ZERO, |sum, time| sum + time)
        };
        let occupied = sum(&mut covered(&stays).into_iter());
        let end_reason = match row.status {
            InstanceStatus::Terminating => row.end_reason.unwrap_or(InstanceEnd::Orphan),
            _ => InstanceEnd::Deleted,
        };
        self.instance_history.push(InstanceRecord {
            instance_id: id.clone(),
            region: row.region,
            instance_type: row.instance_type,
            spot: row.spot,
            launched_at: row.launched_at,
            // What has registered was running.
            running_at: row.running_at.into_iter().chain(row.active_at).min(),
            registered_at: row.active_at,
            draining_at: row.draining_since,
            drain_cause: row.drain_cause,
            terminating_at: row.terminating_at,
            gone_at: now,
            end_reason,
            sessions: u32::try_from(stays.len()).unwrap_or(u32::MAX),
            session_time: sum(&mut stays.iter().map(|(from, to)| to.duration_since(*from))),
            occupied,
            empty: (now.duration_since(since) - occupied).max(SignedDuration::ZERO),
        });
    }

    /// Deletes a region's rows that are too old. The figures of its hours are not played: nothing that
    /// reads them is tested with this database.
    pub(super) fn prune_history(&mut self, region: &RegionName, now: Timestamp) {
        let kept_since = now - KEPT;
        prune(
            &mut self.session_history,
            |row| row.ended_at.is_some_and(|at| at < kept_since),
            |row| row.region == *region,
        );
        prune(
            &mut self.instance_history,
            |row| row.gone_at < kept_since,
            |row| row.region == *region,
        );
    }

    /// The times of an instance's sessions within a time, by their beginning.
    fn stays(
        &self,
        id: &InstanceId,
        since: Timestamp,
        until: Timestamp,
    ) -> Vec<(Timestamp, Timestamp)> {
        let of_it = self
            .session_history
            .iter()
            .filter(|it| it.instance_id == *id);
        let times = of_it.filter_map(|it| Some((it.assigned_at, it.ended_at?)));
        let within = times.filter(|(from, to)| *to >= since && *from <= until);
        let mut stays: Vec<_> = within
            .map(|(from, to)| (from.max(since), to.min(until)))
            .collect();
        stays.sort();
        stays
    }
}

/// Deletes a batch of a region's old rows. The rows are in the order of their ends, so that hardly any
/// pass has to go through them.
fn prune<T>(rows: &mut Vec<T>, is_old: impl Fn(&T) -> bool, is_here: impl Fn(&T) -> bool) {
    if !rows.first().is_some_and(&is_old) {
        return;
    }
    let mut left = MOST_PRUNED;
    rows.retain(|row| {
        let is_pruned = left > 0 && is_here(row) && is_old(row);
        left -= usize::from(is_pruned);
        !is_pruned
    });
}

/// What each of these times adds to those before it.
fn covered(stays: &[(Timestamp, Timestamp)]) -> Vec<SignedDuration> {
    let mut until: Option<Timestamp> = None;
    let mut added = vec![];
    for (from, to) in stays {
        let from = until.map_or(*from, |until| until.max(*from));
        added.push(to.duration_since(from).max(SignedDuration::ZERO));
        until = until.max(Some(*to));
    }
    added
}
