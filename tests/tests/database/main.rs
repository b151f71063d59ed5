//! The database, alone and behind GraphQL: the contracts of its functions for passes, users and
//! host agents, also under concurrency.

mod addresses;
mod agents;
mod allow_list;
mod assigning;
mod black_holes;
mod clocks;
mod copies;
mod demand;
mod doctor;
mod drains;
mod endings;
mod engine;
mod function_roles;
mod history;
mod line;
mod line_races;
mod line_rush;
mod never_wait;
mod passes;
mod permissions;
mod races;
mod recording;
mod rotation;
mod rush;
mod schema;
mod server;
mod session_ends;
mod settings;
mod settings_that_work;
mod spot_notices;
mod status;
mod tables;
mod upgrades;
mod upkeep;
mod usage;
