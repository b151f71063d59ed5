//! The database, alone and behind GraphQL: the contracts of its functions for passes, users and
//! host agents, also under concurrency.

mod agents;
mod assigning;
mod passes;
mod permissions;
mod races;
mod rush;
mod schema;
mod server;
mod session_ends;
mod settings;
mod spot_notices;
mod status;
mod tables;
mod upgrades;
