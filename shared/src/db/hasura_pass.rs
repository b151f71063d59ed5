//! The pass's requests to Hasura, as typed documents.

use async_trait::async_trait;
use graphql_client::GraphQLQuery;
use serde_json::json;

use super::rows;
use super::{
    Asked, Database, DbError, Fence, HasuraClient, KnownInstance, Observation, TerminateIf,
    WriteOutcome, WriteResult,
};
use crate::ids::{ClientSha, ImageId, InstanceId, RegionName};
use crate::model::{ImageState, Instance, NewInstance, Notice, ReplicaSettings};

/// Instances a page of an observation.
const PAGE: i64 = 1000;

macro_rules! documents {
    ($($path:tt: $($operation:ident),+;)*) => {$($(
        #[derive(GraphQLQuery)]
        #[graphql(
            schema_path = "../hasura/schema.graphql",
            query_path = $path,
            response_derives = "Debug",
            custom_scalars_module = "crate::db::rows::scalars"
        )]
        pub(super) struct $operation;
    )+)*};
}

documents! {
    "src/db/graphql/begin_pass.graphql": BeginPass, Look, MoreInstances;
    "src/db/graphql/pass_writes.graphql": RecordInstances, AdoptOrphans, DrainInstances,
        TerminateInstances, RemoveInstances, NoteMissing, ReleaseUnclaimed, MoveImage;
    "src/db/graphql/ask_upgrade.graphql": AskUpgrade;
    "src/db/graphql/instance_events.graphql": FindInstance, GiveNotice;
    "src/db/graphql/regions.graphql": Regions;
}

/// Every operation has structs of its own for the same fragments; this gives them one shape.
macro_rules! observation {
    ($client:expr, $region:expr, $answer:expr) => {{
        let answer = $answer;
        let row = answer
            .observe_region
            .into_iter()
            .next()
            .ok_or_else(|| DbError::UnknownRegion($region.clone()))?;
        let region = rows::region!(row);
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
        let instances = $client.rest_of($region, instances).await?;
        Ok(Observation {
            now: region.now,
            waiting: region.waiting,
            watched_since: region.watched_since,
            app_sha: region.app_sha.clone(),
            settings: region.settings(&$client.replicas)?,
            images,
            instances,
        })
    }};
}

/// A pass's side of Hasura. `environment` is that of the app version that concerns this stack.
#[derive(Clone, Debug)]
pub struct HasuraDatabase {
    pub client: HasuraClient,
    pub environment: String,
    /// What the rows of replicas' regions leave open.
    pub replicas: ReplicaSettings,
}

#[async_trait]
impl Database for HasuraDatabase {
    async fn regions(&self) -> Result<Vec<RegionName>, DbError> {
        let answer = self
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
        let answer = self.send::<BeginPass>("begin a pass", variables).await?;
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

    async fn look(&self, region: &RegionName) -> Result<Observation, DbError> {
        let variables = look::Variables {
            region: region.to_string(),
            environment: self.environment.clone(),
            page_size: PAGE,
        };
        let answer = self.send::<Look>("look at a region", variables).await?;
        observation!(self, region, answer)
    }

    async fn record_instances(
        &self,
        fence: &Fence,
        instances: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError> {
        let variables = record_instances::Variables {
            region: fence.region.to_string(),
            version: fence.version,
            instances: json!(instances),
        };
        let answer = self
            .send::<RecordInstances>("record instances", variables)
            .await?;
        results(
            fence,
            answer
                .record_instances
                .into_iter()
                .map(|row| (row.id, row.outcome)),
        )
    }

    async fn adopt_orphans(
        &self,
        fence: &Fence,
        orphans: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError> {
        let variables = adopt_orphans::Variables {
            region: fence.region.to_string(),
            version: fence.version,
            instances: json!(orphans),
        };
        let answer = self
            .send::<AdoptOrphans>("adopt orphans", variables)
            .await?;
        results(
            fence,
            answer
                .adopt_orphans
                .into_iter()
                .map(|row| (row.id, row.outcome)),
        )
    }

    async fn drain(&self, fence: &Fence, ids: &[InstanceId]) -> Result<Vec<WriteResult>, DbError> {
        let variables = drain_instances::Variables {
            region: fence.region.to_string(),
            version: fence.version,
            ids: json!(ids),
        };
        let answer = self
            .send::<DrainInstances>("drain instances", variables)
            .await?;
        results(
            fence,
            answer
                .drain_instances
                .into_iter()
                .map(|row| (row.id, row.outcome)),
        )
    }

    async fn terminate(
        &self,
        fence: &Fence,
        ids: &[InstanceId],
        condition: TerminateIf,
    ) -> Result<Vec<WriteResult>, DbError> {
        let variables = terminate_instances::Variables {
            region: fence.region.to_string(),
            version: fence.version,
            ids: json!(ids),
            reason: condition.as_sql().to_owned(),
        };
        let answer = self
            .send::<TerminateInstances>("commit instances' end", variables)
            .await?;
        results(
            fence,
            answer
                .terminate_instances
                .into_iter()
                .map(|row| (row.id, row.outcome)),
        )
    }

    async fn remove(&self, fence: &Fence, ids: &[InstanceId]) -> Result<Vec<WriteResult>, DbError> {
        let variables = remove_instances::Variables {
            region: fence.region.to_string(),
            version: fence.version,
            ids: json!(ids),
        };
        let answer = self
            .send::<RemoveInstances>("remove rows", variables)
            .await?;
        results(
            fence,
            answer
                .remove_instances
                .into_iter()
                .map(|row| (row.id, row.outcome)),
        )
    }

    async fn note_missing(
        &self,
        fence: &Fence,
        missing: &[InstanceId],
        present: &[InstanceId],
    ) -> Result<Vec<WriteResult>, DbError> {
        let variables = note_missing::Variables {
            region: fence.region.to_string(),
            version: fence.version,
            missing: json!(missing),
            present: json!(present),
        };
        let answer = self
            .send::<NoteMissing>("note missing instances", variables)
            .await?;
        results(
            fence,
            answer
                .note_missing
                .into_iter()
                .map(|row| (row.id, row.outcome)),
        )
    }

    async fn release_unclaimed(&self, fence: &Fence) -> Result<Vec<WriteResult>, DbError> {
        let variables = release_unclaimed::Variables {
            region: fence.region.to_string(),
            version: fence.version,
        };
        let answer = self
            .send::<ReleaseUnclaimed>("release slots", variables)
            .await?;
        results(
            fence,
            answer
                .release_unclaimed
                .into_iter()
                .map(|row| (row.id, row.outcome)),
        )
    }

    async fn move_image(
        &self,
        fence: &Fence,
        image: &ImageId,
        (from, to): (ImageState, ImageState),
        reason: &str,
    ) -> Result<Vec<WriteResult>, DbError> {
        let variables = move_image::Variables {
            region: fence.region.to_string(),
            version: fence.version,
            image: image.to_string(),
            from: from.to_string(),
            to: to.to_string(),
            reason: reason.to_owned(),
        };
        let answer = self
            .send::<MoveImage>("move an image on", variables)
            .await?;
        results(
            fence,
            answer
                .move_image
                .into_iter()
                .map(|row| (row.id, row.outcome)),
        )
    }

    async fn ask_upgrade(
        &self,
        region: &RegionName,
        image: &ImageId,
        client_sha: &ClientSha,
    ) -> Result<Asked, DbError> {
        let variables = ask_upgrade::Variables {
            region: region.to_string(),
            image: image.to_string(),
            client_sha: client_sha.to_string(),
        };
        let answer = self
            .send::<AskUpgrade>("ask for an image upgrade", variables)
            .await?;
        let row = answer.ask_upgrade.into_iter().next();
        match row.as_ref().map(|row| row.outcome.as_str()) {
            Some("ASKED") => Ok(Asked::Asked),
            Some("ALREADY") => Ok(Asked::Already),
            Some("OTHER_SHA") => Ok(Asked::OtherSha),
            Some("UNKNOWN") | None => Err(DbError::UnknownRegion(region.clone())),
            Some(other) => Err(DbError::BadRow {
                table: "image_answers",
                key: image.to_string(),
                column: "outcome",
                problem: format!("{other:?} is none of this version's outcomes"),
            }),
        }
    }

    async fn find_instance(&self, id: &InstanceId) -> Result<Option<KnownInstance>, DbError> {
        let variables = find_instance::Variables { id: id.to_string() };
        let answer = self
            .send::<FindInstance>("find an instance", variables)
            .await?;
        let Some(row) = answer.instances_by_pk else {
            return Ok(None);
        };
        Ok(Some(KnownInstance {
            status: rows::status(id.as_str(), &row.status)?,
            region: RegionName::new(row.region),
        }))
    }

    async fn give_notice(&self, id: &InstanceId, notice: Notice) -> Result<WriteOutcome, DbError> {
        let variables = give_notice::Variables {
            id: id.to_string(),
            notice: notice.to_string(),
        };
        let answer = self
            .send::<GiveNotice>("note what EC2 is about to do", variables)
            .await?;
        match answer.give_notice.into_iter().next() {
            Some(row) => outcome(&row.id, &row.outcome),
            None => Ok(WriteOutcome::Unknown),
        }
    }
}

impl HasuraDatabase {
    async fn send<Q: GraphQLQuery>(
        &self,
        operation: &'static str,
        variables: Q::Variables,
    ) -> Result<Q::ResponseData, DbError> {
        self.client.send::<Q>(operation, variables).await
    }

    /// The pages after the first, if the first one was full.
    async fn rest_of(
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

/// A page of a region's instances, by id.
pub(super) async fn instances_after(
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
        .send::<MoreInstances>("look at more instances", variables)
        .await?;
    let rows = answer.observe_instances.into_iter();
    rows.map(|row| rows::instance!(row)).collect()
}

fn fenced(fence: &Fence) -> DbError {
    DbError::Fenced {
        region: fence.region.clone(),
        version: fence.version,
    }
}

fn results(
    fence: &Fence,
    rows: impl Iterator<Item = (String, String)>,
) -> Result<Vec<WriteResult>, DbError> {
    rows.map(|(id, outcome)| {
        if outcome == "FENCED" {
            return Err(fenced(fence));
        }
        let outcome = self::outcome(&id, &outcome)?;
        Ok(WriteResult { id, outcome })
    })
    .collect()
}

fn outcome(id: &str, outcome: &str) -> Result<WriteOutcome, DbError> {
    Ok(match outcome {
        "DONE" => WriteOutcome::Done,
        "ALREADY" => WriteOutcome::Already,
        "OCCUPIED" => WriteOutcome::Occupied,
        "ALIVE" => WriteOutcome::Alive,
        "WRONG_STATE" => WriteOutcome::WrongState,
        "UNKNOWN" => WriteOutcome::Unknown,
        other => {
            return Err(DbError::BadRow {
                table: "write_results",
                key: id.to_owned(),
                column: "outcome",
                problem: format!("{other:?} is none of this version's outcomes"),
            });
        }
    })
}
