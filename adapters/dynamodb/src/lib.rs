//! The ports [`RegionLock`](shared::lock::RegionLock), [`StateStore`](shared::store::StateStore)
//! and [`History`](shared::history::History) on one DynamoDB table.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | lock, never deleted | `REGION#name` | `LOCK` |
//! | wake mark | `REGION#name` | `WAKE` |
//! | open intent | `REGION#name` | `INTENT#launch` |
//! | capacity refusal | `REGION#name` | `REFUSAL#type#subnet`, for spot `REFUSAL#spot#type#subnet` |
//! | record of replicas | `REGION#name` | `REPLICAS` |
//! | closed intent | `CLOSED#name` | `INTENT#launch` |
//! | decision | `DECISIONS#name` | the lock's version, 20 digits |
//! | counts of the last decision within ten seconds | `POINTS#name` | the time, to ten seconds |
//! | seen event | `SEEN#id` | `SEEN` |
//!
//! What a pass reads at its start shares a partition with nothing else, so that its one query stays
//! small however old the service is.

mod errors;
mod history;
mod items;
mod lock;
mod store;
mod table;

pub use table::DynamoStore;
