//! What somebody has to look at: an error in the log, and a message where one is wanted.

#[cfg(feature = "alerts")]
pub mod sns;

use async_trait::async_trait;

use crate::ids::RegionName;

/// Tells an operator. Best effort: a pass never fails because nobody could be told.
#[async_trait]
pub trait Alerts: Send + Sync {
    /// `problems` are sentences, all of one pass.
    async fn send(&self, region: &RegionName, problems: &[String]);
}

/// The log is enough.
#[derive(Clone, Copy, Debug)]
pub struct LogOnly;

#[async_trait]
impl Alerts for LogOnly {
    async fn send(&self, _region: &RegionName, _problems: &[String]) {}
}
