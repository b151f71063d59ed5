//! The domain: instances (rows), machines (EC2's view of them), images, launches, lines, flows of
//! users, addresses and replicas.

mod addresses;
mod flow;
mod image;
mod instance;
mod launching;
mod line;
mod machine;
mod replicas;
mod spending;

pub use addresses::{AddressListing, AddressMove, AddressMoves, Carrier, ExternalAddress};
pub use flow::{Boot, FLOW_STEPS, Flow};
pub use image::{Image, ImageState};
pub use instance::{
    DrainCause, EndCounts, Instance, InstanceAddresses, InstanceStatus, NewInstance, NextToken,
    SessionEnds, SlotCounts, SpotNotice, TerminateIf,
};
pub use launching::{CapacityPool, Intent, LaunchRequest, LaunchTally, Refusal};
pub use line::{ExpectedSlots, Forecast, Line, Outlook};
pub use machine::{Machine, MachineState, StateReason};
pub use replicas::{ReplicaAnswer, ReplicaStatus};
pub use spending::{DayCost, Spending, UnpricedTime};
