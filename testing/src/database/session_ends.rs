//! How sessions ended, and what follows for their slots and users (`…_cool_downs/up.sql`).

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use shared::ids::{InstanceId, RegionName};
use shared::model::SessionEnds;

use super::tables::{FailedSession, InstanceRow, SessionEndsRow, SlotRow, SlotStatus, Tables};

/// As many users have to fail in a row before an instance is suspected.
const SEVERAL: usize = 3;
/// More quick users in a row change nothing.
const MOST_USERS: usize = 10;
/// For how long ends count.
const COUNTED: SignedDuration = SignedDuration::from_hours(1);
/// For how long a user is not sent back, and short sessions put an instance last.
pub(super) const AVOIDED: SignedDuration = SignedDuration::from_mins(10);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const FIRST_COOL_DOWN: SignedDuration = SignedDuration::from_secs(5);
const LONGEST_COOL_DOWN: SignedDuration = SignedDuration::from_mins(10);
/// A slot is held for this many times the claim period at most.
const CLAIM_PERIODS: i32 = 3;
/// How many old rows an insert deletes.
const FORGOTTEN: usize = 5;

impl Tables {
    fn quick_end(&self, region: &RegionName) -> SignedDuration {
        let row = self.regions.get(region);
        let seconds = row.map_or(0, |row| row.settings.quick_end_seconds);
        SignedDuration::from_secs(seconds.into())
    }

    pub(super) fn claim_period(&self, region: &RegionName) -> SignedDuration {
        self.regions
            .get(region)
            .map(|row| row.claim)
            .unwrap_or_default()
    }

    fn note_failed_session(&mut self, failed: FailedSession) {
        let before = failed.failed_at - COUNTED;
        // The rows are in the order of their times.
        let old = self.failed_sessions.iter().take(FORGOTTEN);
        let old = old.take_while(|row| row.failed_at < before).count();
        self.failed_sessions.drain(..old);
        self.failed_sessions.push(failed);
    }

    /// Frees an allocated slot. If its time to be claimed is over, it failed its user.
    pub(super) fn release(&mut self, slot: &SlotRow, now: Timestamp) -> SlotRow {
        let mut free = SlotRow {
            free_from: slot.free_from,
            replaced_at: slot.replaced_at,
            ..SlotRow::waiting(slot.instance_id.clone())
        };
        let host = self.instances.get(&slot.instance_id);
        let Some(region) = host.map(|host| host.region.clone()) else {
            return free;
        };
        let claim = self.claim_period(&region);
        let is_over = slot.allocated_at.is_some_and(|at| at + claim <= now);
        let (Some((user, _)), true) = (&slot.user, is_over) else {
            return free;
        };
        let barred = self.is_held_too_long(slot, now);
        self.note_failed_session(FailedSession {
            user: user.clone(),
            instance_id: slot.instance_id.clone(),
            claimed: false,
            failed_at: now,
            barred_until: barred.then(|| now + claim),
        });
        if self.quick_end(&region).is_positive() {
            free.free_from = Some(now);
        }
        free
    }

    /// Whether an unclaimed slot's session had it for as long as it may.
    pub fn is_held_too_long(&self, slot: &SlotRow, now: Timestamp) -> bool {
        let host = self.instances.get(&slot.instance_id);
        let claim = host.map(|host| self.claim_period(&host.region));
        slot.status == SlotStatus::Allocated
            && slot
                .first_allocated_at
                .zip(claim)
                .is_some_and(|(first, claim)| first + claim * CLAIM_PERIODS <= now)
    }

    /// Counts the end of a claimed session, unless it was soon ended on purpose.
    pub(super) fn session_ended(&mut self, slot: &SlotRow, now: Timestamp) {
        let host = &slot.instance_id;
        let Some(region) = self.instances.get(host).map(|row| row.region.clone()) else {
            return;
        };
        let quick_end = self.quick_end(&region);
        let is_quick = slot.claimed_at.is_some_and(|at| at + quick_end > now);
        if is_quick && slot.end.is_some() {
            return;
        }
        let user = slot.user.as_ref().map(|(user, _)| user.clone());
        let ends = self.session_ends.entry(host.clone()).or_default();
        ends.ended_at = Some(now);
        let (Some(user), true) = (user, is_quick) else {
            ends.lived_at = Some(now);
            ends.quick_users.clear();
            return;
        };
        if !ends.quick_users.contains(&user) && ends.quick_users.len() < MOST_USERS {
            ends.quick_users.push(user.clone());
        }
        let in_row = ends.quick_users.len();
        self.note_failed_session(FailedSession {
            user,
            instance_id: host.clone(),
            claimed: true,
            failed_at: now,
            barred_until: None,
        });
        if in_row == SEVERAL {
            self.wake(&region, None, now);
        }
    }

    /// Whether a session on the instance outlasts a quick end, or did within the hour.
    fn sessions_live<'s>(
        ends: Option<&SessionEndsRow>,
        quick_end: SignedDuration,
        mut slots: impl Iterator<Item = &'s SlotRow>,
        now: Timestamp,
    ) -> bool {
        let runs = |slot: &SlotRow| {
            slot.status == SlotStatus::Running
                && slot.claimed_at.is_some_and(|at| at <= now - quick_end)
        };
        slots.any(runs)
            || ends
                .and_then(|ends| ends.lived_at)
                .is_some_and(|at| at > now - COUNTED)
    }

    fn others_end_quickly(&self, host: &InstanceId, region: &RegionName, now: Timestamp) -> bool {
        let quick_end = self.quick_end(region);
        let (mut quick, mut live) = (0, 0);
        for (id, ends) in &self.session_ends {
            let Some(row) = self.instances.get(id) else {
                continue;
            };
            let counts = ends.ended_at.is_some_and(|at| at > now - COUNTED);
            if row.region != *region || id == host || !counts {
                continue;
            }
            let slots = self.slots_of(id).map(|(_, slot)| slot);
            if Self::sessions_live(Some(ends), quick_end, slots, now) {
                live += 1;
            } else if ends.quick_users.len() >= SEVERAL {
                quick += 1;
            }
        }
        quick > live
    }

    /// From when on the slot is free that replaces this one.
    pub(super) fn cool_down(&mut self, slot: &SlotRow, now: Timestamp) -> Option<Timestamp> {
        let host = &slot.instance_id;
        let row = self.instances.get(host)?.clone();
        let limit = self.regions.get(&row.region)?;
        let limit = limit.settings.replacements_per_minute;
        let limit = limit.unwrap_or(6 * row.capacity);
        let ends = self.session_ends.entry(host.clone()).or_default();
        ends.replaced_until = (limit > 0).then(|| {
            let limit = i64::from(limit);
            let step = SignedDuration::from_micros((60_000_000 + limit / 2) / limit);
            ends.replaced_until.map_or(now, |until| until.max(now)) + step
        });
        let mut free_from = ends
            .replaced_until
            .map_or(now, |until| now.max(until - MINUTE));
        let in_row = u32::try_from(ends.quick_users.len()).unwrap_or(u32::MAX);
        if in_row >= 2 && !self.others_end_quickly(host, &row.region, now) {
            let grown = FIRST_COOL_DOWN * 2_i32.saturating_pow(in_row - 2);
            free_from = free_from.max(now + grown.min(LONGEST_COOL_DOWN));
        }
        let short = self.quick_end(&row.region) * 6;
        let was_short = slot.claimed_at.is_some_and(|at| at + short > now);
        (free_from > now || was_short).then_some(free_from)
    }

    /// What a pass observes of the ends of an instance's sessions.
    pub(super) fn count_session_ends(
        &self,
        id: &InstanceId,
        row: &InstanceRow,
        slots: &[&SlotRow],
        now: Timestamp,
    ) -> SessionEnds {
        let ends = self.session_ends.get(id);
        let quick_end = self.quick_end(&row.region);
        let live = Self::sessions_live(ends, quick_end, slots.iter().copied(), now);
        if !quick_end.is_positive() {
            return SessionEnds {
                live,
                ..SessionEnds::default()
            };
        }
        let claimed = slots.iter().filter_map(|slot| slot.claimed_at);
        let since = claimed
            .chain(ends.and_then(|ends| ends.ended_at))
            .chain([now - COUNTED])
            .max();
        let unclaimed: BTreeSet<_> = self
            .failed_sessions
            .iter()
            .filter(|failed| failed.instance_id == *id && !failed.claimed)
            .filter(|failed| Some(failed.failed_at) > since)
            .map(|failed| &failed.user)
            .collect();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        SessionEnds {
            quick: count(ends.map_or(0, |ends| ends.quick_users.len())),
            unclaimed: count(unclaimed.len()),
            live,
        }
    }

    /// The instances that failed a user lately, and those of them that the user cannot get.
    pub(super) fn failed_hosts(
        &self,
        user: &str,
        now: Timestamp,
    ) -> (Vec<InstanceId>, Vec<InstanceId>) {
        let failed = self
            .failed_sessions
            .iter()
            .filter(|failed| failed.user == user && failed.failed_at > now - AVOIDED);
        let (mut avoid, mut barred) = (vec![], vec![]);
        for failed in failed {
            avoid.push(failed.instance_id.clone());
            if failed.barred_until.is_some_and(|until| until > now) {
                barred.push(failed.instance_id.clone());
            }
        }
        (avoid, barred)
    }
}

impl SlotRow {
    /// Whether the slot is the next one after a short session that ended lately.
    pub(super) fn was_short(&self, now: Timestamp) -> bool {
        self.free_from.is_some_and(|from| from > now - AVOIDED)
    }
}
