//! The effects of calls. The wrapper around a port records them, and not the system behind it, so
//! that a broken variant cannot hide what it let through.

use std::sync::{Mutex, PoisonError};

use shared::assign::{AssignRequest, InLine, UserId};
use shared::db::{Fence, UpgradeRequested, WriteOutcome, WriteResult};
use shared::host::HostErrorKind;
use shared::ids::{ClientToken, ImageId, InstanceId, LaunchId, RegionName};
use shared::lock::Lease;
use shared::model::{ImageState, Intent};

use crate::yield_points::ProcessId;

#[derive(Clone, Debug)]
pub enum Effect {
    /// The database raised the fence and returned the region's state.
    PassBegan {
        fence: Fence,
        /// The users in line who are demand of the region.
        waiting: u32,
    },
    /// The database accepted a write under a fence.
    DatabaseWrite {
        call: &'static str,
        fence: Fence,
        results: Vec<WriteResult>,
    },
    LockAcquired(Lease),
    LockReleased(Lease),
    WakeMarkSet(RegionName),
    WakeMarkCleared(RegionName),
    IntentsOpened(Lease, Vec<Intent>),
    IntentsClosed(Lease, Vec<LaunchId>),
    DecisionRecorded(Lease),
    /// A launch request reached EC2.
    LaunchRequested {
        region: RegionName,
        token: ClientToken,
        launch_id: Option<LaunchId>,
        failed: Option<HostErrorKind>,
    },
    TerminateRequested {
        region: RegionName,
        ids: Vec<InstanceId>,
    },
    /// The database gave a user a slot, or repeated the one that the session holds.
    SlotAssigned {
        request: AssignRequest,
        slot: String,
        repeated: bool,
    },
    /// The database had no slot for a user.
    UserRefused {
        request: AssignRequest,
        in_line: InLine,
    },
    /// The database answered a user otherwise, who may hold less than before.
    UserAnswered(UserId),
    /// A request for an image upgrade was recorded.
    UpgradeRequested {
        region: RegionName,
        outcome: UpgradeRequested,
    },
    /// A pass changed the state of an image.
    ImageMoved {
        fence: Fence,
        image: ImageId,
        states: (ImageState, ImageState),
    },
}

impl Effect {
    /// What the summary of a run counts, in the plural. None for an effect that it does not count.
    pub fn done(&self) -> Option<(&'static str, u64)> {
        let done = |results: &[WriteResult]| {
            let is_done = |result: &&WriteResult| result.outcome == WriteOutcome::Done;
            results.iter().filter(is_done).count() as u64
        };
        Some(match self {
            Self::PassBegan { .. } => ("rounds of passes", 1),
            Self::DatabaseWrite { call, results, .. } => (call, done(results)),
            Self::WakeMarkSet(_) => ("wake marks set", 1),
            Self::IntentsOpened(_, intents) => ("launches recorded", intents.len() as u64),
            Self::LaunchRequested { failed: None, .. } => ("launches at EC2", 1),
            Self::LaunchRequested { .. } => ("launches refused", 1),
            Self::TerminateRequested { ids, .. } => ("machines terminated", ids.len() as u64),
            Self::SlotAssigned { .. } => ("slots assigned to users", 1),
            Self::UserRefused { .. } => ("users refused for lack of capacity", 1),
            Self::UpgradeRequested { outcome, .. } => (
                match outcome {
                    UpgradeRequested::Requested => "upgrades requested",
                    UpgradeRequested::Already => "upgrades requested again",
                    UpgradeRequested::OtherSha => "upgrades requested with another client_sha",
                },
                1,
            ),
            Self::ImageMoved {
                states: (_, to), ..
            } => (
                match to {
                    ImageState::Current => "images that became current",
                    ImageState::Failed => "images that failed",
                    _ => "images retired",
                },
                1,
            ),
            _ => return None,
        })
    }
}

/// The effects since they were last taken.
#[derive(Debug, Default)]
pub struct EffectLog(Mutex<Vec<(ProcessId, Effect)>>);

impl EffectLog {
    pub fn add(&self, process: ProcessId, effect: Effect) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((process, effect));
    }

    pub fn take(&self) -> Vec<(ProcessId, Effect)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
