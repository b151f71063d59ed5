//! Stateful fakes of the ports, and builders of test data. A fake records its calls and can be told
//! to fail the next one; tests assert on the state that is left.
//!
//! Each fake is a plain state, whose synchronous methods take the time ([`Tables`],
//! [`RegionItems`], [`Machines`]), with a thin port around it ([`FakeDatabase`], [`FakeStore`],
//! [`FakeHost`]). Fakes are deterministic: they use no randomness and no wall clock, and ids are
//! counted.

mod builders;
mod database;
mod discarded;
pub mod function_process;
mod host;
pub mod invariants;
mod log;
mod overview;
mod plain_words;
mod recordings;
mod replicas;
mod store;
mod usage;
mod world;

pub use builders::{
    BOOT, ENVIRONMENT, NOW, at, image, instance, machine, refusal, schedule, settings, snapshot,
};
pub use database::{
    AgentAnswer, AgentClaims, AgentOutcome, Database, EndCause, FailedSession, FakeAssigner,
    FakeDatabase, FenceRow, Heartbeat, InstanceEnd, InstanceRecord, InstanceRow, LineForecast,
    RegionRow, Rows, SafetyFactor, SessionEndsRow, SlotRow, SlotStatus, Tables, TokenRow,
    UnservedUser, WaitingUser, stored_name,
};
pub use discarded::{CountedIds, Discarded};
pub use host::{
    Addresses, Binding, Delays, FakeAddress, FakeHost, FakeHosts, FakeMachine, HostState, Machines,
    TokenEnds, address_of,
};
pub use log::Log;
pub use overview::{FakeOverview, image_overview, region_overview};
pub use plain_words::{assert_plain, rust_in};
pub use recordings::EveryMinute;
pub use replicas::FakeReplicas;
pub use store::{FakeStore, Held, Items, RegionItems};
pub use usage::FakeUsage;
pub use world::{FakeClock, Recorded, Sent, World};
