//! Stateful fakes of what a pass talks to, and builders of what it sees. They record calls and
//! take a next error; what a test asserts is the state that is left.

mod builders;
mod database;
mod host;
mod store;
mod world;

pub use builders::{BOOT, NOW, at, image, instance, machine, settings, snapshot};
pub use database::FakeDatabase;
pub use host::FakeHost;
pub use store::FakeStore;
pub use world::{FakeClock, Sent, World};
