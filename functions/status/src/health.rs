//! The answer of `/healthz`. Everybody may ask for it, as often as they like, so one reading of the
//! database and of DynamoDB serves all requests of some seconds.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use shared::ids::RegionName;
use tokio::sync::Mutex;

use crate::gather::Gatherer;
use crate::model::Health;
use crate::response::Rejection;

/// How long one reading is the answer: short against `STALE_SECONDS`, long against the time that
/// thousands of requests take.
const KEPT: SignedDuration = SignedDuration::from_secs(5);

/// The last reading, and when it was made; none if the database or DynamoDB could not be read.
#[derive(Debug, Default)]
pub struct LastHealth(Mutex<Option<(Timestamp, Option<Health>)>>);

impl LastHealth {
    /// The health of the service, at most some seconds old.
    ///
    /// # Errors
    /// When the database or DynamoDB cannot be read, or could not be some seconds ago.
    pub(crate) async fn get(
        &self,
        gatherer: &Gatherer,
        now: Timestamp,
    ) -> Result<Health, Rejection> {
        // Held while it is read, so that concurrent requests wait for one reading.
        let mut last = self.0.lock().await;
        if let Some((at, health)) = &*last
            && (SignedDuration::ZERO..KEPT).contains(&now.duration_since(*at))
        {
            return health.clone().ok_or(Rejection::HealthUnknown);
        }
        let health = gatherer.health().await;
        *last = Some((now, health.as_ref().ok().cloned()));
        let health = health?;
        log(&health);
        Ok(health)
    }
}

pub(crate) fn status(health: &Health) -> StatusCode {
    if health.status == 1 {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn log(health: &Health) {
    if !health.stale.is_empty() {
        let stale: Vec<_> = health.stale.iter().map(RegionName::as_str).collect();
        let stale = stale.join(", ");
        tracing::error!(stale, "regions without a recent decision");
    }
    if let Some(problem) = health.problem {
        tracing::error!(reason = problem, "service is unhealthy");
    }
}
