//! The domain: instances (rows), machines (EC2's view of them), images, launches, addresses and
//! replicas.

mod addresses;
mod image;
mod instance;
mod launching;
mod machine;
mod replicas;

pub use addresses::{AddressListing, AddressMove, AddressMoves, Carrier, ExternalAddress};
pub use image::{Image, ImageState};
pub use instance::{Instance, InstanceStatus, NewInstance, SlotCounts, SpotNotice, TerminateIf};
pub use launching::{CapacityRefusal, Intent, LaunchRequest};
pub use machine::{Machine, MachineState};
pub use replicas::{ReplicaAnswer, ReplicaStatus};
