//! The port [`HostHandler`](shared::host::HostHandler) on EC2.

mod addresses;
mod client;
mod convert;
mod error_codes;
mod host_handler;
mod launch;
mod retries;
mod terminate;

pub use client::{Ec2, Ec2Regions};
