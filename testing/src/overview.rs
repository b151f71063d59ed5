//! The port [`Overview`], in memory: counts that a test sets.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::civil::Date;
use shared::db::DbError;
use shared::ids::{InstanceId, RegionName};
use shared::model::{DayCost, ImageState, Instance};
use shared::overview::{
    ImageOverview, InstanceCounts, Overview, RegionOverview, RegionRow, SettingsOverview,
};

use crate::NOW;

#[derive(Debug, Default)]
pub struct FakeOverview(Mutex<Counts>);

#[derive(Debug, Default)]
pub struct Counts {
    pub regions: Vec<RegionOverview>,
    /// Ordered by id. They are returned for every region.
    pub instances: Vec<Instance>,
    /// The number of calls.
    pub calls: usize,
    /// The number of calls that count the fleet.
    pub counted: usize,
    /// Newest first. They are returned for every region.
    pub costs: Vec<DayCost>,
    pub next_error: Option<DbError>,
}

impl FakeOverview {
    pub fn of(regions: impl IntoIterator<Item = RegionOverview>) -> Self {
        Self(Mutex::new(Counts {
            regions: regions.into_iter().collect(),
            ..Counts::default()
        }))
    }

    pub fn state(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn answer(&mut self) -> Result<Vec<RegionOverview>, DbError> {
        self.calls += 1;
        match self.next_error.take() {
            Some(error) => Err(error),
            None => Ok(self.regions.clone()),
        }
    }
}

#[async_trait]
impl Overview for FakeOverview {
    async fn regions(&self) -> Result<Vec<RegionOverview>, DbError> {
        let mut counts = self.state();
        counts.counted += 1;
        counts.answer()
    }

    async fn rows(&self) -> Result<Vec<RegionRow>, DbError> {
        let regions = self.state().answer()?;
        Ok(regions.iter().map(RegionOverview::row).collect())
    }

    async fn costs(&self, _: &RegionName, from: Date, to: Date) -> Result<Vec<DayCost>, DbError> {
        let mut counts = self.state();
        counts.calls += 1;
        let asked = |cost: &&DayCost| from <= cost.day && cost.day < to;
        Ok(counts.costs.iter().filter(asked).cloned().collect())
    }

    async fn instances(
        &self,
        _: &RegionName,
        after: Option<&InstanceId>,
        limit: u32,
    ) -> Result<Vec<Instance>, DbError> {
        let mut counts = self.state();
        counts.calls += 1;
        let further = counts
            .instances
            .iter()
            .filter(|instance| after.is_none_or(|after| instance.id > *after));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(further.take(limit).cloned().collect())
    }
}

/// A region whose row was inserted at [`NOW`], with one served image.
pub fn region_overview(name: &str) -> RegionOverview {
    RegionOverview {
        region: name.into(),
        enabled: true,
        paused: false,
        algorithm: "default".to_owned(),
        settings: SettingsOverview {
            target_free: 4,
            max_instances: 10,
            scale_up_step: 1,
            scale_down_step: 1,
            heartbeat_seconds: 90,
            lost_seconds: 600,
            upgrade_surge: 0,
            upgrade_seconds: 9000,
            swap_when_warm: false,
            bake_seconds: 1800,
            monthly_budget: None,
        },
        problems: vec![],
        target: 4,
        schedules: vec![],
        created_at: NOW,
        now: NOW,
        waiting: 0,
        lines: vec![],
        no_capacity_until: None,
        last_observed: None,
        app_client_sha: Some("sha".into()),
        images: vec![image_overview("ami-1", ImageState::Current)],
    }
}

/// An image with one instance in each status except `TERMINATING`, each with two slots.
pub fn image_overview(id: &str, state: ImageState) -> ImageOverview {
    ImageOverview {
        image: id.into(),
        client_sha: "sha".into(),
        state: Some(state),
        since: Some(NOW),
        reason: None,
        instances: InstanceCounts {
            pre_connection: 1,
            active: 1,
            draining: 1,
            terminating: 0,
            open: 1,
        },
        free: 1,
        starting: 2,
        occupied: 2,
    }
}
