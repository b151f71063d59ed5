//! The ports [`RegionLock`](shared::lock::RegionLock), [`StateStore`](shared::store::StateStore),
//! [`ServiceRecords`](shared::service::ServiceRecords), [`History`](shared::history::History) and
//! [`EndedSessions`](shared::sessions::EndedSessions) on one DynamoDB table.
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
//! | doctor's last report | `DOCTOR` | `REPORT` |
//! | record of the service as a whole | `SERVICE` | `SERVICE` |
//! | ended session of the status page | `ENDED_SESSIONS` | its id |
//!
//! What a pass reads at its start shares a partition with nothing else, so that its one query stays
//! small however old the service is.

mod doctor;
mod errors;
mod history;
mod items;
mod lock;
mod service;
mod sessions;
mod store;
mod table;

pub use table::DynamoStore;
