//! The port [`HostHandler`](shared::host::HostHandler) on EC2.

mod account;
mod addresses;
mod client;
mod convert;
mod doctor;
mod error_codes;
mod filters;
mod host_handler;
mod launch;
mod machines;
mod network;
mod retries;
mod terminate;

pub use client::{Ec2, Ec2Regions};
