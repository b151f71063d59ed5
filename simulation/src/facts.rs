//! What calls did, as seen from behind the gates: told by the wrapper around a port, not by
//! what is behind it, so that a broken one cannot hide what it let through.

use std::sync::{Mutex, PoisonError};

use shared::assign::ClientBuild;
use shared::db::{Fence, UpgradeRequested, WriteOutcome, WriteResult};
use shared::host::HostErrorKind;
use shared::ids::{ClientToken, ImageId, InstanceId, LaunchId, RegionName};
use shared::lock::Lease;
use shared::model::{ImageState, Intent};

use crate::gate::ProcessId;

#[derive(Clone, Debug)]
pub enum Fact {
    /// The database raised the fence and showed the region.
    Began {
        fence: Fence,
    },
    /// The database accepted a write.
    Wrote {
        call: &'static str,
        fence: Fence,
        results: Vec<WriteResult>,
    },
    Acquired(Lease),
    Released(Lease),
    Marked(RegionName),
    Cleared(RegionName),
    Opened(Lease, Box<Intent>),
    Closed(Lease, LaunchId),
    Decided(Lease),
    /// EC2 was asked to launch, and what it said.
    AskedToLaunch {
        region: RegionName,
        token: ClientToken,
        launch_id: Option<LaunchId>,
        failed: Option<HostErrorKind>,
    },
    AskedToTerminate {
        region: RegionName,
        ids: Vec<InstanceId>,
    },
    /// The database gave a user a slot, or the one that the session has.
    Assigned {
        user: String,
        session: String,
        slot: String,
        client: ClientBuild,
        repeated: bool,
    },
    /// An operator's wish was written.
    AskedForImage {
        region: RegionName,
        asked: UpgradeRequested,
    },
    /// A pass's move of an image was written.
    ImageMoved {
        fence: Fence,
        image: ImageId,
        states: (ImageState, ImageState),
    },
}

impl Fact {
    /// For the figures of a run: what was done, in the plural. None for what changes nothing.
    pub fn done(&self) -> Option<(&'static str, u64)> {
        let done = |results: &[WriteResult]| {
            let is_done = |result: &&WriteResult| result.outcome == WriteOutcome::Done;
            results.iter().filter(is_done).count() as u64
        };
        Some(match self {
            Self::Began { .. } => ("looks at a region", 1),
            Self::Wrote { call, results, .. } => (call, done(results)),
            Self::Marked(_) => ("wakes", 1),
            Self::Opened(..) => ("launches recorded", 1),
            Self::AskedToLaunch { failed: None, .. } => ("launches at EC2", 1),
            Self::AskedToLaunch { .. } => ("launches refused", 1),
            Self::AskedToTerminate { ids, .. } => ("machines to be terminated", ids.len() as u64),
            Self::Assigned { .. } => ("slots given to users", 1),
            Self::AskedForImage { asked, .. } => (
                match asked {
                    UpgradeRequested::Requested => "images asked for",
                    UpgradeRequested::Already => "images asked for that were there already",
                    UpgradeRequested::OtherSha => "images asked for with another client_sha",
                },
                1,
            ),
            Self::ImageMoved {
                states: (_, to), ..
            } => (
                match to {
                    ImageState::Current => "images that became current",
                    ImageState::Failed => "images that failed",
                    _ => "images that retired",
                },
                1,
            ),
            _ => return None,
        })
    }
}

/// The facts since they were last looked at.
#[derive(Debug, Default)]
pub struct Facts(Mutex<Vec<(ProcessId, Fact)>>);

impl Facts {
    pub fn add(&self, process: ProcessId, fact: Fact) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((process, fact));
    }

    pub fn take(&self) -> Vec<(ProcessId, Fact)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
