//! The past of a region, made up.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use shared::db::DbError;
use shared::ids::RegionName;
use shared::recording::{RecordedSession, Recording, RecordingError, Recordings};

/// A region with a user every minute, for ten minutes each.
#[derive(Clone, Copy, Debug)]
pub struct EveryMinute;

#[async_trait]
impl Recordings for EveryMinute {
    async fn recording(
        &self,
        region: &RegionName,
        from: Timestamp,
        to: Timestamp,
        before: SignedDuration,
    ) -> Result<Recording, RecordingError> {
        if region.as_str() != "us-east-1" {
            return Err(DbError::UnknownRegion(region.clone()).into());
        }
        let choice =
            json!({"instance_type": "m6i.large", "capacity": 2, "subnet_id": "subnet-0a1b2c3d"});
        let settings = [
            ("name", json!(region.as_str())),
            ("target_free", json!(4)),
            ("max_instances", json!(50)),
            ("launch_choices", json!([choice])),
        ];
        let minutes = to.duration_since(from - before).as_mins();
        let session = |nth: i64| {
            let at = from - before + SignedDuration::from_mins(nth);
            RecordedSession {
                requested_at: at,
                assigned_at: at,
                ended_at: Some(at + SignedDuration::from_mins(10)),
            }
        };
        Ok(Recording {
            region: region.clone(),
            settings: settings
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect(),
            from,
            to,
            sessions: (0..minutes).map(session).collect(),
            boots: vec![60.0],
            registered: 100,
            never_registered: 0,
            slots: 200,
            machine_seconds: 7.0 * to.duration_since(from).as_secs_f64(),
            unserved: vec![],
        })
    }
}
