//! The emulated account: its resources and the rules that change them.
//!
//! All of it is pure. Requests and the current time come in as arguments; nothing here does I/O,
//! waits or reads a clock. Tests can therefore control time.

mod address;
mod advance;
mod associate;
mod change;
mod ended_by;
mod file;
mod ids;
mod inject;
mod instance;
mod instance_types;
mod launch;
mod metadata;
mod offers;
mod region;
mod resolve;
mod shutdown;
mod state;
mod state_reason;

pub use address::{Address, Association, DisassociationReason};
pub use associate::AssociateOutcome;
pub use change::{Change, ChangeKind};
pub use ended_by::{EndedBy, LaunchFailure};
pub use file::{
    AddressFile, Architecture, Cidr, DEFAULT_WORLD, Image, ImageState, RegionFile, SecurityGroup,
    Subnet, Tags, WorldFile,
};
pub use instance::{
    AgentRun, Group, Instance, Interruption, LaunchSpec, ScheduledFault, ShutdownBehavior, State,
    Transition,
};
pub use instance_types::InstanceType;
pub use launch::LaunchRequest;
pub use metadata::{HttpTokens, MetadataOptions, Switch};
pub use region::{InstanceView, Region};
pub use shutdown::UnknownInstances;
pub use state::World;
pub use state_reason::StateReason;
