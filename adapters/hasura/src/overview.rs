//! The status page's view of the database: all regions in one request, and one region's instances
//! in pages.

use std::collections::HashMap;

use async_trait::async_trait;
use graphql_client::GraphQLQuery;
use jiff::civil::Date;
use shared::db::DbError;
use shared::ids::{InstanceId, RegionName};
use shared::model::{DayCost, Instance};
use shared::overview::{
    ImageOverview, InstanceCounts, Overview, RegionOverview, RegionRow, SettingsOverview,
};
use shared::scaling::target;
use shared::settings::Columns;

use crate::client::HasuraClient;
use crate::database::instances_after;
use crate::documents::documents;
use crate::rows;

documents! {
    "graphql/overview.graphql": ReadOverview, ReadRegionRows;
    "graphql/costs.graphql": ListCosts;
}

type CountedRegion = read_overview::ReadOverviewStatusRegions;
type ImageRow = read_overview::ReadOverviewStatusImages;

/// Reads the counts of all regions.
#[derive(Clone, Debug)]
pub struct HasuraOverview {
    pub client: HasuraClient,
    /// The environment whose app version is this stack's.
    pub environment: String,
}

#[async_trait]
impl Overview for HasuraOverview {
    async fn regions(&self) -> Result<Vec<RegionOverview>, DbError> {
        let variables = read_overview::Variables {
            environment: self.environment.clone(),
        };
        let answer = self
            .client
            .send::<ReadOverview>("read the overview of all regions", variables)
            .await?;
        let mut images: HashMap<RegionName, Vec<ImageOverview>> = HashMap::new();
        for row in answer.status_images {
            let of_region = images.entry(row.region.as_str().into()).or_default();
            of_region.push(image(row)?);
        }
        let regions = answer.status_regions.into_iter().map(|row| {
            let images = images
                .remove(&row.region.as_str().into())
                .unwrap_or_default();
            region(row, images)
        });
        regions.collect()
    }

    async fn rows(&self) -> Result<Vec<RegionRow>, DbError> {
        let variables = read_region_rows::Variables {
            environment: self.environment.clone(),
        };
        let answer = self
            .client
            .send::<ReadRegionRows>("read the rows of all regions", variables)
            .await?;
        let rows = answer.status_regions.into_iter().map(|row| RegionRow {
            region: row.region.into(),
            enabled: row.enabled,
            paused: row.paused,
            created_at: row.created_at,
            now: row.now,
        });
        Ok(rows.collect())
    }

    async fn costs(
        &self,
        region: &RegionName,
        from: Date,
        to: Date,
    ) -> Result<Vec<DayCost>, DbError> {
        let variables = list_costs::Variables {
            region: region.to_string(),
            from_day: from,
            to_day: to,
        };
        let answer = self
            .client
            .send::<ListCosts>("read the costs of a region", variables)
            .await?;
        let days = answer.list_costs.into_iter().map(|row| {
            let unpriced = serde_json::from_value(row.unpriced);
            Ok(DayCost {
                day: row.day,
                currency: row.currency,
                cost: row.cost,
                machine_seconds: row.machine_seconds,
                unpriced_seconds: row.unpriced_seconds,
                unpriced: unpriced.map_err(|error| DbError::BadRow {
                    table: "day_costs",
                    key: format!("{region} {}", row.day),
                    column: "unpriced",
                    problem: error.to_string(),
                })?,
                uncounted_hours: count(row.uncounted_hours),
            })
        });
        days.collect()
    }

    async fn instances(
        &self,
        region: &RegionName,
        after: Option<&InstanceId>,
        limit: u32,
    ) -> Result<Vec<Instance>, DbError> {
        instances_after(&self.client, region, after, limit.into()).await
    }
}

/// A count, or a column with a `CHECK`: never below 0.
fn count(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

fn region(row: CountedRegion, images: Vec<ImageOverview>) -> Result<RegionOverview, DbError> {
    let lines = rows::line_overviews(&row.region, row.lines, row.now)?;
    let columns = SettingsOverview::from_columns(&row.settings);
    // A row that passes reject has no target but its own.
    let settings = rows::settings(&row.region.as_str().into(), &row.settings, &Columns::new()).ok();
    let target = settings
        .as_ref()
        .map_or(columns.target_free, |it| target(it, row.now).slots);
    Ok(RegionOverview {
        region: row.region.into(),
        enabled: row.enabled,
        paused: row.paused,
        algorithm: row.algorithm,
        problems: rows::problems(&row.settings),
        target,
        schedules: settings.map(|it| it.schedules).unwrap_or_default(),
        settings: columns,
        created_at: row.created_at,
        now: row.now,
        waiting: count(row.waiting),
        lines,
        no_capacity_until: row.no_capacity_until,
        last_observed: row.fence_version.zip(row.looked_at),
        app_client_sha: row.app_client_sha.map(Into::into),
        images,
    })
}

fn image(row: ImageRow) -> Result<ImageOverview, DbError> {
    let state = row
        .state
        .map(|state| rows::image_state(&row.image_id, &state))
        .transpose()?;
    Ok(ImageOverview {
        image: row.image_id.into(),
        client_sha: row.client_sha.into(),
        state,
        since: row.state_since,
        reason: row.reason,
        instances: InstanceCounts {
            pre_connection: count(row.pre_connection),
            active: count(row.active),
            draining: count(row.draining),
            terminating: count(row.terminating),
            open: count(row.open),
        },
        free: count(row.free),
        starting: count(row.starting),
        occupied: count(row.occupied),
    })
}
