//! The database ports of the service, over Hasura's GraphQL: typed documents in `graphql/`, checked
//! against `hasura/schema.graphql` at compile time.

mod assign;
mod client;
mod database;
mod instances;
mod overview;
mod rows;

pub use assign::HasuraAssigner;
pub use client::{HasuraClient, HasuraSettings};
pub use database::HasuraDatabase;
pub use overview::HasuraOverview;
