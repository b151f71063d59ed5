//! The scaling service: everything that its functions share.
//!
//! An event becomes a [`trigger::Trigger`]; a trigger runs a [`pass`] for each
//! region: lock → observe → decide → record → act → record → unlock.
//!
//! | part | modules |
//! |---|---|
//! | domain: no I/O, no clock | [`ids`], [`model`], [`trigger`], [`scaling`], [`assign`], [`report`] |
//! | the story | [`pass`], then [`observe`], [`act`], [`record`] |
//! | ports and what is behind them | [`db`] (Hasura), [`host`] (EC2), [`lock`] (DynamoDB), [`alerts`] (SNS) |
//! | for who only looks | [`overview`] (Hasura), [`history`] (DynamoDB) |
//! | plumbing | [`config`], [`clock`], [`http`], [`telemetry`], [`agent_token`], [`user_data`], [`wiring`] |

pub mod act;
pub mod agent_token;
pub mod alerts;
pub mod assign;
#[cfg(feature = "dynamodb")]
pub mod aws;
pub mod clock;
pub mod config;
pub mod db;
#[cfg(feature = "function-url")]
pub mod function_url;
pub mod history;
pub mod host;
pub mod http;
pub mod ids;
pub mod lock;
pub mod model;
pub mod observe;
pub mod overview;
pub mod pass;
pub mod record;
pub mod replicas;
pub mod report;
pub mod scaling;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trigger;
pub mod user_data;
#[cfg(all(feature = "ec2", feature = "dynamodb", feature = "alerts"))]
pub mod wiring;
