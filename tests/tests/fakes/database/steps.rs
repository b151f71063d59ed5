//! The steps of a history of the database.

use jiff::Timestamp;
use shared::agent_token::AgentToken;
use shared::assign::AssignRequest;
use shared::db::Fence;
use shared::ids::{ClientSha, ImageId, InstanceId, LaunchId, RegionName};
use shared::model::TerminateIf;
use shared::model::{DrainCause, ImageState, InstanceAddresses, NewInstance, Outlook, SpotNotice};
use shared::settings::Endings;
use testing::{AgentClaims, SlotStatus};

pub(crate) const REGIONS: [&str; 2] = ["eu-west-1", "us-east-1"];
/// The images that every region has from the beginning.
pub(crate) const IMAGES: [&str; 2] = ["ami-1", "ami-2"];
/// An image that has a row only once it is requested.
pub(crate) const NEW_IMAGE: &str = "ami-3";

/// An action at a time.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Timestamp,
    pub(crate) action: Action,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Regions,
    BeginPass(Fence),
    Observe(RegionName),
    Record(Fence, Vec<NewInstance>),
    Adopt(Fence, Vec<NewInstance>),
    Drain(Fence, Vec<InstanceId>, DrainCause),
    Reopen(Fence, Vec<InstanceId>),
    Terminate(Fence, Vec<InstanceId>, TerminateIf),
    Remove(Fence, Vec<InstanceId>),
    NoteMissing(Fence, Vec<InstanceId>, Vec<InstanceId>),
    NoteAddresses(Fence, Vec<InstanceAddresses>),
    Release(Fence),
    MoveImage(Fence, ImageId, ImageState, ImageState),
    /// A request for an image.
    Upgrade(RegionName, ImageId, ClientSha),
    Find(InstanceId),
    GiveNotice(InstanceId, SpotNotice),
    NoteRunning(Vec<(InstanceId, Timestamp)>),
    Assign(AssignRequest),
    Register(InstanceId, LaunchId),
    Heartbeat(InstanceId, LaunchId),
    /// A heartbeat that says for how many seconds the user of a slot has been idle.
    Idle(InstanceId, LaunchId, String, u32),
    /// What the instance's agent has to end, as its heartbeat tells it.
    Ends(InstanceId, LaunchId),
    /// A pass writes the ends of sessions.
    MarkEnds(Fence),
    /// A user ends a session, or an operator does.
    End {
        user: String,
        session: String,
        by_operator: bool,
    },
    /// An operator sets limits, drains an instance, or changes its cause to another.
    SetEndings(RegionName, Endings),
    DrainByHand(InstanceId),
    /// Heartbeats of several instances, each of its own launch.
    Beats(Vec<InstanceId>),
    /// A pass renews tokens.
    Renew(Fence, Vec<(InstanceId, AgentToken)>),
    /// A heartbeat with a certain token.
    BeatWith(InstanceId, AgentClaims),
    /// An agent reads its instance.
    Own(InstanceId, LaunchId),
    /// An operator revokes an agent's token.
    Revoke(InstanceId),
    Claim {
        slot: String,
        user: String,
        session: String,
        launch: LaunchId,
    },
    Report(String, SlotStatus, LaunchId),
    Replace(String, LaunchId),
    /// An agent takes its instance out of service, for a reason.
    Leave(InstanceId, String, LaunchId),
    /// What a pass expects of its region.
    Forecast(Fence, Outlook),
    /// An operator's change of a region.
    SetRegion(RegionName, Set),
    /// An operator's change of an image. A new current image replaces the old one.
    SetImage(RegionName, ImageId, ImageState),
}

/// The settings of a region that operators change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set {
    pub(crate) enabled: bool,
    pub(crate) target_free: u32,
    pub(crate) swap_when_warm: bool,
}

impl Action {
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
