//! The rows of instances: fenced writes, and requests of events.

use async_trait::async_trait;
use graphql_client::GraphQLQuery;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::json;
use shared::agent_token::AgentToken;
use shared::db::{
    DbError, Fence, InstanceDatabase, KnownInstance, UpgradeRequested, WriteOutcome, WriteResult,
};
use shared::ids::{ClientSha, ImageId, InstanceId, RegionName};
use shared::model::{
    DrainCause, Forecast, ImageState, InstanceAddresses, NewInstance, Outlook, SpotNotice,
    TerminateIf,
};
use shared::words::quoted;

use crate::database::{HasuraDatabase, fenced};
use crate::documents::documents;
use crate::rows;

documents! {
    "graphql/pass_writes.graphql":
        RecordInstances -> record_instances,
        AdoptOrphans -> adopt_orphans,
        DrainInstances -> drain_instances,
        ReopenInstances -> reopen_instances,
        TerminateInstances -> terminate_instances,
        RemoveInstances -> remove_instances,
        NoteMissing -> note_missing,
        NoteAddresses -> note_addresses,
        NoteForecast -> note_forecast,
        ReleaseUnclaimed -> release_unclaimed,
        MarkEnds -> mark_ends,
        RenewTokens -> renew_tokens,
        MoveImage -> move_image;
    "graphql/ask_upgrade.graphql": AskUpgrade;
    "graphql/instance_events.graphql": FindInstance, GiveNotice;
    "graphql/note_running.graphql": NoteRunning;
}

/// A write of a pass. It answers with ids and outcomes, or with the one outcome `FENCED`.
trait FencedWrite: GraphQLQuery {
    fn rows(answer: Self::ResponseData) -> Vec<(String, String)>;
}

impl HasuraDatabase {
    /// Makes a fenced write.
    async fn write<W: FencedWrite>(
        &self,
        fence: &Fence,
        operation: &'static str,
        variables: W::Variables,
    ) -> Result<Vec<WriteResult>, DbError> {
        let answer = self.client.send::<W>(operation, variables).await?;
        W::rows(answer)
            .into_iter()
            .map(|(id, outcome)| {
                if outcome == "FENCED" {
                    return Err(fenced(fence));
                }
                let outcome = self::outcome(&id, &outcome)?;
                Ok(WriteResult { id, outcome })
            })
            .collect()
    }
}

#[async_trait]
impl InstanceDatabase for HasuraDatabase {
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
        self.write::<RecordInstances>(fence, "record instances", variables)
            .await
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
        self.write::<AdoptOrphans>(fence, "adopt orphans", variables)
            .await
    }

    async fn drain(
        &self,
        fence: &Fence,
        ids: &[InstanceId],
        cause: DrainCause,
    ) -> Result<Vec<WriteResult>, DbError> {
        let variables = drain_instances::Variables {
            region: fence.region.to_string(),
            version: fence.version,
            ids: json!(ids),
            cause: cause.as_sql().to_owned(),
        };
        self.write::<DrainInstances>(fence, "drain instances", variables)
            .await
    }

    async fn reopen(&self, fence: &Fence, ids: &[InstanceId]) -> Result<Vec<WriteResult>, DbError> {
        let variables = reopen_instances::Variables {
            region: fence.region.to_string(),
            version: fence.version,
            ids: json!(ids),
        };
        self.write::<ReopenInstances>(fence, "take drains back", variables)
            .await
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
        self.write::<TerminateInstances>(fence, "commit instances to TERMINATING", variables)
            .await
    }

    async fn remove(&self, fence: &Fence, ids: &[InstanceId]) -> Result<Vec<WriteResult>, DbError> {
        let variables = remove_instances::Variables {
            region: fence.region.to_string(),
            version: fence.version,
            ids: json!(ids),
        };
        self.write::<RemoveInstances>(fence, "remove rows", variables)
            .await
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
        self.write::<NoteMissing>(fence, "note missing instances", variables)
            .await
    }

    async fn note_addresses(
        &self,
        fence: &Fence,
        addresses: &[InstanceAddresses],
    ) -> Result<Vec<WriteResult>, DbError> {
        let variables = note_addresses::Variables {
            region: fence.region.to_string(),
            version: fence.version,
            addresses: json!(addresses),
        };
        self.write::<NoteAddresses>(fence, "note addresses", variables)
            .await
    }

    async fn note_forecast(
        &self,
        fence: &Fence,
        outlook: &Outlook,
    ) -> Result<Vec<WriteResult>, DbError> {
        let forecasts = outlook
            .forecasts
            .iter()
            .map(|Forecast { client_sha, steps }| {
                json!({
                    "client_sha": client_sha,
                    "at": steps.iter().map(|step| step.at).collect::<Vec<_>>(),
                    "slots": steps.iter().map(|step| step.slots).collect::<Vec<_>>(),
                })
            });
        let variables = note_forecast::Variables {
            region: fence.region.to_string(),
            version: fence.version,
            made_at: outlook.made_at,
            forecasts: forecasts.collect(),
            none_until: outlook.no_capacity_until,
        };
        self.write::<NoteForecast>(fence, "note the forecast", variables)
            .await
    }

    async fn release_unclaimed(&self, fence: &Fence) -> Result<Vec<WriteResult>, DbError> {
        let variables = release_unclaimed::Variables {
            region: fence.region.to_string(),
            version: fence.version,
        };
        self.write::<ReleaseUnclaimed>(fence, "release slots", variables)
            .await
    }

    async fn mark_ends(&self, fence: &Fence) -> Result<Vec<WriteResult>, DbError> {
        let variables = mark_ends::Variables {
            region: fence.region.to_string(),
            version: fence.version,
        };
        self.write::<MarkEnds>(fence, "tell agents of ends", variables)
            .await
    }

    async fn renew_tokens(
        &self,
        fence: &Fence,
        tokens: &[(InstanceId, AgentToken)],
    ) -> Result<Vec<WriteResult>, DbError> {
        let tokens = tokens.iter().map(|(id, token)| {
            json!({
                "id": id,
                "token": token.token.expose_secret(),
                "token_id": token.token_id,
                "key_id": token.key_id,
                "valid_until": token.valid_until,
            })
        });
        let variables = renew_tokens::Variables {
            region: fence.region.to_string(),
            version: fence.version,
            tokens: tokens.collect(),
        };
        self.write::<RenewTokens>(fence, "renew the tokens of agents", variables)
            .await
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
        self.write::<MoveImage>(fence, "move an image to its next state", variables)
            .await
    }

    async fn request_upgrade(
        &self,
        region: &RegionName,
        image: &ImageId,
        client_sha: &ClientSha,
    ) -> Result<UpgradeRequested, DbError> {
        let variables = ask_upgrade::Variables {
            region: region.to_string(),
            image: image.to_string(),
            client_sha: client_sha.to_string(),
        };
        let answer = self
            .client
            .send::<AskUpgrade>("request an image upgrade", variables)
            .await?;
        let row = answer.ask_upgrade.into_iter().next();
        match row.as_ref().map(|row| row.outcome.as_str()) {
            Some("ASKED") => Ok(UpgradeRequested::Requested),
            Some("ALREADY") => Ok(UpgradeRequested::Already),
            Some("OTHER_SHA") => Ok(UpgradeRequested::OtherSha),
            Some("UNKNOWN") | None => Err(DbError::UnknownRegion(region.clone())),
            Some(other) => Err(DbError::BadRow {
                table: "image_answers",
                key: image.to_string(),
                column: "outcome",
                problem: format!(
                    "{} is not an outcome that this version of the service knows",
                    quoted(other)
                ),
            }),
        }
    }

    async fn find_instance(&self, id: &InstanceId) -> Result<Option<KnownInstance>, DbError> {
        let variables = find_instance::Variables { id: id.to_string() };
        let answer = self
            .client
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

    async fn record_spot_notice(
        &self,
        id: &InstanceId,
        notice: SpotNotice,
    ) -> Result<WriteOutcome, DbError> {
        let variables = give_notice::Variables {
            id: id.to_string(),
            notice: notice.to_string(),
        };
        let answer = self
            .client
            .send::<GiveNotice>("record a spot notice", variables)
            .await?;
        match answer.give_notice.into_iter().next() {
            Some(row) => outcome(&row.id, &row.outcome),
            None => Ok(WriteOutcome::Unknown),
        }
    }

    async fn note_running(
        &self,
        running: &[(InstanceId, Timestamp)],
    ) -> Result<Vec<WriteResult>, DbError> {
        let instances = running.iter().map(|(id, at)| json!({ "id": id, "at": at }));
        let variables = note_running::Variables {
            instances: instances.collect(),
        };
        let answer = self
            .client
            .send::<NoteRunning>("note when instances began to run", variables)
            .await?;
        let written = answer.note_running.into_iter().map(|row| {
            let outcome = outcome(&row.id, &row.outcome)?;
            Ok(WriteResult {
                id: row.id,
                outcome,
            })
        });
        written.collect()
    }
}

fn outcome(id: &str, outcome: &str) -> Result<WriteOutcome, DbError> {
    Ok(match outcome {
        "DONE" => WriteOutcome::Done,
        "ALREADY" => WriteOutcome::Already,
        "OCCUPIED" => WriteOutcome::Occupied,
        "ALIVE" => WriteOutcome::Alive,
        "WRONG_STATE" => WriteOutcome::WrongState,
        "UNKNOWN" => WriteOutcome::Unknown,
        "BUSY" => WriteOutcome::Busy,
        other => {
            return Err(DbError::BadRow {
                table: "write_results",
                key: id.to_owned(),
                column: "outcome",
                problem: format!(
                    "{} is not an outcome that this version of the service knows",
                    quoted(other)
                ),
            });
        }
    })
}
