//! The whole service on one machine, for a person to try and for tests to drive.
//!
//! Everything runs on loopback, as children of one process, in one folder:
//!
//! - [`dir`]: the folder of a stack, held by one process at a time;
//! - [`process`], `leftovers`: children that never outlive it;
//! - [`ports`]: where they listen;
//! - [`postgres`], [`graphql`], [`events`], [`ministack`], [`ec2`], [`ec2_events`]: the
//!   parts;
//! - [`keys`], [`token`], [`jwks`]: the users' login service;
//! - [`deploy`], [`invoke`]: `template.yaml` on the local AWS;
//! - [`forwarding`]: `forward-events.yaml` in its other regions;
//! - [`stack`], [`options`], [`env_file`]: all of it together;
//! - [`operator`], [`seed`], [`up`]: what a person does with it;
//! - [`demo`], [`dice`]: a day of users, to be watched.
//!
//! Tests start the parts that they need (`Postgres::start`, `Ministack::start`),
//! or all of them (`Stack::start`). Errors are `anyhow`'s: this is a tool, and
//! whoever reads its errors is a person.

pub mod demo;
pub mod deploy;
pub mod dice;
pub mod dir;
pub mod ec2;
pub mod ec2_events;
pub mod env_file;
pub mod events;
pub mod forwarding;
pub mod graphql;
mod http;
pub mod invoke;
pub mod jwks;
pub mod keys;
mod leftovers;
mod migrations;
pub mod ministack;
pub mod operator;
pub mod options;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod project;
pub mod seed;
pub mod stack;
mod steps;
mod thread_server;
pub mod token;
pub mod up;
pub mod upgrade;
mod world;
