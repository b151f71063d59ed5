//! Ends of sessions (`…_endings/up.sql`): by users, by operators, and by limits.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use shared::assign::SessionEnd;
use shared::db::{DbError, Fence, WriteOutcome, WriteResult};
use shared::ids::InstanceId;
use shared::model::{DrainCause, EndCounts, InstanceStatus};

use super::tables::{InstanceRow, SlotRow, SlotStatus, Tables};

/// Passes run once a minute: an agent is told in the last one that leaves the whole warning.
const PASS_INTERVAL: SignedDuration = SignedDuration::from_secs(60);

/// What a pass writes at once.
const MOST: usize = 5000;

/// A user's activity is not written more often.
const ACTIVITY_INTERVAL: SignedDuration = SignedDuration::from_secs(10);

/// Why a session is to end.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EndCause {
    User,
    Operator,
    Longest,
    Idle,
    Drain,
    MaxAge,
}

/// The lower one of two limits.
fn lower(a: Option<SignedDuration>, b: Option<u32>) -> Option<SignedDuration> {
    let b = b.map(|seconds| SignedDuration::from_secs(seconds.into()));
    a.into_iter().chain(b).min()
}

fn is_claimed(slot: &SlotRow) -> bool {
    matches!(slot.status, SlotStatus::Connecting | SlotStatus::Running)
}

impl Tables {
    /// When the drain of an instance ends its sessions.
    fn drain_end(&self, row: &InstanceRow) -> Option<Timestamp> {
        let drains = row.status == InstanceStatus::Draining
            && row.drain_cause.is_some_and(DrainCause::has_deadline);
        let since = row.draining_since.filter(|_| drains)?;
        let endings = self.regions.get(&row.region)?.settings.endings;
        Some(since + endings.drain_deadline?)
    }

    /// The first limit of a session.
    fn first_limit(&self, row: &InstanceRow, slot: &SlotRow) -> Option<(Timestamp, EndCause)> {
        let endings = self.regions.get(&row.region)?.settings.endings;
        let longest = lower(endings.max_session, slot.limits.max_session_seconds);
        let idle = lower(endings.max_idle, slot.limits.max_idle_seconds);
        let drain = match row.drain_cause {
            Some(DrainCause::MaxAge) => EndCause::MaxAge,
            _ => EndCause::Drain,
        };
        // Of equal ones, the first in this order.
        let limits = [
            self.drain_end(row).map(|at| (at, drain)),
            slot.claimed_at
                .zip(longest)
                .map(|(at, max)| (at + max, EndCause::Longest)),
            slot.user_active_at
                .zip(idle)
                .map(|(at, max)| (at + max, EndCause::Idle)),
        ];
        limits.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// By when and why the session is to end, if its agent does not know yet.
    fn end_due(
        &self,
        row: &InstanceRow,
        slot: &SlotRow,
        now: Timestamp,
    ) -> Option<(EndCause, Timestamp)> {
        let (limit, cause) = self.first_limit(row, slot)?;
        let warning = self.regions.get(&row.region)?.settings.endings.warning;
        let by = limit.max(now + warning);
        let is_due = is_claimed(slot)
            && limit <= now + warning + PASS_INTERVAL
            && slot.end.is_none_or(|(_, earlier)| earlier > by);
        is_due.then_some((cause, by))
    }

    fn is_overdue(&self, row: &InstanceRow, slot: &SlotRow, now: Timestamp) -> bool {
        let grace = || self.heartbeat_timeout(&row.region).unwrap_or_default();
        is_claimed(slot) && slot.end.is_some_and(|(_, by)| by + grace() <= now)
    }

    /// Whether the drain is over, and every user of the instance had the whole warning.
    pub fn is_past_deadline(&self, id: &InstanceId, row: &InstanceRow, now: Timestamp) -> bool {
        let grace = self.heartbeat_timeout(&row.region).unwrap_or_default();
        let is_past = self.drain_end(row).is_some_and(|at| at + grace <= now);
        let mut held = self.slots_of(id).filter(|(_, slot)| slot.status.is_held());
        is_past && held.all(|(_, slot)| self.is_overdue(row, slot, now))
    }

    pub(super) fn count_ends(
        &self,
        row: &InstanceRow,
        slots: &[&SlotRow],
        now: Timestamp,
    ) -> EndCounts {
        let mut counts = EndCounts::default();
        for slot in slots {
            counts.due += u32::from(self.end_due(row, slot, now).is_some());
            counts.overdue += u32::from(self.is_overdue(row, slot, now));
            counts.dying += u32::from(slot.status == SlotStatus::Dying);
        }
        counts
    }

    /// Writes to sessions whose limit comes why and by when they are to end.
    ///
    /// # Errors
    /// [`DbError::Fenced`].
    pub fn mark_ends(
        &mut self,
        fence: &Fence,
        now: Timestamp,
    ) -> Result<Vec<WriteResult>, DbError> {
        self.fenced(fence)?;
        let due = self.slots.iter().filter_map(|(id, slot)| {
            let row = self.instances.get(&slot.instance_id)?;
            let here = row.region == fence.region;
            let end = self.end_due(row, slot, now).filter(|_| here)?;
            Some((id.clone(), slot.instance_id.clone(), end))
        });
        let due: Vec<_> = due.take(MOST).collect();
        let mut outcomes = BTreeMap::new();
        for (id, host, end) in due {
            if self.held.contains(&host) {
                outcomes.insert(host, WriteOutcome::Busy);
                continue;
            }
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.end = Some(end);
            }
            outcomes.insert(host, WriteOutcome::Done);
        }
        let result = |(id, outcome): (InstanceId, _)| WriteResult {
            id: id.to_string(),
            outcome,
        };
        Ok(outcomes.into_iter().map(result).collect())
    }

    /// Ends a session, and takes it out of the line.
    pub fn end_session(
        &mut self,
        user: &str,
        session: &str,
        cause: EndCause,
        now: Timestamp,
    ) -> SessionEnd {
        let before = self.waiting_users.len();
        self.leave_lines(
            |(of, ..), waits| of == user && waits.session == session,
            None,
            now,
        );
        let was_in_line = self.waiting_users.len() < before;
        let mut slots = self.slots.iter();
        let held = slots.find(|(_, slot)| slot.status.is_held() && slot.is_of(user, session));
        let Some((id, slot)) = held.map(|(id, slot)| (id.clone(), slot.clone())) else {
            return match was_in_line {
                true => SessionEnd::Ended,
                false => SessionEnd::Unknown,
            };
        };
        let earlier = slot.end.filter(|(_, by)| *by <= now);
        let ending = SlotRow {
            end: earlier.or(Some((cause, now))),
            ..slot
        };
        if ending.status == SlotStatus::Allocated {
            let free = self.release(&ending, now);
            self.slots.insert(id.clone(), free);
            self.record_session(&id, &ending, SlotStatus::Waiting, now);
            return SessionEnd::Ended;
        }
        self.slots.insert(id, ending);
        SessionEnd::Ending
    }

    /// For how many seconds the users of slots have been idle, as the agent of the instance says.
    pub fn note_activity(
        &mut self,
        host: &InstanceId,
        idle_seconds: &BTreeMap<String, u32>,
        now: Timestamp,
    ) {
        let region = self.instances.get(host).map(|row| &row.region);
        let region = region.and_then(|region| self.regions.get(region));
        let max_idle = region.and_then(|row| row.settings.endings.max_idle);
        for (id, slot) in &mut self.slots {
            let Some(seconds) = idle_seconds.get(id) else {
                continue;
            };
            let has_limit = lower(max_idle, slot.limits.max_idle_seconds).is_some();
            if slot.instance_id != *host || !is_claimed(slot) || !has_limit {
                continue;
            }
            let said = now - SignedDuration::from_secs((*seconds).into());
            let active_at = Some(said).max(slot.claimed_at).max(slot.user_active_at);
            let is_news = slot
                .user_active_at
                .is_none_or(|before| Some(before + ACTIVITY_INTERVAL) < active_at);
            if is_news {
                slot.user_active_at = active_at;
                slot.end = slot.end.filter(|(cause, _)| *cause != EndCause::Idle);
            }
        }
    }

    /// What the agent of an instance has to end, and by when.
    pub fn ends_of(&self, host: &InstanceId) -> BTreeMap<String, (EndCause, Timestamp)> {
        let claimed = self.slots_of(host).filter(|(_, slot)| is_claimed(slot));
        claimed
            .filter_map(|(id, slot)| Some((id.clone(), slot.end?)))
            .collect()
    }
}
