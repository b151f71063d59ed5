//! Assigning through Hasura: one mutation, which calls one SQL function.

use async_trait::async_trait;
use graphql_client::GraphQLQuery;
use jiff::{SignedDuration, Unit};
use serde_json::json;
use shared::assign::{
    AppVersion, AssignOutcome, AssignRefusal, AssignRequest, Assigner, Assignment, ClientBuild,
    HeldSession, InLine, LOCAL_DEV, SessionEnd, SessionId, UserId,
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
    response_derives = "Debug,Clone",
    skip_serializing_none
)]
struct AssignSlot;

#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "../../hasura/schema.graphql",
    query_path = "graphql/end_session.graphql",
    response_derives = "Debug"
)]
struct EndOwnSession;

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
            // None is sent as 0 and not as null: an engine may prepare a null as another type, and
            // then fail at the next request's number.
            max_session_seconds: request.limits.max_session_seconds.unwrap_or(0).into(),
            max_idle_seconds: request.limits.max_idle_seconds.unwrap_or(0).into(),
        }
    }
}

#[async_trait]
impl Assigner for HasuraAssigner {
    async fn assign(&self, request: &AssignRequest) -> Result<AssignOutcome, DbError> {
        // A user waits for the answer. Sending the request twice is safe, because it cannot assign a
        // second slot.
        let variables = self.variables(request);
        let answer = self
            .client
            .send_urgently::<AssignSlot>("assign a slot", variables)
            .await?;
        match answer.assign_slot.into_iter().next() {
            Some(row) => outcome(row),
            None => Err(bad_row("outcome", "the function returned no row")),
        }
    }

    async fn end_session(&self, user: &UserId, session: &SessionId) -> Result<SessionEnd, DbError> {
        let variables = end_own_session::Variables {
            user_id: user.to_string(),
            session_id: session.to_string(),
        };
        // A repetition does no harm: a session that was ended by the first request is not found again.
        let answer = self
            .client
            .send_urgently::<EndOwnSession>("end a session", variables)
            .await?;
        let row = answer.end_own_session.into_iter().next();
        match row.as_ref().map(|row| row.outcome.as_str()) {
            Some("ENDED") => Ok(SessionEnd::Ended),
            Some("ENDING") => Ok(SessionEnd::Ending),
            Some("UNKNOWN") => Ok(SessionEnd::Unknown),
            other => Err(DbError::BadRow {
                table: "write_results",
                key: "of end_own_session".to_owned(),
                column: "outcome",
                problem: other.unwrap_or("the function returned no row").to_owned(),
            }),
        }
    }
}

fn outcome(row: Row) -> Result<AssignOutcome, DbError> {
    match row.outcome.as_str() {
        "ASSIGNED" => assignment(row, false).map(AssignOutcome::Assigned),
        "ALREADY_ASSIGNED" => assignment(row, true).map(AssignOutcome::Assigned),
        _ => {
            let reason = refusal(&row)?;
            let app = row
                .app_version
                .zip(row.app_client_sha)
                .map(|(version, client_sha)| AppVersion {
                    version,
                    client_sha: ClientSha::new(client_sha),
                });
            let held = row.held.map(held).transpose()?.unwrap_or_default();
            Ok(AssignOutcome::Refused { reason, app, held })
        }
    }
}

fn held(sessions: serde_json::Value) -> Result<Vec<HeldSession>, DbError> {
    serde_json::from_value(sessions).map_err(|error| bad_row("held", &error.to_string()))
}

fn refusal(row: &Row) -> Result<AssignRefusal, DbError> {
    Ok(match row.outcome.as_str() {
        "USER_ALREADY_ACTIVE" => AssignRefusal::UserAlreadyActive,
        "REGION_NOT_ENABLED" => AssignRefusal::RegionNotEnabled,
        "NO_IMAGE_SERVED" => AssignRefusal::NoImageServed,
        "COMMIT_HASH_MISMATCH" => AssignRefusal::CommitHashMismatch,
        "NO_INSTANCE_AVAILABLE" => AssignRefusal::NoInstanceAvailable(InLine {
            place: number("place", row.place, 1)?,
            estimate_seconds: row
                .estimate_seconds
                .map(|seconds| number("estimate_seconds", Some(seconds), 0))
                .transpose()?,
            line_seconds: number("line_seconds", row.line_seconds, 1)?,
        }),
        unknown => return Err(bad_row("outcome", unknown)),
    })
}

/// A column of a refusal for lack of capacity.
fn number(column: &'static str, value: Option<i64>, least: u32) -> Result<u32, DbError> {
    let number = value.and_then(|value| u32::try_from(value).ok());
    number.filter(|number| *number >= least).ok_or_else(|| {
        let found = value.map_or_else(|| "null".to_owned(), |value| value.to_string());
        bad_row(column, &format!("{found}, not a number from {least}"))
    })
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
        nearest: row.nearest.map(RegionName::new),
        waited: waited(row.waited_seconds.ok_or_else(missing("waited_seconds"))?)?,
    })
}

/// Without parts of a microsecond, which the database does not measure.
fn waited(seconds: f64) -> Result<SignedDuration, DbError> {
    SignedDuration::try_from_secs_f64(seconds)
        .ok()
        .filter(|waited| !waited.is_negative())
        .and_then(|waited| waited.round(Unit::Microsecond).ok())
        .ok_or_else(|| bad_row("waited_seconds", &format!("{seconds}, not a time from 0")))
}

fn bad_row(column: &'static str, problem: &str) -> DbError {
    DbError::BadRow {
        table: "assign_results",
        key: "of assign_slot".to_owned(),
        column,
        problem: problem.to_owned(),
    }
}
