//! A stand-in for the host agent, the program that a real deployment runs on each instance.
//!
//! It keeps its side of the contract in `docs/host-agent.md`, with made-up sessions: a user
//! "connects" some time after being given a slot, and the session "runs" for a while. Whoever
//! writes the real agent replaces these two delays by the real thing.
//!
//! - [`config`]: the environment and the instance's user data;
//! - [`hasura`]: the GraphQL documents, typed against the schema, and the client;
//! - [`slots`]: what is to be done for each slot and when, pure;
//! - [`agent`]: the life of an agent, from boot to shutdown.

pub mod agent;
pub mod config;
pub mod hasura;
pub mod slots;
