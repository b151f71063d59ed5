//! Runs the whole service on one machine, for people who try it and for tests.
//!
//! Everything listens on loopback only. All processes are children of one process, and all files
//! are in one folder:
//!
//! - [`dir`]: the folder of a stack, used by one process at a time;
//! - `private_file`: files with secrets;
//! - [`process`], [`leftovers`], `proc_table`: child processes, and those of a crashed run;
//! - [`ports`], `health`, `thread_server`: where servers listen, and when they are ready;
//! - [`postgres`], `migrations`, [`graphql`], [`events`], [`ministack`], [`ec2`], [`ec2_events`]:
//!   the components;
//! - [`keys`], [`token`], [`jwks`]: the users' login service;
//! - [`deploy`], `expiry`, [`forwarding`], [`invoke`]: `template.yaml` and `forward-events.yaml` on the local
//!   AWS, and calls of the deployed functions;
//! - [`stack`], [`options`], [`env_file`]: all components together;
//! - [`operator`], [`seed`], `fill`, [`upgrade`], [`doctor`]: what an operator does with a stack;
//! - [`up`], [`demo`], `signals`, `steps`: the commands that run until Ctrl-C;
//! - [`line_order`]: whether waiting users were served in their order, as they saw it;
//! - [`project`], `world`: paths of the checkout, and the EC2 emulator's world file;
//! - [`random`]: seeded random numbers.
//!
//! Tests start the components that they need (`Postgres::start`, `Ministack::start`), or all of
//! them (`Stack::start`). Errors are `anyhow::Error`: people read them, and no code decides by
//! their kind.

pub mod demo;
pub mod deploy;
pub mod dir;
pub mod doctor;
pub mod ec2;
pub mod ec2_events;
pub mod env_file;
pub mod events;
mod expiry;
mod fill;
pub mod forwarding;
pub mod graphql;
mod health;
pub mod invoke;
pub mod jwks;
pub mod keys;
pub mod leftovers;
pub mod line_order;
mod migrations;
pub mod ministack;
pub mod operator;
pub mod options;
pub mod ports;
pub mod postgres;
mod private_file;
mod proc_table;
pub mod process;
pub mod project;
pub mod random;
pub mod seed;
mod signals;
pub mod stack;
mod steps;
mod thread_server;
pub mod token;
pub mod tokens;
pub mod up;
pub mod upgrade;
mod world;
