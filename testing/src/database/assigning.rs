//! `assign_slot` (`…_line/up.sql`), without concurrent requests.

use std::cmp::Reverse;
use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use shared::assign::{
    AssignOutcome, AssignRefusal, AssignRequest, Assignment, ClientBuild, HeldSession,
    SessionLimits,
};
use shared::ids::{ImageId, InstanceId, RegionName};
use shared::model::{ImageState, InstanceStatus};

use super::tables::{InstanceRow, SlotRow, SlotStatus, Tables};

/// A region is woken at most once within this many seconds.
const BUCKET: i64 = 2;

/// Why no slot was found.
enum Refusal {
    Reason(AssignRefusal),
    /// These regions serve the user, but have no slot for them.
    NoSlot(Vec<RegionName>),
}

/// The free slots of an instance.
struct Room<'t> {
    host: &'t InstanceRow,
    free: u32,
    /// The one with the lowest id.
    first: &'t str,
    /// Whether sessions on some of them were short lately.
    was_short: bool,
}

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
        let held = self.held_by(user);
        let held: Vec<_> = held.map(|(id, slot)| (id.clone(), slot.clone())).collect();
        let own = held.iter().find(|(_, slot)| slot.is_of(user, session));
        let others = held.len() - usize::from(own.is_some());
        let may_have_more = others < usize::try_from(user_limit).unwrap_or(usize::MAX);
        let outcome = self.assign_or_refuse(request, own, may_have_more, environment, now);
        if let Some((id, slot)) = own {
            self.record_session(id, slot, SlotStatus::Waiting, now);
        }
        if let AssignOutcome::Assigned(assignment) = &outcome
            && request.limits != SessionLimits::default()
            && let Some(slot) = self.slots.get_mut(&assignment.slot_id)
            && slot.status == SlotStatus::Allocated
        {
            slot.limits = request.limits;
        }
        outcome
    }

    /// `held` is the slot that the session has. `may_have_more` says whether the user's other sessions
    /// leave room for it.
    fn assign_or_refuse(
        &mut self,
        request: &AssignRequest,
        held: Option<&(String, SlotRow)>,
        may_have_more: bool,
        environment: &str,
        now: Timestamp,
    ) -> AssignOutcome {
        let user = request.user.as_str();
        let nearest = self.enabled(request).first().copied().cloned();
        if let Some((id, slot)) = held
            && (slot.status != SlotStatus::Allocated
                || (self.takes_users(&slot.instance_id, now) && !self.is_held_too_long(slot, now)))
        {
            self.renew(id, now);
            return self.assigned(id, true, nearest);
        }
        // Nobody connected to this slot yet, and its instance is silent or leaves, or the user had it
        // for long enough.
        if let Some((id, slot)) = held {
            let free = self.release(slot, now);
            self.slots.insert(id.clone(), free);
        }
        let found = self.find_slot(request, may_have_more, now);
        // There is no other, and an instance that leaves still takes this user.
        if let (Err(_), Some((id, slot))) = (&found, held)
            && self.is_alive(&slot.instance_id, now)
            && !self.is_held_too_long(slot, now)
        {
            let free_from = self.slots.get(id).and_then(|slot| slot.free_from);
            // What the next user must not have is forgotten when the slot is released.
            let kept = SlotRow {
                free_from,
                limits: SessionLimits::default(),
                ..slot.clone()
            };
            self.slots.insert(id.clone(), kept);
            self.renew(id, now);
            return self.assigned(id, true, nearest);
        }
        match found {
            Ok((region, slot)) => {
                let waited = self.waited(request, &region, now);
                if let Some(slot) = self.slots.get_mut(&slot) {
                    slot.waited = waited;
                }
                // The user is served, so none of their sessions is waiting any more.
                self.leave_lines(|(waiting, ..), _| waiting == user, Some(waited), now);
                let image = self
                    .slots
                    .get(&slot)
                    .and_then(|slot| self.instances.get(&slot.instance_id))
                    .map(|row| row.image_id.clone());
                self.wake(&region, Some(image.as_slice()), now);
                self.assigned(&slot, false, nearest)
            }
            Err(refusal) => AssignOutcome::Refused {
                app: match &refusal {
                    Refusal::Reason(
                        AssignRefusal::CommitHashMismatch | AssignRefusal::NoImageServed,
                    ) => self.app_versions.get(environment).cloned(),
                    _ => None,
                },
                held: match &refusal {
                    Refusal::Reason(AssignRefusal::UserAlreadyActive) => self.held_sessions(user),
                    _ => vec![],
                },
                reason: match refusal {
                    Refusal::Reason(reason) => reason,
                    Refusal::NoSlot(serving) => AssignRefusal::NoInstanceAvailable(
                        self.wait_in_line(request, &serving, now),
                    ),
                },
            },
        }
    }

    /// The sessions that hold the user's slots, the first assigned one first.
    fn held_sessions(&self, user: &str) -> Vec<HeldSession> {
        let held = self.held_by(user).filter_map(|(id, slot)| {
            let (_, session) = slot.user.as_ref()?;
            let host = self.instances.get(&slot.instance_id)?;
            let held = HeldSession {
                session_id: session.clone(),
                region: host.region.clone(),
            };
            Some((slot.first_allocated_at, id, held))
        });
        let mut held: Vec<_> = held.collect();
        held.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        held.into_iter().map(|(_, _, held)| held).collect()
    }

    /// The slots that the user's sessions have, ordered by id.
    fn held_by(&self, user: &str) -> impl Iterator<Item = (&String, &SlotRow)> {
        let is_theirs =
            move |slot: &SlotRow| slot.user.as_ref().is_some_and(|(other, _)| other == user);
        let slots = self.slots.iter();
        slots.filter(move |(_, slot)| slot.status.is_held() && is_theirs(slot))
    }

    /// If the slot is not claimed yet, the time to claim it begins anew, as far as it may last.
    fn renew(&mut self, id: &str, now: Timestamp) {
        let host = self.slots.get(id).map(|slot| &slot.instance_id);
        let region = host.and_then(|host| self.instances.get(host));
        let claim = region.map(|row| self.claim_period(&row.region));
        let slot = self.slots.get_mut(id);
        if let Some(slot) = slot.filter(|slot| slot.status == SlotStatus::Allocated) {
            let last = slot.first_allocated_at.zip(claim);
            let last = last.map_or(now, |(first, claim)| first + claim * 2);
            slot.allocated_at = slot.allocated_at.max(Some(now.min(last)));
        }
    }

    /// The requested regions that are enabled, each once.
    fn enabled<'r>(&self, request: &'r AssignRequest) -> Vec<&'r RegionName> {
        let is_enabled = |name: &&RegionName| {
            let row = self.regions.get(*name);
            row.is_some_and(|row| row.settings.enabled)
        };
        let mut enabled: Vec<&RegionName> = vec![];
        for region in request.regions.iter().filter(is_enabled) {
            if !enabled.contains(&region) {
                enabled.push(region);
            }
        }
        enabled
    }

    /// Whether the region has an image that users are assigned to.
    fn serves_images(&self, region: &RegionName) -> bool {
        self.images
            .iter()
            .any(|((of, _), image)| of == region && image.state.is_served())
    }

    fn find_slot(
        &mut self,
        request: &AssignRequest,
        may_have_more: bool,
        now: Timestamp,
    ) -> Result<(RegionName, String), Refusal> {
        let (user, session) = (request.user.as_str(), request.session.as_str());
        if !may_have_more {
            return Err(Refusal::Reason(AssignRefusal::UserAlreadyActive));
        }
        let enabled = self.enabled(request);
        if enabled.is_empty() {
            return Err(Refusal::Reason(AssignRefusal::RegionNotEnabled));
        }
        let serving: Vec<_> = enabled
            .iter()
            .map(|region| (*region, self.images_for(region, &request.client)))
            .filter(|(_, images)| !images.is_empty())
            .collect();
        if serving.is_empty() {
            let is_outdated = matches!(request.client, ClientBuild::Sha(_))
                && enabled.iter().any(|region| self.serves_images(region));
            return Err(Refusal::Reason(if is_outdated {
                AssignRefusal::CommitHashMismatch
            } else {
                AssignRefusal::NoImageServed
            }));
        }
        // First on instances that did not fail the user lately.
        let (avoid, barred) = self.failed_hosts(user, now);
        for avoid in [&avoid, &barred] {
            for (region, images) in &serving {
                if !self.may_take(request, region, images, now) {
                    continue;
                }
                let Some(id) = self.free_slot(region, images, avoid, now) else {
                    continue;
                };
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.status = SlotStatus::Allocated;
                    slot.user = Some((user.to_owned(), session.to_owned()));
                    slot.allocated_at = Some(now);
                    slot.first_allocated_at = Some(now);
                }
                return Ok(((*region).clone(), id));
            }
        }
        let serving = serving.iter().map(|(region, _)| (*region).clone());
        Err(Refusal::NoSlot(serving.collect()))
    }

    /// The images that serve the client, in the order in which their instances are searched: the
    /// current one first, then the newest.
    pub fn images_for(&self, region: &RegionName, client: &ClientBuild) -> Vec<ImageId> {
        let mut images: Vec<_> = self
            .images
            .iter()
            .filter(|((of, _), _)| of == region)
            .map(|(_, image)| image)
            .filter(|image| match client {
                ClientBuild::CurrentImage => image.state == ImageState::Current,
                ClientBuild::Sha(sha) => image.state.is_served() && image.client_sha == *sha,
            })
            .collect();
        images.sort_by_key(|image| {
            let is_current = image.state == ImageState::Current;
            (!is_current, Reverse(image.since), &image.id)
        });
        images.iter().map(|image| image.id.clone()).collect()
    }

    /// A region's free slots with their instances, ordered by the slots' ids.
    fn free_in<'t>(
        &'t self,
        region: &'t RegionName,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'t String, &'t SlotRow, &'t InstanceRow)> {
        let free = self.slots.iter().filter(move |(_, slot)| slot.is_free(now));
        free.filter_map(move |(id, slot)| {
            let host = self.instances.get(&slot.instance_id)?;
            (host.region == *region).then_some((id, slot, host))
        })
    }

    /// A region's instances with free slots.
    fn with_room<'t>(
        &'t self,
        region: &'t RegionName,
        now: Timestamp,
    ) -> HashMap<&'t InstanceId, Room<'t>> {
        let mut rooms: HashMap<_, Room<'_>> = HashMap::new();
        for (id, slot, host) in self.free_in(region, now) {
            let room = rooms.entry(&slot.instance_id).or_insert(Room {
                host,
                free: 0,
                first: id,
                was_short: false,
            });
            room.free += 1;
            room.was_short |= slot.was_short(now);
        }
        rooms
    }

    /// Whether users may be assigned to the instance: it is `ACTIVE`, has a fresh heartbeat and one
    /// of the images, if some are given, and EC2 has not announced to take it.
    fn is_open(
        &self,
        id: &InstanceId,
        row: &InstanceRow,
        images: Option<&[ImageId]>,
        now: Timestamp,
    ) -> bool {
        let is_served = images.is_none_or(|images| images.contains(&row.image_id));
        is_served && row.is_in_service() && self.has_fresh_heartbeat(id, row, now)
    }

    /// Whether users may be assigned to the instance, whatever image it runs.
    pub fn takes_users(&self, id: &InstanceId, now: Timestamp) -> bool {
        let row = self.instances.get(id);
        row.is_some_and(|row| self.is_open(id, row, None, now))
    }

    fn has_fresh_heartbeat(&self, id: &InstanceId, row: &InstanceRow, now: Timestamp) -> bool {
        self.heartbeats
            .get(id)
            .zip(self.heartbeat_timeout(&row.region))
            .is_some_and(|(beat, timeout)| beat.beat_at >= now - timeout)
    }

    /// Whether a user could still connect to the instance, though no other is assigned to it.
    pub fn is_alive(&self, id: &InstanceId, now: Timestamp) -> bool {
        self.instances.get(id).is_some_and(|row| {
            matches!(
                row.status,
                InstanceStatus::Active | InstanceStatus::Draining
            ) && self.has_fresh_heartbeat(id, row, now)
        })
    }

    /// The slot that is assigned next: of the first image that has one, of the fullest instance,
    /// then with the lowest id. Instances with short sessions come last. PostgreSQL finds the
    /// fullest instance among those of the first 16 free slots, and the fake has fewer.
    fn free_slot(
        &self,
        region: &RegionName,
        images: &[ImageId],
        avoid: &[InstanceId],
        now: Timestamp,
    ) -> Option<String> {
        let with_room = self.with_room(region, now);
        images.iter().find_map(|image| {
            let image = std::slice::from_ref(image);
            let (.., slot) = with_room
                .iter()
                .filter(|(id, room)| {
                    self.is_open(id, room.host, Some(image), now) && !avoid.contains(id)
                })
                .map(|(id, room)| (room.was_short, room.free, *id, room.first))
                .min()?;
            Some(slot.to_owned())
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
        let free = self.free_in(region, now);
        let open =
            free.filter(|(_, slot, host)| self.is_open(&slot.instance_id, host, Some(images), now));
        u32::try_from(open.count()).unwrap_or(u32::MAX)
    }

    /// Wakes a region, at most once in two seconds: if these images have fewer free slots than the
    /// target, if the region is adaptive and no pass came or was woken for a third of a minute, or without images
    /// in any case.
    pub(super) fn wake(&mut self, region: &RegionName, images: Option<&[ImageId]>, now: Timestamp) {
        let second = now.as_second().div_euclid(BUCKET) * BUCKET;
        let bucket = Timestamp::from_second(second).unwrap_or(now);
        let target = self.regions.get(region).map(|r| r.settings.target_free);
        let target = usize::try_from(target.unwrap_or(0)).unwrap_or(usize::MAX);
        let is_short = images.is_none_or(|images| {
            // Those that have fallen silent count: passes notice it by the time.
            let counted = self
                .free_in(region, now)
                .filter(|(.., host)| host.is_in_service() && images.contains(&host.image_id));
            // Nothing depends on how many there are beyond the target.
            counted.take(target).count() < target
                || (self.is_adaptive(region) && !self.is_watched(region, now))
        });
        if is_short {
            self.wakeups.insert((region.clone(), bucket));
        }
    }

    /// Whether a pass observed the region or was woken in the last third of the time between scheduled ones.
    /// Nothing in the database knows the target of an adaptive region.
    fn is_watched(&self, region: &RegionName, now: Timestamp) -> bool {
        let since = now - SignedDuration::from_millis(self.step_seconds(region) * 1000 / 3);
        let mut wakeups = self.wakeups.iter().rev();
        let fence = self.fences.get(region);
        fence.is_some_and(|fence| fence.last_pass_at > Some(since))
            || wakeups.any(|(of, bucket)| of == region && *bucket > since)
    }

    fn assigned(
        &self,
        slot_id: &str,
        repeated: bool,
        nearest: Option<RegionName>,
    ) -> AssignOutcome {
        let host = self.slots.get(slot_id).map(|slot| &slot.instance_id);
        let row = host.and_then(|id| self.instances.get(id));
        AssignOutcome::Assigned(Assignment {
            slot_id: slot_id.to_owned(),
            ip: row.and_then(|row| row.ip_addr.clone()).unwrap_or_default(),
            region: row.map_or_else(|| "".into(), |row| row.region.clone()),
            instance_id: host.cloned().unwrap_or_else(|| "".into()),
            repeated,
            nearest,
            waited: self
                .slots
                .get(slot_id)
                .map(|slot| slot.waited)
                .unwrap_or_default(),
        })
    }
}
