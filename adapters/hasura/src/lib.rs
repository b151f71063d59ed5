//! The database ports over Hasura's GraphQL. The documents in `graphql/` are checked against
//! `hasura/schema.graphql` at compile time.

mod answer;
mod assign;
mod client;
mod database;
mod doctor;
mod documents;
mod failure;
mod instances;
mod overview;
mod recording;
mod rows;
mod sessions;
mod usage;

pub use assign::HasuraAssigner;
pub use client::{HasuraClient, HasuraSettings};
pub use database::HasuraDatabase;
pub use doctor::HasuraDoctor;
pub use overview::HasuraOverview;
pub use recording::HasuraRecordings;
