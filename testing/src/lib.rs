//! Stateful fakes of what a pass talks to, and builders of what it sees. They record calls and
//! take a next error; what a test asserts is the state that is left.
//!
//! Each fake is a plain state with synchronous methods that take the time ([`Tables`],
//! [`RegionItems`], [`Machines`]), and a thin port around it ([`FakeDatabase`], [`FakeStore`],
//! [`FakeHost`]). There is no chance and no wall clock in them: ids count.

mod builders;
mod database;
mod host;
pub mod invariants;
mod overview;
mod replicas;
mod store;
mod world;

pub use builders::{BOOT, ENVIRONMENT, NOW, at, image, instance, machine, settings, snapshot};
pub use database::{
    AgentAnswer, AgentOutcome, Database, FakeAssigner, FakeDatabase, FenceRow, Heartbeat,
    InstanceRow, RegionRow, Rows, SlotRow, SlotStatus, Tables, WaitingUser,
};
pub use host::{
    Addresses, Binding, Delays, FakeAddress, FakeHost, FakeHosts, FakeMachine, HostState, Machines,
    TokenEnds, address_of,
};
pub use overview::{FakeOverview, image_overview, region_overview};
pub use replicas::FakeReplicas;
pub use store::{FakeStore, Held, Items, RegionItems};
pub use world::{FakeClock, Sent, World};
