//! The port of the history.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use shared::history::{
    DecisionPage, History, LockItem, OpenIntent, Point, RegionRecords, StoredDecision,
};
use shared::ids::RegionName;
use shared::lock::LockError;
use shared::report::Decision;

use super::items::Held;
use super::table::FakeStore;

#[async_trait]
impl History for FakeStore {
    async fn records(&self, region: &RegionName) -> Result<RegionRecords, LockError> {
        let mut items = self.call("records")?;
        let items = items.of(region);
        let intents = items.open.values().cloned();
        Ok(RegionRecords {
            lock: items.lock.as_ref().map(lock),
            marked_by: items.wake_mark.as_ref().map(|mark| mark.by.clone()),
            open_intents: intents.map(OpenIntent::from).collect(),
            refusals: items.refusals.values().cloned().collect(),
            is_truncated: false,
        })
    }

    async fn decisions(
        &self,
        region: &RegionName,
        below: Option<i64>,
        limit: u32,
    ) -> Result<DecisionPage, LockError> {
        let mut items = self.call("decisions")?;
        let below = below.unwrap_or(i64::MAX);
        let newest_first = items.of(region).decisions.range(..below).rev();
        let taken: Vec<_> = newest_first
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .collect();
        // Like DynamoDB, which stops at the limit without checking whether there is more.
        let is_full = u32::try_from(taken.len()).is_ok_and(|taken| taken == limit);
        let last = taken.last().map(|(version, _)| **version);
        let decisions: Result<_, _> = taken
            .into_iter()
            .map(|(_, decision)| stored(decision))
            .collect();
        Ok(DecisionPage {
            decisions: decisions?,
            next: last.filter(|_| is_full),
        })
    }

    async fn decision(
        &self,
        region: &RegionName,
        version: i64,
    ) -> Result<Option<StoredDecision>, LockError> {
        let mut items = self.call("decision")?;
        items
            .of(region)
            .decisions
            .get(&version)
            .map(stored)
            .transpose()
    }

    async fn decided_at(&self, region: &RegionName) -> Result<Option<Timestamp>, LockError> {
        let mut items = self.call("decided_at")?;
        let newest = items.of(region).decisions.values().next_back();
        Ok(newest.map(|decision| decision.at))
    }

    async fn points(&self, region: &RegionName, since: Timestamp) -> Result<Vec<Point>, LockError> {
        let mut items = self.call("points")?;
        let decisions = items.of(region).decisions.values();
        let points = decisions.map(|decision| Point {
            at: decision.at,
            counts: decision.plan.counts,
        });
        let slots: BTreeMap<_, _> = points.map(|point| (Point::slot(point.at), point)).collect();
        Ok(slots
            .range(Point::slot(since)..)
            .map(|(_, point)| *point)
            .collect())
    }
}

fn lock(held: &Held) -> LockItem {
    let time = |millis| Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    LockItem {
        owner: held.owner.clone(),
        version: held.version,
        since: Some(time(held.since)),
        expires_at: time(held.expires_at),
    }
}

fn stored(decision: &Decision) -> Result<StoredDecision, LockError> {
    serde_json::from_str(&decision.to_bounded_json()).map_err(|error| LockError::BadItem {
        key: format!("DECISIONS#{}/{:020}", decision.region, decision.version),
        problem: error.to_string(),
    })
}
