//! Sessions of the status page that have ended. They are in a partition of their own, the only one
//! that the function `status` may write.

use async_trait::async_trait;
use jiff::Timestamp;
use shared::lock::LockError;
use shared::sessions::EndedSessions;

use crate::errors::unavailable;
use crate::items::{Item, key, number};
use crate::table::DynamoStore;

#[async_trait]
impl EndedSessions for DynamoStore {
    async fn end_session(&self, id: &str, until: Timestamp) -> Result<(), LockError> {
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(session_key(id)))
            // DynamoDB deletes it some time after that.
            .item("ttl", number(until.as_second()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| unavailable("end a session of the status page", &error))
    }

    async fn is_ended(&self, id: &str) -> Result<bool, LockError> {
        self.client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(session_key(id)))
            .consistent_read(true)
            .send()
            .await
            .map(|answer| answer.item.is_some())
            .map_err(|error| unavailable("read whether a session has ended", &error))
    }
}

fn session_key(id: &str) -> Item {
    key("ENDED_SESSIONS", id)
}
