//! The database by itself and behind GraphQL: what its functions promise to
//! passes, to users and to host agents, also when all of them come at once.

mod agents;
mod assigning;
mod notices;
mod passes;
mod permissions;
mod races;
mod rush;
mod schema;
mod server;
mod status;
mod tables;
mod upgrades;
mod witness;
