//! What somebody has to look at: an error in the log, and a message where one is wanted.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::ids::RegionName;

/// One thing that will not go, or could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Equal as long as it is the same thing, whatever its numbers do.
    pub kind: String,
    pub text: String,
}

/// Tells an operator. Best effort: a pass never fails because nobody could be told.
#[async_trait]
pub trait Alerts: Send + Sync {
    /// `problems` are all of one pass. False when they could not be told.
    async fn send(&self, region: &RegionName, problems: &[Problem]) -> bool;
}

/// The log is enough.
#[derive(Clone, Copy, Debug)]
pub struct LogOnly;

#[async_trait]
impl Alerts for LogOnly {
    async fn send(&self, _region: &RegionName, _problems: &[Problem]) -> bool {
        true
    }
}

/// Tells a problem once, and again when it has lasted: a pass sees it every minute.
///
/// The memory is the process's. A new execution environment tells once more than needed,
/// which is better than a table that has to be read in every pass.
pub struct DedupingAlerts {
    inner: Arc<dyn Alerts>,
    clock: Arc<dyn Clock>,
    told: Mutex<HashMap<(RegionName, String), Timestamp>>,
}

/// How long a problem is not told again.
const REMINDER: SignedDuration = SignedDuration::from_mins(30);

impl fmt::Debug for DedupingAlerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupingAlerts")
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}

impl DedupingAlerts {
    pub fn new(inner: Arc<dyn Alerts>, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            clock,
            told: Mutex::default(),
        }
    }

    fn not_told_lately(&self, region: &RegionName, problems: &[Problem]) -> Vec<Problem> {
        let now = self.clock.now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < REMINDER);
        let known = |p: &&Problem| !told.contains_key(&(region.clone(), p.kind.clone()));
        problems.iter().filter(known).cloned().collect()
    }
}

#[async_trait]
impl Alerts for DedupingAlerts {
    async fn send(&self, region: &RegionName, problems: &[Problem]) -> bool {
        let news = self.not_told_lately(region, problems);
        if news.is_empty() {
            return true;
        }
        if !self.inner.send(region, &news).await {
            return false;
        }
        let now = self.clock.now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.extend(
            news.into_iter()
                .map(|problem| ((region.clone(), problem.kind), now)),
        );
        true
    }
}
