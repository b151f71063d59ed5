//! `assign_slot` (`…_assigning/up.sql`), without concurrent requests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use shared::assign::{AssignOutcome, AssignRefusal, AssignRequest, Assignment, ClientBuild};
use shared::ids::{ImageId, InstanceId, RegionName};
use shared::model::{ImageState, InstanceStatus, SpotNotice};

use super::tables::{SlotRow, SlotStatus, Tables, WaitingUser};

/// The fullest instance is chosen among this many instances with free slots, in the order of ids.
const PAGE: usize = 200;
/// A region is woken at most once within this many seconds.
const BUCKET: i64 = 2;

impl Tables {
    /// Assigns a slot, or says why there is none.
    pub fn assign_slot(
        &mut self,
        request: &AssignRequest,
        user_limit: u32,
        environment: &str,
        now: Timestamp,
    ) -> AssignOutcome {
        let (user, session) = (request.user.as_str(), request.session.as_str());
        if let Some(held) = self.held(user, session, now) {
            return self.assigned(&held, true);
        }
        match self.find_slot(request, user_limit, now) {
            Ok((region, slot)) => {
                // The user is served, so none of their sessions is waiting any more.
                self.waiting_users.retain(|(waiting, _), _| waiting != user);
                let image = self
                    .slots
                    .get(&slot)
                    .and_then(|slot| self.instances.get(&slot.instance_id))
                    .map(|row| row.image_id.clone());
                self.wake(&region, Some(image.as_slice()), now);
                self.assigned(&slot, false)
            }
            Err(reason) => AssignOutcome::Refused {
                reason,
                app: self.app_versions.get(environment).cloned(),
            },
        }
    }

    /// The slot that the user's session has. If it is not claimed yet, the time to claim it begins
    /// anew.
    fn held(&mut self, user: &str, session: &str, now: Timestamp) -> Option<String> {
        let (id, slot) = self
            .slots
            .iter_mut()
            .find(|(_, slot)| slot.status.is_held() && slot.is_of(user, session))?;
        if slot.status == SlotStatus::Allocated {
            slot.allocated_at = Some(now);
        }
        Some(id.clone())
    }

    fn find_slot(
        &mut self,
        request: &AssignRequest,
        user_limit: u32,
        now: Timestamp,
    ) -> Result<(RegionName, String), AssignRefusal> {
        let (user, session) = (request.user.as_str(), request.session.as_str());
        let of_user = |slot: &SlotRow| slot.user.as_ref().is_some_and(|(u, _)| u == user);
        let held = self
            .slots
            .values()
            .filter(|slot| slot.status.is_held() && of_user(slot))
            .count();
        if held >= usize::try_from(user_limit).unwrap_or(usize::MAX) {
            return Err(AssignRefusal::UserAlreadyActive);
        }
        let is_enabled = |name: &&RegionName| {
            let row = self.regions.get(*name);
            row.is_some_and(|row| row.settings.enabled)
        };
        let enabled: Vec<_> = request.regions.iter().filter(is_enabled).collect();
        if enabled.is_empty() {
            return Err(AssignRefusal::RegionNotEnabled);
        }
        let serving: Vec<_> = enabled
            .into_iter()
            .map(|region| (region, self.images_for(region, &request.client)))
            .filter(|(_, images)| !images.is_empty())
            .collect();
        let Some((first, _)) = serving.first() else {
            return Err(AssignRefusal::CommitHashMismatch);
        };
        for (region, images) in &serving {
            let Some(id) = self.free_slot(region, images, now) else {
                continue;
            };
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.status = SlotStatus::Allocated;
                slot.user = Some((user.to_owned(), session.to_owned()));
                slot.allocated_at = Some(now);
            }
            return Ok(((*region).clone(), id));
        }
        let key = (user.to_owned(), session.to_owned());
        let waits = self.waiting_users.entry(key).or_insert(WaitingUser {
            region: (*first).clone(),
            first_at: now,
            last_at: now,
        });
        waits.region = (*first).clone();
        waits.last_at = now;
        self.wake(first, None, now);
        Err(AssignRefusal::NoInstanceAvailable)
    }

    fn images_for(&self, region: &RegionName, client: &ClientBuild) -> Vec<ImageId> {
        self.images
            .iter()
            .filter(|((of, _), _)| of == region)
            .filter(|(_, image)| match client {
                ClientBuild::CurrentImage => image.state == ImageState::Current,
                ClientBuild::Sha(sha) => image.state.is_served() && image.client_sha == *sha,
            })
            .map(|((_, id), _)| id.clone())
            .collect()
    }

    /// A region's instances with free slots, ordered by id, and the number of those slots.
    fn with_room(&self, region: &RegionName) -> Vec<(&InstanceId, u32)> {
        let mut free: BTreeMap<&InstanceId, u32> = BTreeMap::new();
        for slot in self.slots.values() {
            if slot.status == SlotStatus::Waiting {
                *free.entry(&slot.instance_id).or_default() += 1;
            }
        }
        let is_here = |id: &InstanceId| self.instances.get(id).is_some_and(|i| i.region == *region);
        free.into_iter().filter(|(id, _)| is_here(id)).collect()
    }

    /// Whether users may be assigned to the instance: it is `ACTIVE`, has a fresh heartbeat and one
    /// of the images, and EC2 has not announced to take it.
    fn is_open(&self, id: &InstanceId, images: &[ImageId], now: Timestamp) -> bool {
        let Some(row) = self.instances.get(id) else {
            return false;
        };
        let has_fresh_heartbeat = self
            .heartbeats
            .get(id)
            .zip(self.heartbeat_timeout(&row.region))
            .is_some_and(|(beat, timeout)| beat.beat_at >= now - timeout);
        row.status == InstanceStatus::Active
            && row.notice != Some(SpotNotice::Interruption)
            && images.contains(&row.image_id)
            && has_fresh_heartbeat
    }

    /// The slot that is assigned next: of the fullest instance, then with the lowest id.
    fn free_slot(&self, region: &RegionName, images: &[ImageId], now: Timestamp) -> Option<String> {
        self.with_room(region).chunks(PAGE).find_map(|page| {
            let (_, id) = page
                .iter()
                .filter(|(id, _)| self.is_open(id, images, now))
                .map(|(id, free)| (free, *id))
                .min()?;
            let (slot, _) = self
                .slots_of(id)
                .find(|(_, slot)| slot.status == SlotStatus::Waiting)?;
            Some(slot.clone())
        })
    }

    /// The number of free slots on open instances of served images.
    pub fn free_slots(&self, region: &RegionName, now: Timestamp) -> u32 {
        let served: Vec<_> = self
            .images
            .iter()
            .filter(|((of, _), image)| of == region && image.state.is_served())
            .map(|((_, id), _)| id.clone())
            .collect();
        self.free_slots_on(region, &served, now)
    }

    /// The number of free slots on open instances of these images.
    pub fn free_slots_on(&self, region: &RegionName, images: &[ImageId], now: Timestamp) -> u32 {
        self.with_room(region)
            .into_iter()
            .filter(|(id, _)| self.is_open(id, images, now))
            .map(|(_, free)| free)
            .sum()
    }

    /// Wakes a region, at most once in two seconds: if these images have fewer free slots than the
    /// target, or without images in any case.
    fn wake(&mut self, region: &RegionName, images: Option<&[ImageId]>, now: Timestamp) {
        let second = now.as_second().div_euclid(BUCKET) * BUCKET;
        let bucket = Timestamp::from_second(second).unwrap_or(now);
        let target = self.regions.get(region).map(|r| r.settings.target_free);
        let is_short = images.is_none_or(|images| {
            let free = self.free_slots_on(region, images, now);
            target.is_some_and(|target| free < target)
        });
        if is_short {
            self.wakeups.insert((region.clone(), bucket));
        }
    }

    fn assigned(&self, slot_id: &str, repeated: bool) -> AssignOutcome {
        let host = self.slots.get(slot_id).map(|slot| &slot.instance_id);
        let row = host.and_then(|id| self.instances.get(id));
        AssignOutcome::Assigned(Assignment {
            slot_id: slot_id.to_owned(),
            ip: row.and_then(|row| row.ip_addr.clone()).unwrap_or_default(),
            region: row.map_or_else(|| "".into(), |row| row.region.clone()),
            instance_id: host.cloned().unwrap_or_else(|| "".into()),
            repeated,
        })
    }
}
