//! How a pass begins: raising the fence and observing (`…_observing/up.sql`).

use jiff::{SignedDuration, Timestamp};
use shared::db::{DbError, Fence, Observation};
use shared::ids::{InstanceId, RegionName};
use shared::model::{EndCounts, Instance, NextToken, SessionEnds, SlotCounts};

use super::tables::{FenceRow, InstanceRow, SlotRow, SlotStatus, Tables};

/// How long wake-ups are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Passes run once a minute, so a shorter gap does not count as one.
const SHORTEST_GAP: SignedDuration = SignedDuration::from_secs(90);

impl Tables {
    /// Raises the fence to the version unless it is higher, and returns the version in force.
    pub(super) fn raise_fence(&mut self, fence: &Fence) -> i64 {
        let row = self.fences.entry(fence.region.clone()).or_insert(FenceRow {
            version: fence.version,
            last_pass_at: None,
            watched_since: None,
        });
        row.version = row.version.max(fence.version);
        row.version
    }

    /// `begin_pass` and the observations in the same transaction. The fence of an unknown region is
    /// raised, too.
    ///
    /// # Errors
    /// [`DbError::BehindFence`], [`DbError::UnknownRegion`].
    pub fn begin_pass(
        &mut self,
        fence: &Fence,
        environment: &str,
        now: Timestamp,
    ) -> Result<Observation, DbError> {
        let in_force = self.raise_fence(fence);
        if in_force != fence.version {
            return Err(DbError::BehindFence {
                region: fence.region.clone(),
                version: fence.version,
                in_force,
            });
        }
        let watched_since = self.watched_since(&fence.region, now);
        let row = self.fence_mut(&fence.region);
        row.watched_since = watched_since;
        row.last_pass_at = Some(now);
        self.prune(&fence.region, now);
        self.tune_safety(&fence.region, now);
        self.observe(&fence.region, environment, now)
    }

    /// The observation of a dry run.
    ///
    /// # Errors
    /// [`DbError::UnknownRegion`].
    pub fn observe(
        &self,
        region: &RegionName,
        environment: &str,
        now: Timestamp,
    ) -> Result<Observation, DbError> {
        let unknown = || DbError::UnknownRegion(region.clone());
        let row = self.regions.get(region).ok_or_else(unknown)?;
        let slots = self.slots_by_instance();
        let unclaimed_before = now - row.claim;
        Ok(Observation {
            settings: row.settings.clone(),
            now,
            waiting: self.demand(region, now),
            lines: self.lines(region, now),
            flow: self.flow(region, now),
            spending: self.spending.get(region).cloned(),
            watched_since: self.watched_since(region, now).unwrap_or(now),
            app_sha: self
                .app_versions
                .get(environment)
                .map(|app| app.client_sha.as_str().into()),
            images: self
                .images
                .iter()
                .filter(|((of, _), _)| of == region)
                .map(|(_, image)| image.clone())
                .collect(),
            instances: self
                .instances
                .iter()
                .filter(|(_, row)| row.region == *region)
                .map(|(id, row)| {
                    let slots = slots.get(id).map_or(&[][..], Vec::as_slice);
                    let sessions = self.count_session_ends(id, row, slots, now);
                    let ends = self.count_ends(row, slots, now);
                    self.view(
                        id,
                        row,
                        count_slots(slots, now, unclaimed_before),
                        (sessions, ends),
                    )
                })
                .collect(),
        })
    }

    fn view(
        &self,
        id: &InstanceId,
        row: &InstanceRow,
        slots: SlotCounts,
        (sessions, ends): (SessionEnds, EndCounts),
    ) -> Instance {
        let beat = self.heartbeats.get(id);
        Instance {
            id: id.clone(),
            launch_id: row.launch_id.clone(),
            image_id: row.image_id.clone(),
            client_sha: row.client_sha.clone(),
            pool: row.pool(),
            capacity: row.capacity,
            status: row.status,
            launched_at: row.launched_at,
            running_at: row.running_at,
            active_at: row.active_at,
            draining_since: row.draining_since,
            drain_cause: row.drain_cause,
            leave_reason: row.leave_reason.clone(),
            missing_since: row.missing_since,
            notice: row.notice,
            ip_addr: row.ip_addr.clone(),
            private_ip: row.private_ip,
            public_ip: row.public_ip,
            beat_at: beat.map(|beat| beat.beat_at),
            resumed_at: beat.and_then(|beat| beat.resumed_at),
            token: self.agent_tokens.get(id).map(|row| NextToken {
                key: row.key_id.clone(),
                valid_until: row.valid_until,
                untaken_since: row.taken_at.is_none().then_some(row.renewed_at),
            }),
            slots,
            sessions,
            ends,
        }
    }

    /// Since when passes have observed the region without a long gap; none for an unknown region.
    pub fn watched_since(&self, region: &RegionName, now: Timestamp) -> Option<Timestamp> {
        let lost = self.regions.get(region)?.settings.timeouts.lost;
        let gap = (lost / 2).max(SHORTEST_GAP);
        let fence = self.fences.get(region);
        fence
            .filter(|fence| fence.last_pass_at.is_some_and(|at| at >= now - gap))
            .and_then(|fence| fence.watched_since)
            .or(Some(now))
    }

    fn prune(&mut self, region: &RegionName, now: Timestamp) {
        let before = now - KEPT;
        self.wakeups
            .retain(|(of, bucket)| of != region || *bucket >= before);
        self.prune_lines(region, now);
        self.prune_unserved(region, now);
        self.prune_history(region, now);
    }
}

/// An instance's slots, counted as `observe_instances` does.
fn count_slots(slots: &[&SlotRow], now: Timestamp, unclaimed_before: Timestamp) -> SlotCounts {
    let mut counts = SlotCounts::default();
    for slot in slots {
        counts.waiting += u32::from(slot.is_free(now));
        counts.occupied += u32::from(slot.status != SlotStatus::Waiting);
        counts.unclaimed += u32::from(slot.is_unclaimed(unclaimed_before));
    }
    counts
}
