//! Reads what answers are made of: one database request, or three for a region's page, and two DynamoDB
//! requests per region, or three with charts. Regions are read concurrently, with a bound on the total time.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use shared::db::DbError;
use shared::doctor::Report;
use shared::doctor::ports::{ProbeError, Reports};
use shared::history::{History, PAGE, Point};
use shared::ids::RegionName;
use shared::lock::LockError;
use shared::model::DayCost;
use shared::overview::{Overview, RegionRow};
use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::error;

use crate::assemble::{Records, is_stale, is_watched, past, region_status, short};
use crate::model::{DecisionStatus, Health, Past, RegionPage, Status};
use crate::route::Part;
use crate::settings::DYNAMODB_CALL;

/// Regions that are read from DynamoDB concurrently.
const AT_ONCE: usize = 16;

/// For all requests to DynamoDB together. `settings` has the rest of the function's time.
const DYNAMODB_TIME: Duration = Duration::from_secs(4);

/// For the one request about a session, before all others: as long as one call takes at most.
const SESSION_TIME: Duration = DYNAMODB_CALL;

/// The newest decisions that the overview shows of each region.
const RECENT: u32 = 8;

/// The time range of the overview's charts.
pub(crate) const OVERVIEW_WINDOW: SignedDuration = SignedDuration::from_hours(3);

/// The time range of a region's own charts: as long as points are kept.
pub(crate) const REGION_WINDOW: SignedDuration = Point::KEPT;

/// Without regions, no pass ever runs and every user is refused.
const NO_REGION: &str = "no region is set up: insert a row into the table `regions`";

/// Instances per page.
const INSTANCES: u32 = 100;

/// How much of the history is read for each region.
#[derive(Clone, Copy, Debug)]
pub enum Depth {
    /// Its last decision.
    Last,
    /// For the overview: some decisions, and the points of its charts.
    Recent,
}

/// Reads the models of the answers.
pub struct Gatherer {
    pub overview: Arc<dyn Overview>,
    pub history: Arc<dyn History>,
    pub reports: Arc<dyn Reports>,
    /// A region that should have passes is stale when its newest decision is older.
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
    #[error("read doctor's report: {0}")]
    Report(#[from] ProbeError),
    #[error("DynamoDB did not answer in time")]
    TooSlow,
}

/// Waits for what is read or written of sessions.
///
/// # Errors
/// When it fails, or takes longer than the time for it.
pub(crate) async fn in_time<T>(
    session: impl Future<Output = Result<T, LockError>>,
) -> Result<T, GatherError> {
    let answer = timeout(SESSION_TIME, session).await;
    Ok(answer.map_err(|_| GatherError::TooSlow)??)
}

impl Gatherer {
    /// Every region, with its history. A region whose records cannot be read has only what the
    /// database knows.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn status(&self, depth: Depth) -> Result<(Status, Vec<Past>), GatherError> {
        let rows = self.overview.regions().await?;
        let now = rows.first().map(|row| row.now);
        let until = Instant::now() + DYNAMODB_TIME;
        let (regions, pasts): (Vec<_>, Vec<_>) = stream::iter(rows)
            .map(|row| async move {
                let (decisions, since) = match depth {
                    Depth::Last => (1, None),
                    Depth::Recent => (RECENT, row.now.checked_sub(OVERVIEW_WINDOW).ok()),
                };
                let records = self.records(&row.region, decisions, since, until).await;
                let records = records.inspect_err(|error| {
                    error!(region = %row.region, %error, "reading records failed");
                });
                let records = records.ok();
                let status = region_status(row, records.as_ref(), self.stale_after);
                (status, past(records))
            })
            .buffered(AT_ONCE)
            .unzip()
            .await;
        let is_stale = |region: &&crate::model::RegionStatus| region.stale == Some(true);
        let stale: Vec<_> = regions
            .iter()
            .filter(is_stale)
            .map(|region| region.region.clone())
            .collect();
        let sound = !regions.is_empty()
            && stale.is_empty()
            && regions.iter().all(|region| !region.unreadable);
        let status = Status {
            status: sound.into(),
            is_master: true,
            now,
            stale_seconds: self.stale_after.as_secs(),
            stale,
            regions,
        };
        Ok((status, pasts))
    }

    /// Whether there is a region, and every one that should have passes has a recent one. It counts no
    /// instances.
    ///
    /// # Errors
    /// When the database or DynamoDB cannot be read.
    pub async fn health(&self) -> Result<Health, GatherError> {
        let rows = self.overview.rows().await?;
        let until = Instant::now() + DYNAMODB_TIME;
        let stale: Vec<Result<_, _>> = stream::iter(rows.iter().filter(|row| is_watched(row)))
            .map(|row| self.stale(row, until))
            .buffered(AT_ONCE)
            .collect()
            .await;
        let stale: Result<Vec<_>, _> = stale.into_iter().collect();
        let stale: Vec<_> = stale?.into_iter().flatten().collect();
        let problem = rows.is_empty().then_some(NO_REGION);
        Ok(Health {
            status: (stale.is_empty() && problem.is_none()).into(),
            stale,
            problem,
        })
    }

    /// One region with a page of its instances and a page of its decisions; none if it has no row.
    ///
    /// # Errors
    /// When the database or DynamoDB cannot be read.
    pub async fn region(
        &self,
        region: &RegionName,
        part: &Part,
    ) -> Result<Option<RegionPage>, GatherError> {
        let instances = self
            .overview
            .instances(region, part.after.as_ref(), INSTANCES);
        let (rows, instances) = tokio::try_join!(self.overview.regions(), instances)?;
        let Some(row) = rows.into_iter().find(|row| row.region == *region) else {
            return Ok(None);
        };
        let now = row.now;
        let until = Instant::now() + DYNAMODB_TIME;
        let page = async {
            let page = self.history.decisions(region, part.before, PAGE);
            timeout_at(until, page)
                .await
                .map_err(|_| GatherError::TooSlow)?
                .map_err(GatherError::from)
        };
        let since = now.checked_sub(REGION_WINDOW).ok();
        let records = self.records(region, 1, since, until);
        let costs = async { Ok(self.costs(region, now, part).await?) };
        let (records, page, costs) = tokio::try_join!(records, page, costs)?;
        let is_full = u32::try_from(instances.len()).is_ok_and(|length| length == INSTANCES);
        let last = instances.last().filter(|_| is_full);
        let status = region_status(row, Some(&records), self.stale_after);
        let newest = records.decisions.first().cloned();
        Ok(Some(RegionPage {
            now,
            region: status,
            more_instances: last.map(|last| format!("/regions/{region}?after={}", last.id)),
            instances,
            decisions: page.decisions.into_iter().map(short).collect(),
            older: page
                .next
                .map(|next| format!("/regions/{region}?before={next}")),
            newest: newest.map(Into::into),
            costs,
            past: past(Some(records)),
        }))
    }

    /// The costs of the calendar month, and of the days before it that make 31. Later parts of lists have
    /// none.
    async fn costs(
        &self,
        region: &RegionName,
        now: Timestamp,
        part: &Part,
    ) -> Result<Vec<DayCost>, DbError> {
        let today = now.to_zoned(TimeZone::UTC).date();
        let tomorrow = today.saturating_add(SignedDuration::from_hours(24));
        let since = today.saturating_sub(SignedDuration::from_hours(24 * 30));
        if *part == Part::default() {
            self.overview.costs(region, since, tomorrow).await
        } else {
            Ok(Vec::new())
        }
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

    /// What doctor found when it ran last: it calls EC2, which this function may not.
    ///
    /// # Errors
    /// When DynamoDB cannot be read.
    pub async fn doctor(&self) -> Result<Option<Report>, GatherError> {
        let read = self.reports.newest();
        let report = timeout_at(Instant::now() + DYNAMODB_TIME, read).await;
        Ok(report.map_err(|_| GatherError::TooSlow)??)
    }

    /// The region's items, its newest decisions (`decisions` of them), and its points since a time, if
    /// one is given.
    async fn records(
        &self,
        region: &RegionName,
        decisions: u32,
        since: Option<Timestamp>,
        until: Instant,
    ) -> Result<Records, GatherError> {
        let points = async {
            match since {
                Some(since) => self.history.points(region, since).await,
                None => Ok(Vec::new()),
            }
        };
        let all = async {
            tokio::try_join!(
                self.history.records(region),
                self.history.decisions(region, None, decisions),
                points
            )
        };
        let (standing, newest, points) = timeout_at(until, all)
            .await
            .map_err(|_| GatherError::TooSlow)??;
        Ok(Records {
            standing,
            decisions: newest.decisions,
            points,
        })
    }

    /// The region's name, if it is stale.
    async fn stale(
        &self,
        row: &RegionRow,
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
