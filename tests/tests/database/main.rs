//! The database, alone and behind GraphQL: the contracts of its functions for passes, users and
//! host agents, also under concurrency.

mod agents;
mod assigning;
mod notices;
mod passes;
mod permissions;
mod races;
mod rush;
mod schema;
mod server;
mod settings;
mod status;
mod tables;
mod upgrades;
mod witness;
