//! The port [`SessionHistory`], in memory: sessions and figures that a test sets.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use shared::db::DbError;
use shared::ids::RegionName;
use shared::usage::figures::RegionUsage;
use shared::usage::{Place, SessionHistory, SessionRecord};

#[derive(Debug, Default)]
pub struct FakeUsage(Mutex<Usage>);

#[derive(Debug, Default)]
struct Usage {
    sessions: Vec<SessionRecord>,
    figures: Vec<RegionUsage>,
    asked: Option<(Timestamp, Timestamp, SignedDuration)>,
    calls: usize,
    next_error: Option<DbError>,
}

impl FakeUsage {
    fn state(&self) -> MutexGuard<'_, Usage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the sessions.
    pub fn set(&self, sessions: impl IntoIterator<Item = SessionRecord>) {
        let mut sessions: Vec<_> = sessions.into_iter().collect();
        sessions.sort_by(|a, b| (a.assigned_at, &a.slot_id).cmp(&(b.assigned_at, &b.slot_id)));
        self.state().sessions = sessions;
    }

    /// Replaces the figures, whatever step they are of.
    pub fn set_figures(&self, figures: impl IntoIterator<Item = RegionUsage>) {
        let mut figures: Vec<_> = figures.into_iter().collect();
        figures.sort_by(|a, b| (&a.region, a.from).cmp(&(&b.region, b.from)));
        self.state().figures = figures;
    }

    /// The time and the step of the last call for figures.
    pub fn asked(&self) -> Option<(Timestamp, Timestamp, SignedDuration)> {
        self.state().asked
    }

    /// Makes the next call fail.
    pub fn fail(&self, error: DbError) {
        self.state().next_error = Some(error);
    }

    /// The number of calls.
    pub fn calls(&self) -> usize {
        self.state().calls
    }
}

#[async_trait]
impl SessionHistory for FakeUsage {
    async fn sessions(
        &self,
        from: Timestamp,
        to: Timestamp,
        after: Option<&Place>,
        limit: u32,
    ) -> Result<Vec<SessionRecord>, DbError> {
        let mut usage = self.state();
        usage.calls += 1;
        if let Some(error) = usage.next_error.take() {
            return Err(error);
        }
        let is_after = |it: &SessionRecord| {
            after.is_none_or(|place| {
                (it.assigned_at, &it.slot_id) > (place.assigned_at, &place.slot_id)
            })
        };
        let within = usage.sessions.iter().filter(|it| from <= it.assigned_at);
        let within = within.filter(|it| it.assigned_at < to && is_after(it));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(within.take(limit).cloned().collect())
    }
    async fn figures(
        &self,
        region: Option<&RegionName>,
        from: Timestamp,
        to: Timestamp,
        step: SignedDuration,
    ) -> Result<Vec<RegionUsage>, DbError> {
        let mut usage = self.state();
        usage.calls += 1;
        usage.asked = Some((from, to, step));
        if let Some(error) = usage.next_error.take() {
            return Err(error);
        }
        let is_asked = |it: &&RegionUsage| {
            region.is_none_or(|region| it.region == *region) && from <= it.from && it.from < to
        };
        Ok(usage.figures.iter().filter(is_asked).cloned().collect())
    }
}
