//! A region without a database: what a row would say comes from the environment. There are
//! replicas only, which need no rows.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::{
    Asked, Database, DbError, Fence, KnownInstance, Observation, TerminateIf, WriteOutcome,
    WriteResult,
};
use crate::clock::Clock;
use crate::config::EnvironmentRegion;
use crate::ids::{ClientSha, ImageId, InstanceId, RegionName};
use crate::model::{ImageState, Instance, NewInstance, Notice};
use crate::overview::{ImageOverview, InstanceCounts, Overview, RegionOverview, SettingsOverview};

/// The one region that the environment names. The lock in DynamoDB is all that keeps two passes
/// apart: there is nothing here that could be fenced.
pub struct EnvironmentDatabase {
    region: EnvironmentRegion,
    clock: Arc<dyn Clock>,
    since: Timestamp,
}

impl std::fmt::Debug for EnvironmentDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvironmentDatabase")
            .field("region", &self.region.settings.name)
            .finish_non_exhaustive()
    }
}

impl EnvironmentDatabase {
    pub fn new(region: EnvironmentRegion, clock: Arc<dyn Clock>) -> Self {
        let since = clock.now();
        Self {
            region,
            clock,
            since,
        }
    }

    fn observe(&self, region: &RegionName) -> Result<Observation, DbError> {
        let EnvironmentRegion { settings, image } = &self.region;
        if *region != settings.name {
            return Err(DbError::UnknownRegion(region.clone()));
        }
        let now = self.clock.now();
        Ok(Observation {
            settings: settings.clone(),
            now,
            waiting: 0,
            watched_since: now,
            app_sha: None,
            images: vec![image.clone()],
            instances: Vec::new(),
        })
    }
}

/// No replica has a row: nothing of a pass gets here.
fn no_rows() -> DbError {
    DbError::Unavailable {
        operation: "write a row",
        reason: "this stack has no database (HASURA_URL is not set): it runs replicas only"
            .to_owned(),
    }
}

#[async_trait]
impl Database for EnvironmentDatabase {
    async fn regions(&self) -> Result<Vec<RegionName>, DbError> {
        Ok(vec![self.region.settings.name.clone()])
    }

    async fn begin_pass(&self, fence: &Fence) -> Result<Observation, DbError> {
        self.observe(&fence.region)
    }

    async fn look(&self, region: &RegionName) -> Result<Observation, DbError> {
        self.observe(region)
    }

    async fn record_instances(
        &self,
        _: &Fence,
        _: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError> {
        Err(no_rows())
    }

    async fn adopt_orphans(
        &self,
        _: &Fence,
        _: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError> {
        Err(no_rows())
    }

    async fn drain(&self, _: &Fence, _: &[InstanceId]) -> Result<Vec<WriteResult>, DbError> {
        Err(no_rows())
    }

    async fn terminate(
        &self,
        _: &Fence,
        _: &[InstanceId],
        _: TerminateIf,
    ) -> Result<Vec<WriteResult>, DbError> {
        Err(no_rows())
    }

    async fn remove(&self, _: &Fence, _: &[InstanceId]) -> Result<Vec<WriteResult>, DbError> {
        Err(no_rows())
    }

    async fn note_missing(
        &self,
        _: &Fence,
        _: &[InstanceId],
        _: &[InstanceId],
    ) -> Result<Vec<WriteResult>, DbError> {
        Err(no_rows())
    }

    async fn release_unclaimed(&self, _: &Fence) -> Result<Vec<WriteResult>, DbError> {
        Err(no_rows())
    }

    async fn move_image(
        &self,
        _: &Fence,
        _: &ImageId,
        _: (ImageState, ImageState),
        _: &str,
    ) -> Result<Vec<WriteResult>, DbError> {
        Err(no_rows())
    }

    async fn ask_upgrade(
        &self,
        _: &RegionName,
        _: &ImageId,
        _: &ClientSha,
    ) -> Result<Asked, DbError> {
        Err(no_rows())
    }

    async fn find_instance(&self, _: &InstanceId) -> Result<Option<KnownInstance>, DbError> {
        Ok(None)
    }

    async fn give_notice(&self, _: &InstanceId, _: Notice) -> Result<WriteOutcome, DbError> {
        Ok(WriteOutcome::Unknown)
    }
}

/// What the environment says to somebody who only looks.
#[async_trait]
impl Overview for EnvironmentDatabase {
    async fn regions(&self) -> Result<Vec<RegionOverview>, DbError> {
        let EnvironmentRegion { settings, image } = &self.region;
        let seconds = |wait: SignedDuration| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
        Ok(vec![RegionOverview {
            region: settings.name.clone(),
            enabled: settings.enabled,
            paused: settings.paused,
            algorithm: settings.algorithm.clone(),
            settings: SettingsOverview {
                target_free: settings.target_free,
                max_instances: settings.max_instances,
                scale_up_step: settings.scale_up_step,
                scale_down_step: settings.scale_down_step,
                heartbeat_seconds: seconds(settings.waits.heartbeat),
                lost_seconds: seconds(settings.waits.lost),
                upgrade_surge: settings.upgrades.surge,
                upgrade_seconds: seconds(settings.upgrades.deadline),
                swap_when_warm: settings.upgrades.swap_when_warm,
                bake_seconds: seconds(settings.upgrades.bake),
            },
            // Nothing says since when there is such a region: since this process looks.
            created_at: self.since,
            now: self.clock.now(),
            waiting: 0,
            looked: None,
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
