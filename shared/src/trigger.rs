//! Why a pass runs. An event says *look*, not *what to do*: the pass reads the state again
//! under the lock, so a trigger carries only what a reader of the report wants to know.

use serde::{Deserialize, Serialize};

use crate::ids::{ImageId, InstanceId};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Trigger {
    /// EventBridge, every minute.
    Schedule,
    /// A person or a script invoked `reconcile`.
    ByHand,
    /// An operator or a pipeline asked for a new image.
    ImageUpgrade { image: ImageId },
    /// Hasura's event trigger of that name.
    DatabaseEvent { name: String },
    /// EC2's event about a machine of ours.
    InstanceEvent { instance: InstanceId, says: String },
    /// A function that had gone three times already handed over.
    HandOver,
}

impl Trigger {
    /// Whether a region that is busy has to be looked at again afterwards.
    ///
    /// The schedule comes back in a minute by itself; everybody else saw something that the
    /// holder of the lock may have observed too early to know. An event has marked its regions
    /// before its id was recorded, and a hand-over finds the mark set.
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
