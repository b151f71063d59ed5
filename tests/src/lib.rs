//! What the test programs in `tests/` share: servers that are started once for each test program,
//! clients of a deployed stack, and assertions on its state.
#![allow(
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::panic,
    missing_debug_implementations
)]

pub mod alarm;
pub mod browser;
pub mod cargo_lambda;
pub mod crashes;
pub mod database;
pub mod deployed;
pub mod graphql;
pub mod http;
pub mod iam;
pub mod invariants;
pub mod ledger;
pub mod logs;
pub mod markdown;
pub mod metadata;
pub mod plans;
pub mod proxy;
pub mod region;
pub mod replica_server;
pub mod settings;
pub mod store_view;
pub mod table;
pub mod themes;
pub mod wait;
pub mod world;
