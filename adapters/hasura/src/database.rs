//! Reading a region for a pass, in one transaction.

use async_trait::async_trait;
use graphql_client::GraphQLQuery;
use shared::db::{DbError, Fence, Observation, RegionDatabase};
use shared::ids::{InstanceId, RegionName};
use shared::model::Instance;
use shared::settings::Columns;

use crate::client::HasuraClient;
use crate::documents::documents;
use crate::rows;

/// The most instances in one page of an observation.
const PAGE: i64 = 1000;

documents! {
    "graphql/begin_pass.graphql": BeginPass, Look;
    "graphql/more_instances.graphql": MoreInstances;
    "graphql/regions.graphql": Regions;
}

/// Converts an answer into an [`Observation`]. A macro, because each operation has its own types
/// for the same fragments.
macro_rules! observation {
    ($database:expr, $region:expr, $answer:expr) => {{
        let answer = $answer;
        let row = answer
            .observe_region
            .into_iter()
            .next()
            .ok_or_else(|| DbError::UnknownRegion($region.clone()))?;
        let images = answer
            .observe_images
            .into_iter()
            .map(|image| {
                rows::image(
                    image.image_id,
                    image.client_sha,
                    &image.state,
                    image.state_since,
                )
            })
            .collect::<Result<_, _>>()?;
        let mut instances = Vec::with_capacity(answer.observe_instances.len());
        for row in answer.observe_instances {
            instances.push(rows::instance!(row)?);
        }
        Ok(Observation {
            settings: rows::settings($region, &row.settings, &$database.defaults)?,
            now: row.now,
            waiting: u32::try_from(row.waiting).unwrap_or(0),
            lines: rows::lines($region, row.lines)?,
            flow: row.flow.map(|flow| rows::flow($region, flow)).transpose()?,
            spending: rows::spending($region, row.spending)?,
            watched_since: row.watched_since,
            app_sha: row.app_client_sha.map(Into::into),
            images,
            instances: $database.remaining_pages($region, instances).await?,
        })
    }};
}

/// The ports of passes.
#[derive(Clone, Debug)]
pub struct HasuraDatabase {
    pub client: HasuraClient,
    /// The environment whose app version is this stack's.
    pub environment: String,
    /// The values that apply where a row of `regions` has null.
    pub defaults: Columns,
}

#[async_trait]
impl RegionDatabase for HasuraDatabase {
    async fn regions(&self) -> Result<Vec<RegionName>, DbError> {
        let answer = self
            .client
            .send::<Regions>("list regions", regions::Variables {})
            .await?;
        Ok(answer
            .regions
            .into_iter()
            .map(|row| RegionName::new(row.name))
            .collect())
    }

    async fn begin_pass(&self, fence: &Fence) -> Result<Observation, DbError> {
        let variables = begin_pass::Variables {
            region: fence.region.to_string(),
            environment: self.environment.clone(),
            version: fence.version,
            page_size: PAGE,
        };
        let answer = self
            .client
            .send::<BeginPass>("begin a pass", variables)
            .await?;
        match answer.begin_pass.first() {
            Some(row) if row.granted => {}
            Some(row) => {
                return Err(DbError::BehindFence {
                    region: fence.region.clone(),
                    version: fence.version,
                    in_force: row.version,
                });
            }
            None => return Err(fenced(fence)),
        }
        observation!(self, &fence.region, answer)
    }

    async fn observe(&self, region: &RegionName) -> Result<Observation, DbError> {
        let variables = look::Variables {
            region: region.to_string(),
            environment: self.environment.clone(),
            page_size: PAGE,
        };
        let answer = self
            .client
            .send::<Look>("observe a region", variables)
            .await?;
        observation!(self, region, answer)
    }
}

impl HasuraDatabase {
    /// Appends the pages after the first, if the first was full.
    async fn remaining_pages(
        &self,
        region: &RegionName,
        mut instances: Vec<Instance>,
    ) -> Result<Vec<Instance>, DbError> {
        let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
        let mut last_page = instances.len();
        while last_page >= page {
            let Some(last) = instances.last() else { break };
            let more = instances_after(&self.client, region, Some(&last.id), PAGE).await?;
            last_page = more.len();
            instances.extend(more);
        }
        Ok(instances)
    }
}

/// A page of a region's instances after an id, ordered by id.
pub(crate) async fn instances_after(
    client: &HasuraClient,
    region: &RegionName,
    after: Option<&InstanceId>,
    page_size: i64,
) -> Result<Vec<Instance>, DbError> {
    let variables = more_instances::Variables {
        region: region.to_string(),
        after_id: after.map(InstanceId::to_string).unwrap_or_default(),
        page_size,
    };
    let answer = client
        .send::<MoreInstances>("read more instances", variables)
        .await?;
    let rows = answer.observe_instances.into_iter();
    rows.map(|row| rows::instance!(row)).collect()
}

pub(crate) fn fenced(fence: &Fence) -> DbError {
    DbError::Fenced {
        region: fence.region.clone(),
        version: fence.version,
    }
}
