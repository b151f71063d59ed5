//! The whole function in this process: real HTTP to a stand-in identity provider and a
//! stand-in GraphQL engine, real signatures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]
#![allow(unreachable_pub, reason = "nothing is outside of a test binary")]

mod assigning;
mod events;
mod http_rules;
mod log_lines;
mod robustness;
mod support;
mod tokens;
