//! What is remembered of the service as a whole, across the instances of its functions: when the
//! schedule last came, and which conditions operators were told of.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::lock::LockError;

/// A condition of the whole service that is alerted when it begins, and reported when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The regions cannot be listed, so that no pass runs.
    DatabaseDown,
    /// The schedule does not invoke `reconcile`.
    ScheduleStopped,
}

impl Condition {
    pub const ALL: [Self; 2] = [Self::DatabaseDown, Self::ScheduleStopped];

    pub fn name(self) -> &'static str {
        match self {
            Self::DatabaseDown => "database down",
            Self::ScheduleStopped => "schedule stopped",
        }
    }
}

/// The record of the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRecord {
    /// When the schedule last invoked `reconcile`; none before the first time.
    pub scheduled_at: Option<Timestamp>,
    /// Since when the database has been down, if operators were told of it.
    pub database_down: Option<Timestamp>,
    /// Since when the schedule has stopped, if operators were told of it.
    pub schedule_stopped: Option<Timestamp>,
}

impl ServiceRecord {
    /// Since when the condition lasts, if operators were told of it.
    pub fn since(&self, condition: Condition) -> Option<Timestamp> {
        match condition {
            Condition::DatabaseDown => self.database_down,
            Condition::ScheduleStopped => self.schedule_stopped,
        }
    }

    pub fn since_mut(&mut self, condition: Condition) -> &mut Option<Timestamp> {
        match condition {
            Condition::DatabaseDown => &mut self.database_down,
            Condition::ScheduleStopped => &mut self.schedule_stopped,
        }
    }
}

/// Reads and writes the record. Each method is one request, and of several callers one wins.
#[async_trait]
pub trait ServiceRecords: Send + Sync {
    async fn service_record(&self) -> Result<ServiceRecord, LockError>;

    /// Records a scheduled invocation. Returns the record as it was before.
    async fn record_schedule(&self, now: Timestamp) -> Result<ServiceRecord, LockError>;

    /// Records that a condition began; false if it was recorded before.
    async fn begin(&self, condition: Condition, since: Timestamp) -> Result<bool, LockError>;

    /// Removes a condition, and returns since when it lasted; none if it was not recorded.
    async fn end(&self, condition: Condition) -> Result<Option<Timestamp>, LockError>;

    /// Claims the search for stray instances; false if one was claimed after `before`.
    async fn claim_search(&self, now: Timestamp, before: Timestamp) -> Result<bool, LockError>;
}
