//! Why a pass runs. An event says which region to observe, not what to do: the pass reads the state
//! under the lock. So a trigger has only what is worth reading in logs and reports.

use serde::{Deserialize, Serialize};

use crate::ids::{ImageId, InstanceId};

/// The cause of a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Trigger {
    /// EventBridge, every minute.
    Schedule,
    /// A person or a script invoked `reconcile`.
    ByHand,
    /// An operator or a pipeline requested a new image.
    ImageUpgrade { image: ImageId },
    /// Hasura sent an event of the trigger with this name.
    DatabaseEvent { name: String },
    /// EC2 sent an event about an instance of the stack.
    InstanceEvent { instance: InstanceId, says: String },
    /// A pass had no time left and handed the region over.
    HandOver,
}

impl Trigger {
    /// Whether the pass itself sets the wake mark, so that the lock's holder observes once more.
    ///
    /// The schedule needs no mark, because it comes again in a minute. Any other trigger knows of
    /// something that the holder may have missed. An event has set the mark before its id was
    /// recorded, and a hand-over finds the mark set.
    pub fn leaves_a_mark(&self) -> bool {
        matches!(self, Self::ByHand | Self::ImageUpgrade { .. })
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::ByHand => "by_hand",
            Self::ImageUpgrade { .. } => "image_upgrade",
            Self::DatabaseEvent { .. } => "database_event",
            Self::InstanceEvent { .. } => "instance_event",
            Self::HandOver => "hand_over",
        }
    }
}
