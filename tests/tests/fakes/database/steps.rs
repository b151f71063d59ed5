//! What can be asked of the database.

use jiff::Timestamp;
use shared::assign::AssignRequest;
use shared::db::Fence;
use shared::ids::{ClientSha, ImageId, InstanceId, LaunchId, RegionName};
use shared::model::TerminateIf;
use shared::model::{ImageState, NewInstance, SpotNotice};
use testing::SlotStatus;

pub(crate) const REGIONS: [&str; 2] = ["eu-west-1", "us-east-1"];
/// Those that every region begins with.
pub(crate) const IMAGES: [&str; 2] = ["ami-1", "ami-2"];
/// It has a row once it is asked for.
pub(crate) const NEW_IMAGE: &str = "ami-3";

/// Something that is asked at a time.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Timestamp,
    pub(crate) ask: Ask,
}

#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Regions,
    BeginPass(Fence),
    Look(RegionName),
    Record(Fence, Vec<NewInstance>),
    Adopt(Fence, Vec<NewInstance>),
    Drain(Fence, Vec<InstanceId>),
    Terminate(Fence, Vec<InstanceId>, TerminateIf),
    Remove(Fence, Vec<InstanceId>),
    NoteMissing(Fence, Vec<InstanceId>, Vec<InstanceId>),
    Release(Fence),
    MoveImage(Fence, ImageId, ImageState, ImageState),
    /// Somebody asks for an image.
    Upgrade(RegionName, ImageId, ClientSha),
    Find(InstanceId),
    GiveNotice(InstanceId, SpotNotice),
    Assign(AssignRequest),
    Register(InstanceId, LaunchId),
    Heartbeat(InstanceId, LaunchId),
    /// Heartbeats of several, each of its own launch.
    Beats(Vec<InstanceId>),
    Claim {
        slot: String,
        user: String,
        session: String,
        launch: LaunchId,
    },
    Report(String, SlotStatus, LaunchId),
    Replace(String, LaunchId),
    /// An operator's change of a region.
    SetRegion(RegionName, Set),
    /// An operator's change of an image. The current one makes way for a new one.
    SetImage(RegionName, ImageId, ImageState),
}

/// What operators set of a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set {
    pub(crate) enabled: bool,
    pub(crate) target_free: u32,
    pub(crate) swap_when_warm: bool,
}

impl Ask {
    /// The variant's name.
    pub(crate) fn name(&self) -> String {
        let text = format!("{self:?}");
        let end = text.find(|c: char| !c.is_alphanumeric());
        text[..end.unwrap_or(text.len())].to_owned()
    }
}

pub(crate) fn launch_of(id: &InstanceId) -> LaunchId {
    format!("launch-of-{id}").into()
}
