//! The port of the status page's sessions that have ended before their time. A session is a signed
//! cookie, which stays valid wherever it was copied to: only this list ends it.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::lock::LockError;

/// Lists sessions that were ended. Each method is one request.
#[async_trait]
pub trait EndedSessions: Send + Sync {
    /// Ends a session. It stays on the list until `until`, when it would have ended by itself.
    async fn end_session(&self, id: &str, until: Timestamp) -> Result<(), LockError>;

    /// Whether the session is on the list. It is from the moment on that
    /// [`end_session`](Self::end_session) has answered.
    async fn is_ended(&self, id: &str) -> Result<bool, LockError>;
}
