//! The history of sessions, in pages, and its figures.

use async_trait::async_trait;
use graphql_client::GraphQLQuery;
use jiff::{SignedDuration, Timestamp};
use shared::db::DbError;
use shared::ids::RegionName;
use shared::usage::figures::RegionUsage;
use shared::usage::{EndReason, Place, SessionHistory, SessionRecord};

use crate::documents::documents;
use crate::overview::HasuraOverview;
use crate::{rows, usage};

documents! {
    "graphql/sessions.graphql": ListSessions;
}

type Row = list_sessions::ListSessionsListSessions;

#[async_trait]
impl SessionHistory for HasuraOverview {
    async fn sessions(
        &self,
        from: Timestamp,
        to: Timestamp,
        after: Option<&Place>,
        limit: u32,
    ) -> Result<Vec<SessionRecord>, DbError> {
        let variables = list_sessions::Variables {
            from_at: from,
            to_at: to,
            after_at: after.map(|place| place.assigned_at),
            after_slot: after.map(|place| place.slot_id.clone()),
            page_size: limit.into(),
        };
        let answer = self
            .client
            .send::<ListSessions>("read a page of sessions", variables)
            .await?;
        answer.list_sessions.into_iter().map(session).collect()
    }

    async fn figures(
        &self,
        region: Option<&RegionName>,
        from: Timestamp,
        to: Timestamp,
        step: SignedDuration,
    ) -> Result<Vec<RegionUsage>, DbError> {
        usage::read(&self.client, region, from, to, step).await
    }
}

/// The columns of a view may all be null for GraphQL.
fn session(row: Row) -> Result<SessionRecord, DbError> {
    let slot_id = row.slot_id.unwrap_or_default();
    let missing = |column| DbError::BadRow {
        table: "sessions",
        key: slot_id.clone(),
        column,
        problem: "null".to_owned(),
    };
    let end_reason: Option<EndReason> = row
        .end_reason
        .map(|reason| rows::end_reason(&slot_id, &reason))
        .transpose()?;
    let waited = row
        .waited_seconds
        .ok_or_else(|| missing("waited_seconds"))?;
    Ok(SessionRecord {
        user: row.user_id.ok_or_else(|| missing("user_id"))?,
        session: row.session_id.ok_or_else(|| missing("session_id"))?,
        region: row.region.ok_or_else(|| missing("region"))?.into(),
        instance_id: row
            .instance_id
            .ok_or_else(|| missing("instance_id"))?
            .into(),
        image_id: row.image_id.ok_or_else(|| missing("image_id"))?.into(),
        instance_type: row.instance_type,
        requested_at: row.requested_at.ok_or_else(|| missing("requested_at"))?,
        assigned_at: row.assigned_at.ok_or_else(|| missing("assigned_at"))?,
        connected_at: row.connected_at,
        running_at: row.running_at,
        ended_at: row.ended_at,
        end_reason,
        end_detail: row.end_detail,
        waited: SignedDuration::try_from_secs_f64(waited).map_err(|_| missing("waited_seconds"))?,
        slot_id,
    })
}
