//! The scaling service: what its functions share, without any I/O.
//!
//! An event becomes a [`trigger::Trigger`]; a trigger runs a [`pass`] for each region:
//! lock → observe → decide → execute → record → unlock.
//!
//! | part | modules |
//! |---|---|
//! | the pass | [`pass`], then [`observe`], [`scaling`] (deciding), [`execute`], [`publish`] |
//! | domain | [`ids`], [`model`], [`settings`], [`trigger`], [`assign`], [`report`], [`user_data`], [`agent_token`], [`function_token`], [`words`] |
//! | ports for passes | [`db`] (PostgreSQL), [`host`] (EC2), [`lock`], [`store`] and [`service`] (DynamoDB), [`replicas`], [`alerts`], [`clock`] |
//! | ports for reading | [`overview`] and [`usage`] (PostgreSQL), [`history`] and [`sessions`] (DynamoDB) |
//! | watching it | [`metrics`]: all of them, and their log lines; [`trace`] |
//! | checking a deployment | [`doctor`]: its ports, and what their facts mean |
//!
//! What implements a port is in `adapters/`; the fakes are in `testing/`.

pub mod agent_token;
pub mod alerts;
pub mod assign;
pub mod clock;
pub mod db;
pub mod doctor;
pub mod execute;
pub mod function_token;
pub mod history;
pub mod host;
pub mod ids;
pub mod leased_host;
pub mod lock;
pub mod metrics;
pub mod model;
pub mod observe;
pub mod overview;
pub mod pass;
pub mod publish;
pub mod recording;
pub mod replicas;
pub mod report;
pub mod scaling;
pub mod service;
pub mod sessions;
pub mod settings;
pub mod store;
pub mod trace;
pub mod trigger;
pub mod usage;
pub mod user_data;
pub mod words;
