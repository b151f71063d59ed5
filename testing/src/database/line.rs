//! The line of a region and a commit (`…_line/up.sql`): users who were refused for lack of capacity
//! and still ask, in the order of their first refusals.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use shared::assign::{AssignRequest, ClientBuild, InLine};
use shared::ids::{ClientSha, ImageId, RegionName};
use shared::model::ImageState;

use super::session_ends::AVOIDED;
use super::tables::{LineForecast, Tables, WaitingUser};

/// How many users ahead are counted.
const MOST_COUNTED: usize = 1000;
/// How long a forecast is believed.
const BELIEVED: SignedDuration = SignedDuration::from_mins(2);
/// How many users who have left a refusal deletes.
const FORGOTTEN: usize = 10;

impl Tables {
    /// Within which time a user of the region's lines has to ask again.
    pub fn line_time(&self, region: &RegionName) -> SignedDuration {
        let row = self.regions.get(region);
        let seconds = row.map_or(0, |row| row.settings.line_seconds);
        SignedDuration::from_secs(seconds.into())
    }

    /// The commit in whose line a region's user waits. A developer's build waits in that of the
    /// current image; without one, it is not served.
    pub fn line_of(&self, region: &RegionName, client: &ClientBuild) -> Option<ClientSha> {
        match client {
            ClientBuild::Sha(sha) => Some(sha.clone()),
            ClientBuild::CurrentImage => self
                .images
                .iter()
                .find(|((of, _), image)| of == region && image.state == ImageState::Current)
                .map(|(_, image)| image.client_sha.clone()),
        }
    }

    /// Whether a user of the region's lines has not left.
    pub fn is_asking(&self, region: &RegionName, waits: &WaitingUser, now: Timestamp) -> bool {
        waits.last_at >= now - self.line_time(region)
    }

    /// The user's row in a line, unless they have left.
    fn asking(
        &self,
        user: &str,
        region: &RegionName,
        sha: &ClientSha,
        now: Timestamp,
    ) -> Option<&WaitingUser> {
        let key = (user.to_owned(), region.clone(), sha.clone());
        let waits = self.waiting_users.get(&key)?;
        self.is_asking(region, waits, now).then_some(waits)
    }

    /// How many users are served before this one: those who still ask and were refused first. A
    /// user who was barred from an instance at their last request does not count, because the free
    /// slots may be there.
    pub fn ahead(&self, user: &str, region: &RegionName, sha: &ClientSha, now: Timestamp) -> usize {
        let mine = self.asking(user, region, sha, now);
        let mine = mine.map(|waits| (waits.first_at, user));
        self.waiting_users
            .iter()
            .filter(|((other, of, build), _)| other != user && of == region && build == sha)
            .filter(|(_, waits)| self.is_asking(region, waits, now))
            .filter(|(_, waits)| waits.barred_until.is_none_or(|until| until <= now))
            .filter(|((other, ..), waits)| {
                mine.is_none_or(|mine| (waits.first_at, other.as_str()) < mine)
            })
            .count()
    }

    /// Whether there is a free slot for the user when everybody ahead has got one. `images` are
    /// those that serve the user.
    pub(super) fn may_take(
        &self,
        request: &AssignRequest,
        region: &RegionName,
        images: &[ImageId],
        now: Timestamp,
    ) -> bool {
        let Some(sha) = self.line_of(region, &request.client) else {
            return false;
        };
        let ahead = self.ahead(request.user.as_str(), region, &sha, now);
        ahead == 0 || self.free_slots_on(region, images, now) as usize > ahead
    }

    /// How long the user has waited in a line.
    pub(super) fn waited(
        &self,
        request: &AssignRequest,
        region: &RegionName,
        now: Timestamp,
    ) -> SignedDuration {
        self.line_of(region, &request.client)
            .and_then(|sha| self.asking(request.user.as_str(), region, &sha, now))
            .map(|waits| now.duration_since(waits.first_at))
            .unwrap_or_default()
    }

    /// Adds a refused user to the line of each region that serves them, or notes that they still
    /// ask there. The first of the regions is woken.
    pub(super) fn wait_in_line(
        &mut self,
        request: &AssignRequest,
        regions: &[RegionName],
        now: Timestamp,
    ) -> InLine {
        let user = request.user.as_str();
        let barred_until = self.barred_until(user, now);
        let lines: Vec<_> = regions
            .iter()
            .filter_map(|region| Some((region, self.line_of(region, &request.client)?)))
            .collect();
        let mut begun_anew = Vec::new();
        for (region, sha) in lines.iter().cloned() {
            let first_at = self.asking(user, region, &sha, now);
            let first_at = first_at.map_or(now, |waits| waits.first_at);
            let waits = WaitingUser {
                session: request.session.to_string(),
                regions: regions.to_vec(),
                first_at,
                last_at: now,
                barred_until,
            };
            let key = (user.to_owned(), region.clone(), sha);
            let before = self.waiting_users.insert(key.clone(), waits);
            begun_anew.extend(
                before
                    .filter(|it| it.last_at < first_at)
                    .map(|it| (key, it)),
            );
        }
        // When all rows are as they are now: who still asks in one region has not left.
        self.note_unserved(&begun_anew, None, now);
        let place = self.in_line(request, regions, now);
        for (region, sha) in lines {
            let gone = self.gone(user, region, &sha, now);
            self.leave_lines(|key, _| gone.contains(key), None, now);
        }
        let demand = self.demand_region(regions, now);
        let woken: BTreeSet<_> = regions.first().into_iter().chain(demand).collect();
        for region in woken {
            self.wake(region, None, now);
        }
        place
    }

    /// Until when the user cannot get an instance that failed them.
    fn barred_until(&self, user: &str, now: Timestamp) -> Option<Timestamp> {
        self.failed_sessions
            .iter()
            .filter(|failed| failed.user == user && failed.failed_at > now - AVOIDED)
            .filter_map(|failed| failed.barred_until)
            .filter(|until| *until > now)
            .max()
    }

    /// Where the user is in line, in the region that serves them first: with the least estimate,
    /// then with the least place, then in their own order.
    fn in_line(&self, request: &AssignRequest, regions: &[RegionName], now: Timestamp) -> InLine {
        let user = request.user.as_str();
        let of_region = |region: &RegionName| {
            let sha = self.line_of(region, &request.client)?;
            let ahead = self.ahead(user, region, &sha, now).min(MOST_COUNTED);
            let place = u32::try_from(ahead + 1).unwrap_or(u32::MAX);
            let forecast = self.line_forecasts.get(&(region.clone(), sha));
            let line = self.line_time(region).as_secs();
            Some(InLine {
                place,
                estimate_seconds: forecast.and_then(|forecast| forecast.estimate(place, now)),
                line_seconds: u32::try_from(line).unwrap_or(u32::MAX),
            })
        };
        let lines = regions.iter().filter_map(of_region);
        let first = lines.min_by_key(|line| {
            let estimate = line.estimate_seconds;
            (estimate.is_none(), estimate, line.place)
        });
        // Every region that serves the user has a line for them.
        first.unwrap_or(InLine {
            place: 1,
            estimate_seconds: None,
            line_seconds: 0,
        })
    }

    /// Some of the users ahead who have left.
    fn gone(
        &self,
        user: &str,
        region: &RegionName,
        sha: &ClientSha,
        now: Timestamp,
    ) -> Vec<(String, RegionName, ClientSha)> {
        let mine = self.asking(user, region, sha, now);
        let mine = mine.map(|waits| (waits.first_at, user));
        let mut gone: Vec<_> = self
            .waiting_users
            .iter()
            .filter(|((_, of, build), _)| of == region && build == sha)
            .filter(|(_, waits)| !self.is_asking(region, waits, now))
            .map(|(key, waits)| (waits.first_at, key))
            .filter(|(first_at, (other, ..))| {
                mine.is_none_or(|mine| (*first_at, other.as_str()) < mine)
            })
            .collect();
        gone.sort();
        let gone = gone.into_iter().take(FORGOTTEN);
        gone.map(|(_, key)| key.clone()).collect()
    }

    /// Deletes the users who have left a region's lines.
    pub(super) fn prune_lines(&mut self, region: &RegionName, now: Timestamp) {
        let oldest = now - self.line_time(region);
        self.leave_lines(
            |(_, of, _), waits| of == region && waits.last_at < oldest,
            None,
            now,
        );
    }
}

impl LineForecast {
    /// In how many seconds the user at a place is expected to be served.
    fn estimate(&self, place: u32, now: Timestamp) -> Option<u32> {
        if self.made_at < now - BELIEVED {
            return None;
        }
        let expected = |(at, _): &&(Timestamp, u32)| *at <= now;
        let passed = self.steps.iter().rev().find(expected);
        let passed = passed.map_or(0, |(_, slots)| *slots);
        let (at, _) = self
            .steps
            .iter()
            .find(|(_, slots)| slots.saturating_sub(passed) >= place)?;
        let micros = at.duration_since(now).as_micros();
        let seconds = u32::try_from(micros.max(0).unsigned_abs().div_ceil(1_000_000));
        Some(seconds.unwrap_or(u32::MAX).max(1))
    }
}
