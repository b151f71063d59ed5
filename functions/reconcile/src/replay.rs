//! What other settings would have cost: plays a region's past again, within the time of one invocation.

use jiff::{SignedDuration, Timestamp};
use scaling_economics::replay::{Replay, ReplayError, WARM_UP, replay_until};
use shared::pass::Reconciler;
use shared::recording::RecordingError;
use thiserror::Error;
use tracing::info;

use crate::request::{BadRequest, ReplayRequest};

#[derive(Debug, Error)]
pub enum ReplayFailed {
    #[error("this stack has no database, and so no recorded sessions to play again")]
    NoDatabase,
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error("read the recording: {0}")]
    Recording(#[from] RecordingError),
    #[error("play the settings of now: {0}")]
    Today(#[from] ReplayError),
}

impl ReplayFailed {
    /// Lambda's type of the error.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::NoDatabase => "NoDatabase",
            Self::BadRequest(_) | Self::Recording(RecordingError::TooMany(_)) => "BadRequest",
            Self::Recording(RecordingError::Database(_)) => "DatabaseUnavailable",
            Self::Today(_) => "ReplayFailed",
        }
    }
}

/// Reads the recording and plays it. What the time does not suffice for is left out, and says so.
pub(crate) async fn run(
    reconciler: &Reconciler,
    asked: ReplayRequest,
    began: Timestamp,
) -> Result<Replay, ReplayFailed> {
    let recordings = reconciler.recordings.as_ref();
    let recordings = recordings.ok_or(ReplayFailed::NoDatabase)?;
    let (from, to) = asked.times(began)?;
    let recording = recordings
        .recording(&asked.region, from, to, WARM_UP)
        .await?;
    let read = reconciler.clock.now();
    let until = began + reconciler.limits.budget;
    let clock = reconciler.clock.clone();
    let replay = replay_until(recording, asked.question, clock, until).await?;
    let seconds = |time: SignedDuration| time.as_secs_f64();
    info!(
        region = %replay.region,
        users = replay.recorded.users,
        read_seconds = seconds(read.duration_since(began)),
        play_seconds = seconds(reconciler.clock.now().duration_since(read)),
        "past played again"
    );
    Ok(replay)
}
