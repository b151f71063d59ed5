//! Where hand-overs of passes go.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use shared::ids::RegionName;
use shared::pass::{HandOverError, ReconcileInvoker};

/// A region that a pass hands over to another invocation, and the id of the original trigger.
#[derive(Clone, Debug)]
pub struct HandOver {
    pub region: RegionName,
    pub id: String,
}

/// Collects the regions that passes hand over.
#[derive(Debug, Default)]
pub struct HandOvers(Mutex<Vec<HandOver>>);

impl HandOvers {
    /// The hand-overs since the last call.
    pub fn take(&self) -> Vec<HandOver> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl ReconcileInvoker for HandOvers {
    async fn hand_over(&self, region: &RegionName, id: &str) -> Result<(), HandOverError> {
        let hand_over = HandOver {
            region: region.clone(),
            id: id.to_owned(),
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(hand_over);
        Ok(())
    }
}
