//! The region of a stack without a database. Its settings come from the environment, and it has
//! replicas only, which need no rows.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;
use shared::clock::Clock;
use shared::db::{DbError, Fence, Observation, RegionDatabase};
use shared::ids::{InstanceId, RegionName};
use shared::model::{DayCost, Instance};
use shared::overview::{ImageOverview, InstanceCounts, Overview, RegionOverview, RegionRow};

use crate::config::EnvironmentRegion;

/// The one region that the environment configures. Without a database there is no fence: only the
/// lock in DynamoDB prevents two passes at the same time.
pub struct EnvironmentRegions {
    region: EnvironmentRegion,
    clock: Arc<dyn Clock>,
    /// When this process started.
    since: Timestamp,
}

impl std::fmt::Debug for EnvironmentRegions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvironmentRegions")
            .field("region", &self.region.settings.name)
            .finish_non_exhaustive()
    }
}

impl EnvironmentRegions {
    pub fn new(region: EnvironmentRegion, clock: Arc<dyn Clock>) -> Self {
        let since = clock.now();
        Self {
            region,
            clock,
            since,
        }
    }

    fn observation(&self, region: &RegionName) -> Result<Observation, DbError> {
        let EnvironmentRegion {
            settings, image, ..
        } = &self.region;
        if *region != settings.name {
            return Err(DbError::UnknownRegion(region.clone()));
        }
        let now = self.clock.now();
        Ok(Observation {
            settings: settings.clone(),
            now,
            waiting: 0,
            lines: Vec::new(),
            flow: None,
            spending: None,
            watched_since: now,
            app_sha: None,
            images: vec![image.clone()],
            instances: Vec::new(),
        })
    }
}

#[async_trait]
impl RegionDatabase for EnvironmentRegions {
    async fn regions(&self) -> Result<Vec<RegionName>, DbError> {
        Ok(vec![self.region.settings.name.clone()])
    }

    async fn begin_pass(&self, fence: &Fence) -> Result<Observation, DbError> {
        self.observation(&fence.region)
    }

    async fn observe(&self, region: &RegionName) -> Result<Observation, DbError> {
        self.observation(region)
    }
}

#[async_trait]
impl Overview for EnvironmentRegions {
    async fn regions(&self) -> Result<Vec<RegionOverview>, DbError> {
        let EnvironmentRegion {
            settings,
            overview,
            image,
        } = &self.region;
        Ok(vec![RegionOverview {
            region: settings.name.clone(),
            enabled: settings.enabled,
            paused: settings.paused,
            algorithm: settings.algorithm.clone(),
            settings: overview.clone(),
            problems: settings.launch_problems.clone(),
            target: settings.target_free,
            schedules: Vec::new(),
            // The real time is not known, so it is that of this process.
            created_at: self.since,
            now: self.clock.now(),
            waiting: 0,
            lines: Vec::new(),
            no_capacity_until: None,
            last_observed: None,
            app_client_sha: None,
            images: vec![ImageOverview {
                image: image.id.clone(),
                client_sha: image.client_sha.clone(),
                state: Some(image.state),
                since: None,
                reason: None,
                instances: InstanceCounts::default(),
                free: 0,
                starting: 0,
                occupied: 0,
            }],
        }])
    }

    async fn rows(&self) -> Result<Vec<RegionRow>, DbError> {
        let regions = Overview::regions(self).await?;
        Ok(regions.iter().map(RegionOverview::row).collect())
    }

    async fn costs(&self, _: &RegionName, _: Date, _: Date) -> Result<Vec<DayCost>, DbError> {
        // There is no history.
        Ok(Vec::new())
    }

    async fn instances(
        &self,
        _: &RegionName,
        _: Option<&InstanceId>,
        _: u32,
    ) -> Result<Vec<Instance>, DbError> {
        // Replicas have no rows.
        Ok(Vec::new())
    }
}
