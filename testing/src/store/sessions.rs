//! Sessions of the status page that have ended.

use async_trait::async_trait;
use jiff::Timestamp;
use shared::lock::LockError;
use shared::sessions::EndedSessions;

use super::table::FakeStore;

#[async_trait]
impl EndedSessions for FakeStore {
    async fn end_session(&self, id: &str, until: Timestamp) -> Result<(), LockError> {
        let mut items = self.call("end_session")?;
        items.ended_sessions.insert(id.to_owned(), until);
        Ok(())
    }

    async fn is_ended(&self, id: &str) -> Result<bool, LockError> {
        Ok(self.call("is_ended")?.ended_sessions.contains_key(id))
    }
}
