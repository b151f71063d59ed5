//! A simulated host agent: the program that a real deployment runs on each instance.
//!
//! It fulfils the contract in `docs/host-agent.md` with simulated sessions. A user "connects" some
//! time after a slot was assigned, and the session "runs" for a while. A real agent replaces these
//! two delays with actual connections and sessions.
//!
//! - [`config`]: settings from the environment and from the instance's user data;
//! - [`hasura`]: the client, with GraphQL documents that are checked against the schema;
//! - [`slots`]: decides which actions the slots need, and when; no I/O;
//! - [`agent`]: the agent's lifecycle, from boot to shutdown.

pub mod agent;
pub mod config;
pub mod hasura;
pub mod slots;
pub mod tokens;
