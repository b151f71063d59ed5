//! Who waits for a slot, and in which order they are served.
//!
//! The check keeps lines of its own, made from the answers to users: it does not read those of the
//! database.

use std::collections::BTreeMap;

use jiff::Timestamp;
use shared::assign::{AssignRequest, ClientBuild, InLine};
use shared::ids::{ClientSha, InstanceId, RegionName};
use testing::invariants::line::{Line, may_be_served};
use testing::{SlotRow, SlotStatus, Tables};

use super::rule::{Check, Violation};
use crate::effects::Effect;

type LineKey = (RegionName, ClientSha);

/// The lines of all regions and commits.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: BTreeMap<LineKey, Line>,
    /// The last refusal of each user in each line.
    refused: BTreeMap<String, BTreeMap<LineKey, Refusal>>,
}

/// A refusal of a user.
#[derive(Clone, Debug)]
struct Refusal {
    at: Timestamp,
    /// The lines that the user joined, in their own order.
    joined: Vec<LineKey>,
}

/// The state around an answer to a user.
#[derive(Clone, Copy)]
struct Answer<'a> {
    request: &'a AssignRequest,
    /// The slots before the answer.
    before: &'a BTreeMap<String, SlotRow>,
    /// All tables after it.
    tables: &'a Tables,
    now: Timestamp,
}

impl Lines {
    /// `before` are the slots before the step, and `tables` those after it.
    pub(super) fn check_effect(
        &mut self,
        effect: &Effect,
        before: &BTreeMap<String, SlotRow>,
        tables: &Tables,
        now: Timestamp,
        found: &mut Vec<Violation>,
    ) {
        let answer = |request| Answer {
            request,
            before,
            tables,
            now,
        };
        match effect {
            Effect::SlotAssigned {
                request,
                slot,
                repeated: false,
            } => self.check_assigned(answer(request), slot, found),
            Effect::UserRefused { request, in_line } => {
                self.check_refused(answer(request), *in_line, found);
            }
            Effect::PassBegan { fence, waiting } => {
                self.check_demand(&fence.region, *waiting, tables, now, found);
            }
            _ => {}
        }
    }

    /// The line in which a region's user waits, without those who have left it.
    fn line(&mut self, answer: Answer<'_>, region: &RegionName) -> Option<&mut Line> {
        let sha = answer.tables.line_of(region, &answer.request.client)?;
        let line = self.lines.entry((region.clone(), sha)).or_default();
        let oldest = answer.now - answer.tables.line_time(region);
        line.remove_left(oldest.as_microsecond());
        Some(line)
    }

    fn check_assigned(&mut self, answer: Answer<'_>, slot: &str, found: &mut Vec<Violation>) {
        let (tables, now_us) = (answer.tables, answer.now.as_microsecond());
        let user = answer.request.user.as_str();
        let given = tables.slots.get(slot);
        let host = given.and_then(|slot| tables.instances.get(&slot.instance_id));
        let Some((given, region)) = given.zip(host.map(|host| &host.region)) else {
            return;
        };
        let Some(line) = self.line(answer, region) else {
            return;
        };
        let ahead = line.ahead(user, now_us);
        let free = answer.free_before(region);
        if !may_be_served(ahead.len(), free) {
            let text = format!("{user} got {slot} of {free} free in {region} before {ahead:?}");
            found.push(Violation::new(Check::NobodyOvertaken, text));
        }
        let waited_us = line.first_refusal(user).map_or(0, |first| now_us - first);
        if given.waited.as_micros() != i128::from(waited_us) {
            let text = format!("{user} waited {waited_us} µs and not {}", given.waited);
            found.push(Violation::new(Check::ServedUserLeavesLines, text));
        }
        for line in self.lines.values_mut() {
            line.remove(user);
        }
        self.refused.remove(user);
        if let Some((_, region, sha)) = tables.waiting_users.keys().find(|(of, ..)| of == user) {
            let text = format!("{user} got {slot} and still waits in {region} for {sha}");
            found.push(Violation::new(Check::ServedUserLeavesLines, text));
        }
    }

    fn check_refused(&mut self, answer: Answer<'_>, in_line: InLine, found: &mut Vec<Violation>) {
        let now_us = answer.now.as_microsecond();
        let user = answer.request.user.as_str();
        let barred = answer.barred();
        let barred_until_us = barred.values().max().map(|until| until.as_microsecond());
        let mut places = vec![];
        let mut joined = vec![];
        for region in answer.serving() {
            let free = answer.free_after(region);
            let Some(line) = self.line(answer, region) else {
                continue;
            };
            let ahead = line.ahead(user, now_us).len();
            let kept = free.iter().find(|(_, host)| !barred.contains_key(host));
            if let Some((slot, _)) = kept
                && may_be_served(ahead, free.len())
            {
                let (all, place) = (free.len(), ahead + 1);
                let text = format!("{user} at place {place} did not get {slot} of {all} free");
                found.push(Violation::new(Check::NoFreeSlotKept, text));
            }
            line.refuse(user, now_us, barred_until_us);
            // Who joins stands behind those who joined in the same moment, in the order of the users.
            places.push(line.ahead(user, now_us).len() + 1);
            let sha = answer.tables.line_of(region, &answer.request.client);
            joined.extend(sha.map(|sha| (region.clone(), sha)));
        }
        let refusals = self.refused.entry(user.to_owned()).or_default();
        for key in &joined {
            let refusal = Refusal {
                at: answer.now,
                joined: joined.clone(),
            };
            refusals.insert(key.clone(), refusal);
        }
        if !places.contains(&(in_line.place as usize)) {
            let text = format!("{user} is at {places:?} and not at {}", in_line.place);
            found.push(Violation::new(Check::PlaceIsTrue, text));
        }
    }
}

impl Lines {
    /// A pass counted as many users as are demand of the region, and whom its current image serves.
    fn check_demand(
        &mut self,
        region: &RegionName,
        counted: u32,
        tables: &Tables,
        now: Timestamp,
        found: &mut Vec<Violation>,
    ) {
        let is_asking =
            |(region, _): &LineKey, refusal: &Refusal| refusal.at >= now - tables.line_time(region);
        let current = tables.line_of(region, &ClientBuild::CurrentImage);
        let key = current.map(|sha| (region.clone(), sha));
        let (mut least, mut most) = (0, 0);
        for refusals in self.refused.values() {
            let here = key.as_ref().and_then(|key| refusals.get(key));
            let here = here.filter(|it| key.as_ref().is_some_and(|key| is_asking(key, it)));
            let Some(here) = here.filter(|it| demand_line(&it.joined, tables, now) == key.as_ref())
            else {
                continue;
            };
            // Only the last request counts. A row of a user who has left may be deleted or not.
            let mut later = refusals.iter().filter(|(_, later)| later.at > here.at);
            least += u32::from(later.clone().next().is_none());
            most += u32::from(!later.any(|(key, later)| is_asking(key, later)));
        }
        if !(least..=most).contains(&counted) {
            let text = format!("{counted} users are demand of {region} and not {least} to {most}");
            found.push(Violation::new(Check::DemandOnce, text));
        }
    }
}

/// The line in which a user is demand: that of their first region that can launch.
fn demand_line<'l>(lines: &'l [LineKey], tables: &Tables, now: Timestamp) -> Option<&'l LineKey> {
    let is_enabled = |(region, _): &&LineKey| tables.regions[region].settings.enabled;
    let can_launch = |(region, _): &&LineKey| {
        let none_until = tables.region_capacity.get(region);
        none_until.is_none_or(|until| *until <= now)
    };
    let enabled = || lines.iter().filter(is_enabled);
    enabled().find(can_launch).or_else(|| enabled().next())
}

impl<'a> Answer<'a> {
    /// The regions whose lines the user joins.
    fn serving(self) -> impl Iterator<Item = &'a RegionName> {
        let tables = self.tables;
        let is_enabled = |region: &RegionName| tables.regions[region].settings.enabled;
        let regions = self.request.regions.iter();
        regions.filter(move |region| {
            is_enabled(region) && !tables.images_for(region, &self.request.client).is_empty()
        })
    }

    /// The instances of a region to which the user could be assigned if no other user waited.
    fn takes_user(self, region: &RegionName) -> impl Fn(&InstanceId) -> bool + use<'a> {
        let Self { tables, now, .. } = self;
        let images = tables.images_for(region, &self.request.client);
        let region = region.clone();
        move |id| {
            let row = tables.instances.get(id);
            row.is_some_and(|row| row.region == region && images.contains(&row.image_id))
                && tables.takes_users(id, now)
        }
    }

    /// The number of slots that were free for the user before the answer, with the one that their
    /// session gave back.
    fn free_before(self, region: &RegionName) -> usize {
        let (user, session) = (self.request.user.as_str(), self.request.session.as_str());
        let is_given_back =
            |slot: &SlotRow| slot.status == SlotStatus::Allocated && slot.is_of(user, session);
        let takes_user = self.takes_user(region);
        let slots = self.before.values();
        let free = slots.filter(|slot| slot.is_free(self.now) || is_given_back(slot));
        free.filter(|slot| takes_user(&slot.instance_id)).count()
    }

    /// The slots that are free for the user after the answer, with their instances.
    fn free_after(self, region: &RegionName) -> Vec<(&'a String, &'a InstanceId)> {
        let takes_user = self.takes_user(region);
        let slots = self.tables.slots.iter();
        let free = slots.filter(|(_, slot)| slot.is_free(self.now));
        let free = free.filter(|(_, slot)| takes_user(&slot.instance_id));
        free.map(|(id, slot)| (id, &slot.instance_id)).collect()
    }

    /// The instances that the user cannot get, because they failed the user, and until when.
    fn barred(self) -> BTreeMap<&'a InstanceId, Timestamp> {
        let user = self.request.user.as_str();
        let failed = self.tables.failed_sessions.iter();
        let failed = failed.filter(|failed| failed.user == user);
        failed
            .filter_map(|failed| Some((&failed.instance_id, failed.barred_until?)))
            .filter(|(_, until)| *until > self.now)
            .collect()
    }
}
