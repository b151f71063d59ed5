//! The templates on the local AWS, with functions that are never invoked: what an operator changes
//! by a deployment, and what AWS refuses.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod fixture;
mod limits;
mod secrets;
