//! Alerts: what an operator must act on. Each is an error in the log and, if the stack has an alert
//! topic, a message.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::ids::RegionName;

/// One condition that an operator must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Identifies the condition while it lasts; unlike `text`, it holds no ids and no numbers.
    pub kind: String,
    pub text: String,
}

/// Sends alerts to an operator. Best effort: a pass never fails because an alert could not be sent.
#[async_trait]
pub trait Alerts: Send + Sync {
    /// Sends the problems of one pass. False if they could not be sent.
    async fn send(&self, region: &RegionName, problems: &[Problem]) -> bool;
}

/// Sends nothing: the log already has every problem.
#[derive(Clone, Copy, Debug)]
pub struct LogOnly;

#[async_trait]
impl Alerts for LogOnly {
    async fn send(&self, _region: &RegionName, _problems: &[Problem]) -> bool {
        true
    }
}

/// Sends a problem once, and again after [`REMINDER`]: a lasting problem is found by every pass,
/// which is once a minute.
///
/// What was sent is kept in the process. A new execution environment sends once more than needed,
/// which is better than a table that every pass has to read.
pub struct DedupingAlerts {
    inner: Arc<dyn Alerts>,
    clock: Arc<dyn Clock>,
    sent: Mutex<HashMap<(RegionName, String), Timestamp>>,
}

/// How long a problem is not sent again.
const REMINDER: SignedDuration = SignedDuration::from_mins(30);

impl fmt::Debug for DedupingAlerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupingAlerts")
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

impl DedupingAlerts {
    pub fn new(inner: Arc<dyn Alerts>, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            clock,
            sent: Mutex::default(),
        }
    }

    fn not_sent_recently(&self, region: &RegionName, problems: &[Problem]) -> Vec<Problem> {
        let now = self.clock.now();
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|_, at| now.duration_since(*at) < REMINDER);
        let is_new = |p: &&Problem| !sent.contains_key(&(region.clone(), p.kind.clone()));
        problems.iter().filter(is_new).cloned().collect()
    }
}

#[async_trait]
impl Alerts for DedupingAlerts {
    async fn send(&self, region: &RegionName, problems: &[Problem]) -> bool {
        let new_problems = self.not_sent_recently(region, problems);
        if new_problems.is_empty() {
            return true;
        }
        if !self.inner.send(region, &new_problems).await {
            return false;
        }
        let now = self.clock.now();
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.extend(
            new_problems
                .into_iter()
                .map(|problem| ((region.clone(), problem.kind), now)),
        );
        true
    }
}
