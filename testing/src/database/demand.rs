//! Where users in line are demand, and what passes tell them (`…_demand/up.sql`).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use shared::db::{DbError, Fence, WriteOutcome, WriteResult};
use shared::ids::{ClientSha, RegionName};
use shared::model::{ImageState, InstanceStatus, Line, Outlook};

use super::tables::{LineForecast, Tables, WaitingUser};

/// Ends of sessions are counted within this time at most,
const ENDS_WITHIN: SignedDuration = SignedDuration::from_mins(5);
/// and this many of them.
const MOST_ENDS: usize = 20;

impl Tables {
    /// Where users who ask in these regions are demand: in the first that is enabled and can launch, or
    /// in the first that is enabled.
    pub fn demand_region<'r>(
        &self,
        regions: &'r [RegionName],
        now: Timestamp,
    ) -> Option<&'r RegionName> {
        let is_enabled = |region: &&RegionName| {
            let row = self.regions.get(*region);
            row.is_some_and(|row| row.settings.enabled)
        };
        let enabled = || regions.iter().filter(is_enabled);
        let can_launch = |region: &&RegionName| {
            let none_until = self.region_capacity.get(*region);
            none_until.is_none_or(|until| *until <= now)
        };
        enabled().find(can_launch).or_else(|| enabled().next())
    }

    /// Users in line who are demand of the region, and whom launches of its current image can serve.
    pub fn demand(&self, region: &RegionName, now: Timestamp) -> u32 {
        let current = self
            .images
            .iter()
            .find(|((of, _), image)| of == region && image.state == ImageState::Current);
        let Some((_, current)) = current else {
            return 0;
        };
        let users = self
            .asking_in(region, now)
            .filter(|(_, sha, _)| **sha == current.client_sha)
            .filter(|(user, _, waits)| {
                let first = ((*user).clone(), RegionName::from(""), ClientSha::from(""));
                let rows = self.waiting_users.range(first..);
                let mut rows = rows.take_while(|((other, ..), _)| other == *user);
                !rows.any(|((_, of, _), later)| {
                    let still_asks = later.last_at >= now - self.line_time(of);
                    later.last_at > waits.last_at && still_asks
                })
            })
            .filter(|(.., waits)| self.demand_region(&waits.regions, now) == Some(region));
        count(users)
    }

    /// The region's lines, with the sessions that ended lately.
    pub(super) fn lines(&self, region: &RegionName, now: Timestamp) -> Vec<Line> {
        let mut users: BTreeMap<&ClientSha, u32> = BTreeMap::new();
        for (_, sha, _) in self.asking_in(region, now) {
            *users.entry(sha).or_default() += 1;
        }
        let lines = users.into_iter().map(|(sha, users)| {
            let slots = self.slots.values().filter(|slot| {
                let host = self.instances.get(&slot.instance_id);
                host.is_some_and(|host| {
                    host.region == *region
                        && host.client_sha == *sha
                        && host.status == InstanceStatus::Active
                })
            });
            let most = (slots.clone().count() / 2).clamp(1, MOST_ENDS);
            let mut last: Vec<_> = slots
                .filter_map(|slot| slot.replaced_at)
                .filter(|at| *at > now - ENDS_WITHIN)
                .collect();
            last.sort_unstable_by(|a, b| b.cmp(a));
            last.truncate(most);
            let ends_since = match last.last() {
                Some(first) if last.len() == most => *first,
                _ => now - ENDS_WITHIN,
            };
            Line {
                client_sha: sha.clone(),
                users,
                session_ends: count(last.iter()),
                ends_since,
            }
        });
        lines.collect()
    }

    /// Users in the region's lines who still ask.
    fn asking_in<'t>(
        &'t self,
        region: &'t RegionName,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'t String, &'t ClientSha, &'t WaitingUser)> {
        self.waiting_users
            .iter()
            .filter(move |((_, of, _), waits)| of == region && self.is_asking(region, waits, now))
            .map(|((user, _, sha), waits)| (user, sha, waits))
    }

    /// Replaces the region's forecasts, and until when it can launch nothing.
    ///
    /// # Errors
    /// [`DbError::Fenced`].
    pub fn note_forecast(
        &mut self,
        fence: &Fence,
        outlook: &Outlook,
    ) -> Result<Vec<WriteResult>, DbError> {
        self.fenced(fence)?;
        let region = &fence.region;
        self.line_forecasts.retain(|(of, _), _| of != region);
        for forecast in &outlook.forecasts {
            let steps = forecast.steps.iter().map(|step| (step.at, step.slots));
            let row = LineForecast {
                made_at: outlook.made_at,
                steps: steps.collect(),
            };
            let key = (region.clone(), forecast.client_sha.clone());
            self.line_forecasts.insert(key, row);
        }
        match outlook.no_capacity_until {
            Some(until) => self.region_capacity.insert(region.clone(), until),
            None => self.region_capacity.remove(region),
        };
        Ok(vec![WriteResult {
            id: region.to_string(),
            outcome: WriteOutcome::Done,
        }])
    }
}

fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
