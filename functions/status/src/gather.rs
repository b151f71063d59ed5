//! Asks the database once and DynamoDB twice a region, some regions at the same time, and gives
//! up on what takes too long.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use jiff::SignedDuration;
use shared::db::DbError;
use shared::history::{History, PAGE};
use shared::ids::RegionName;
use shared::lock::LockError;
use shared::overview::{Overview, RegionOverview};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use tracing::error;

use crate::assemble::{Records, is_stale, is_watched, region_status, short};
use crate::model::{DecisionStatus, Health, RegionPage, Status};

/// Regions that DynamoDB is asked about at the same time.
const AT_ONCE: usize = 16;

/// What all questions to DynamoDB may take together; see `settings` for the rest of the
/// function's time.
const DYNAMODB_TIME: Duration = Duration::from_secs(4);

/// What an answer is made of.
pub struct Gatherer {
    pub overview: Arc<dyn Overview>,
    pub history: Arc<dyn History>,
    /// A region that is watched is stale when its newest decision is older.
    pub stale_after: SignedDuration,
}

impl std::fmt::Debug for Gatherer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gatherer")
            .field("stale_after", &self.stale_after)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Error)]
pub enum GatherError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    History(#[from] LockError),
    #[error("DynamoDB did not answer all questions in {} s", DYNAMODB_TIME.as_secs())]
    TooSlow,
}

impl Gatherer {
    /// Every region. One that DynamoDB does not tell of is told as far as it is known.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn status(&self) -> Result<Status, GatherError> {
        let rows = self.overview.regions().await?;
        let now = rows.first().map(|row| row.now);
        let until = Instant::now() + DYNAMODB_TIME;
        let regions: Vec<_> = stream::iter(rows)
            .map(|row| async move {
                let records = self.records(&row.region, until).await;
                let records = records.inspect_err(|problem| {
                    error!(region = %row.region, %problem, "a region's records cannot be read");
                });
                region_status(row, records.ok(), self.stale_after)
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let told = |region: &&crate::model::RegionStatus| region.stale == Some(true);
        let stale: Vec<_> = regions
            .iter()
            .filter(told)
            .map(|region| region.region.clone())
            .collect();
        let sound = stale.is_empty() && regions.iter().all(|region| !region.unreadable);
        Ok(Status {
            status: sound.into(),
            is_master: true,
            now,
            stale_seconds: self.stale_after.as_secs(),
            stale,
            regions,
        })
    }

    /// Whether every region that should has had a pass.
    ///
    /// # Errors
    /// When the database or DynamoDB cannot be read: then nobody knows.
    pub async fn health(&self) -> Result<Health, GatherError> {
        let rows = self.overview.regions().await?;
        let until = Instant::now() + DYNAMODB_TIME;
        let looks: Vec<_> = stream::iter(rows.iter().filter(|row| is_watched(row)))
            .map(|row| self.stale(row, until))
            .buffered(AT_ONCE)
            .collect()
            .await;
        let stale: Result<Vec<_>, _> = looks.into_iter().collect();
        let stale: Vec<_> = stale?.into_iter().flatten().collect();
        Ok(Health {
            status: stale.is_empty().into(),
            stale,
        })
    }

    /// One region with the page of its decisions below a version, or the newest; none if it has
    /// no row.
    ///
    /// # Errors
    /// When the database or DynamoDB cannot be read.
    pub async fn region(
        &self,
        region: &RegionName,
        below: Option<i64>,
    ) -> Result<Option<RegionPage>, GatherError> {
        let rows = self.overview.regions().await?;
        let Some(row) = rows.into_iter().find(|row| row.region == *region) else {
            return Ok(None);
        };
        let until = Instant::now() + DYNAMODB_TIME;
        let page = async {
            let page = self.history.decisions(region, below, PAGE);
            timeout_at(until, page)
                .await
                .map_err(|_| GatherError::TooSlow)?
                .map_err(GatherError::from)
        };
        let (records, page) = tokio::try_join!(self.records(region, until), page)?;
        let older = page
            .next
            .map(|next| format!("/regions/{region}?before={next}"));
        Ok(Some(RegionPage {
            now: row.now,
            region: region_status(row, Some(records), self.stale_after),
            decisions: page.decisions.into_iter().map(short).collect(),
            older,
        }))
    }

    /// One decision in full; none if it is not kept.
    ///
    /// # Errors
    /// When DynamoDB cannot be read.
    pub async fn decision(
        &self,
        region: &RegionName,
        version: i64,
    ) -> Result<Option<DecisionStatus>, GatherError> {
        let read = self.history.decision(region, version);
        let past = timeout_at(Instant::now() + DYNAMODB_TIME, read)
            .await
            .map_err(|_| GatherError::TooSlow)??;
        Ok(past.map(Into::into))
    }

    async fn records(&self, region: &RegionName, until: Instant) -> Result<Records, GatherError> {
        let both = async {
            tokio::try_join!(
                self.history.standing(region),
                self.history.decisions(region, None, 1)
            )
        };
        let (standing, newest) = timeout_at(until, both)
            .await
            .map_err(|_| GatherError::TooSlow)??;
        Ok(Records {
            standing,
            last: newest.decisions.into_iter().next(),
        })
    }

    /// The region's name, if it is stale.
    async fn stale(
        &self,
        row: &RegionOverview,
        until: Instant,
    ) -> Result<Option<RegionName>, GatherError> {
        let read = self.history.decided_at(&row.region);
        let decided_at = timeout_at(until, read)
            .await
            .map_err(|_| GatherError::TooSlow)??;
        let stale = is_stale(row, decided_at, self.stale_after);
        Ok(stale.then(|| row.region.clone()))
    }
}
