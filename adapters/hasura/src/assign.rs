//! Assigning through Hasura: one mutation, which calls one SQL function.

use async_trait::async_trait;
use graphql_client::GraphQLQuery;
use serde_json::json;
use shared::assign::{
    AppVersion, AssignOutcome, AssignRefusal, AssignRequest, Assigner, Assignment, ClientBuild,
    LOCAL_DEV,
};
use shared::db::DbError;
use shared::ids::{ClientSha, InstanceId, RegionName};

use crate::client::HasuraClient;

/// The schema's names of its scalars.
#[allow(
    non_camel_case_types,
    reason = "generated code uses the schema's names"
)]
mod scalars {
    pub(super) type jsonb = serde_json::Value;
    pub(super) type uuid = String;
}
use scalars::{jsonb, uuid};

#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "../../hasura/schema.graphql",
    query_path = "graphql/assign_slot.graphql",
    response_derives = "Debug,Clone"
)]
struct AssignSlot;

type Row = assign_slot::AssignSlotAssignSlot;

/// Calls the SQL function `assign_slot`.
#[derive(Clone, Debug)]
pub struct HasuraAssigner {
    client: HasuraClient,
    user_limit: u32,
    environment: String,
}

impl HasuraAssigner {
    /// `user_limit` is the number of slots that a user may hold at once. `environment` is the row
    /// of `app_versions` whose version a refusal names.
    pub fn new(client: HasuraClient, user_limit: u32, environment: impl Into<String>) -> Self {
        Self {
            client,
            user_limit,
            environment: environment.into(),
        }
    }

    fn variables(&self, request: &AssignRequest) -> assign_slot::Variables {
        let (client_sha, local_dev) = match &request.client {
            ClientBuild::Sha(sha) => (sha.as_str(), false),
            ClientBuild::CurrentImage => (LOCAL_DEV, true),
        };
        assign_slot::Variables {
            user_id: request.user.to_string(),
            session_id: request.session.to_string(),
            regions: json!(request.regions),
            client_sha: client_sha.to_owned(),
            user_limit: i64::from(self.user_limit),
            environment: self.environment.clone(),
            local_dev,
        }
    }

    async fn send(&self, request: &AssignRequest) -> Result<assign_slot::ResponseData, DbError> {
        let variables = self.variables(request);
        self.client
            .send::<AssignSlot>("assign a slot", variables)
            .await
    }
}

#[async_trait]
impl Assigner for HasuraAssigner {
    async fn assign(&self, request: &AssignRequest) -> Result<AssignOutcome, DbError> {
        let answer = match self.send(request).await {
            // Connections that were kept from an earlier invocation are often dead. Repeating the
            // request is safe, because it cannot assign a second slot.
            Err(lost @ DbError::Unavailable { .. }) => {
                tracing::warn!(error = %lost, "assign request repeated");
                self.send(request).await?
            }
            first => first?,
        };
        match answer.assign_slot.into_iter().next() {
            Some(row) => outcome(row),
            None => Err(bad_row("outcome", "the function returned no row")),
        }
    }
}

fn outcome(row: Row) -> Result<AssignOutcome, DbError> {
    match row.outcome.as_str() {
        "ASSIGNED" => assignment(row, false).map(AssignOutcome::Assigned),
        "ALREADY_ASSIGNED" => assignment(row, true).map(AssignOutcome::Assigned),
        refused => {
            let reason = AssignRefusal::ALL
                .into_iter()
                .find(|refusal| refusal.name() == refused);
            let reason = reason.ok_or_else(|| bad_row("outcome", refused))?;
            let app = row
                .app_version
                .zip(row.app_client_sha)
                .map(|(version, client_sha)| AppVersion {
                    version,
                    client_sha: ClientSha::new(client_sha),
                });
            Ok(AssignOutcome::Refused { reason, app })
        }
    }
}

fn assignment(row: Row, repeated: bool) -> Result<Assignment, DbError> {
    let missing = |column| move || bad_row(column, "null, though a slot was assigned");
    Ok(Assignment {
        slot_id: row.slot_id.ok_or_else(missing("slot_id"))?,
        ip: row.ip_addr.ok_or_else(missing("ip_addr"))?,
        region: row
            .region
            .map(RegionName::new)
            .ok_or_else(missing("region"))?,
        instance_id: row
            .instance_id
            .map(InstanceId::new)
            .ok_or_else(missing("instance_id"))?,
        repeated,
    })
}

fn bad_row(column: &'static str, problem: &str) -> DbError {
    DbError::BadRow {
        table: "assign_results",
        key: "of assign_slot".to_owned(),
        column,
        problem: problem.to_owned(),
    }
}
