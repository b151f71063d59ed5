//! The record of the service as a whole.

use async_trait::async_trait;
use jiff::Timestamp;
use shared::lock::LockError;
use shared::service::{Condition, ServiceRecord, ServiceRecords};

use super::table::FakeStore;

#[async_trait]
impl ServiceRecords for FakeStore {
    async fn service_record(&self) -> Result<ServiceRecord, LockError> {
        Ok(self.call("service_record")?.service.clone())
    }

    async fn record_schedule(&self, now: Timestamp) -> Result<ServiceRecord, LockError> {
        let mut items = self.call("record_schedule")?;
        let before = items.service.clone();
        items.service.scheduled_at = Some(now);
        Ok(before)
    }

    async fn begin(&self, condition: Condition, since: Timestamp) -> Result<bool, LockError> {
        let mut items = self.call("begin")?;
        let recorded = items.service.since_mut(condition);
        let is_new = recorded.is_none();
        recorded.get_or_insert(since);
        Ok(is_new)
    }

    async fn end(&self, condition: Condition) -> Result<Option<Timestamp>, LockError> {
        Ok(self.call("end")?.service.since_mut(condition).take())
    }

    async fn claim_search(&self, now: Timestamp, before: Timestamp) -> Result<bool, LockError> {
        let mut items = self.call("claim_search")?;
        let is_due = items.searched_at.is_none_or(|at| at <= before);
        if is_due {
            items.searched_at = Some(now);
        }
        Ok(is_due)
    }
}
