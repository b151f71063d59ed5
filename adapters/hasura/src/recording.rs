//! What a region's past is played again from: one request for the region, then its sessions in pages.

use async_trait::async_trait;
use graphql_client::GraphQLQuery;
use jiff::{SignedDuration, Timestamp};
use shared::db::DbError;
use shared::ids::RegionName;
use shared::recording::{
    MOST_SESSIONS, RecordedSession, RecordedVisit, Recording, RecordingError, Recordings,
};
use shared::settings::{Columns, overlay};

use crate::client::HasuraClient;
use crate::documents::documents;

documents! {
    "graphql/recording.graphql": ReadRecording, ReadRecordedSessions;
}

/// A session has less than 200 bytes in an answer.
const PAGE: usize = 10_000;

/// The place of a session that lasts, in the order of the pages: after all ends.
const LASTING: Timestamp = Timestamp::constant(221_845_392_000, 0);

/// Reads what regions had.
#[derive(Clone, Debug)]
pub struct HasuraRecordings {
    pub client: HasuraClient,
    /// The values that apply where a row of `regions` has null.
    pub defaults: Columns,
}

#[async_trait]
impl Recordings for HasuraRecordings {
    async fn recording(
        &self,
        region: &RegionName,
        from: Timestamp,
        to: Timestamp,
        before: SignedDuration,
    ) -> Result<Recording, RecordingError> {
        let variables = read_recording::Variables {
            region: region.to_string(),
            from_at: from,
            to_at: to,
        };
        let answer = self
            .client
            .send::<ReadRecording>("read a recording", variables)
            .await?;
        let row = answer.read_recording.into_iter().next();
        let row = row.ok_or_else(|| DbError::UnknownRegion(region.clone()))?;
        let bad = |column, problem: String| DbError::BadRow {
            table: "recorded_regions",
            key: region.to_string(),
            column,
            problem,
        };
        let columns = row.settings.as_object();
        let columns = columns.ok_or_else(|| bad("settings", "it is not a row".to_owned()))?;
        let boots = serde_json::from_value(row.boots);
        let unserved: Vec<(f64, f64)> = serde_json::from_value(row.unserved)
            .map_err(|error| bad("unserved", error.to_string()))?;
        let from = row.from_at;
        let unserved = unserved.into_iter().map(|(asked, stayed)| RecordedVisit {
            requested_at: from + seconds(asked),
            stayed: seconds(stayed),
        });
        let count = |number: i64| u32::try_from(number).unwrap_or(0);
        Ok(Recording {
            region: region.clone(),
            settings: overlay(self.defaults.clone(), columns),
            from: row.from_at,
            to: row.to_at,
            boots: boots.map_err(|error| bad("boots", error.to_string()))?,
            registered: count(row.registered),
            never_registered: count(row.never_registered),
            slots: count(row.slots),
            machine_seconds: row.machine_seconds,
            unserved: unserved.collect(),
            sessions: self
                .sessions(region, row.from_at - before, row.to_at)
                .await?,
        })
    }
}

impl HasuraRecordings {
    async fn sessions(
        &self,
        region: &RegionName,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<RecordedSession>, RecordingError> {
        let mut sessions = vec![];
        let mut after: Option<(Timestamp, String)> = None;
        loop {
            let (after_at, after_slot) = after.unzip();
            let variables = read_recorded_sessions::Variables {
                region: region.to_string(),
                from_at: from,
                to_at: to,
                after_at,
                after_slot,
                page_size: PAGE as i64,
            };
            let answer = self
                .client
                .send::<ReadRecordedSessions>("read recorded sessions", variables)
                .await?;
            let page = answer.read_recorded_sessions;
            let is_last = page.len() < PAGE;
            after = page
                .last()
                .map(|last| (last.ended_at.unwrap_or(LASTING), last.slot_id.clone()));
            sessions.extend(page.into_iter().map(|row| RecordedSession {
                requested_at: row.requested_at,
                assigned_at: row.assigned_at,
                ended_at: row.ended_at,
            }));
            if sessions.len() > MOST_SESSIONS {
                return Err(RecordingError::TooMany(region.clone()));
            }
            if is_last {
                return Ok(sessions);
            }
        }
    }
}

/// To the millisecond, as far as a recording can be.
fn seconds(seconds: f64) -> SignedDuration {
    SignedDuration::from_millis((seconds * 1000.0) as i64)
}
