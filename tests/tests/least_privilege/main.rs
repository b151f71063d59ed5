//! Least privilege. The policies of the deployed roles are compared with the calls that the functions
//! make on the local stack, in both directions: nothing is missing, nothing is spare. And what a
//! function could do if somebody else ran its code is tried against the policies.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod attacks;
mod exercise;
mod recorded;
mod templates;
