//! Watching over the service as a whole: an outage of the database and a schedule that has stopped
//! are alerted once, whichever function notices, and their end is reported.

use jiff::{SignedDuration, Timestamp};
use tracing::{error, info, warn};

use super::reconciler::Reconciler;
use crate::alerts::Problem;
use crate::db::DbError;
use crate::ids::RegionName;
use crate::service::{Condition, ServiceRecord};
use crate::trigger::Trigger;

/// The schedule comes each minute. EventBridge may be late, but not by this much.
pub const SCHEDULE_STOPPED_AFTER: SignedDuration = SignedDuration::from_mins(5);

impl Reconciler {
    /// Records a scheduled invocation. Any other one checks that the schedule still comes. Returns
    /// the record of the service, or none if it cannot be read: an invocation does not fail by it.
    pub async fn check_in(&self, trigger: &Trigger) -> Option<ServiceRecord> {
        let now = self.clock.now();
        let record = match trigger {
            Trigger::Schedule => self.service.record_schedule(now).await,
            _ => self.service.service_record().await,
        };
        let record = record
            .inspect_err(|error| warn!(%error, "record of the service not read"))
            .ok()?;
        let is_reported = record.schedule_stopped.is_some();
        let is_late = |last: &Timestamp| now.duration_since(*last) >= SCHEDULE_STOPPED_AFTER;
        if *trigger == Trigger::Schedule {
            if is_reported {
                let says = "the schedule invokes reconcile again";
                self.end(Condition::ScheduleStopped, says, now).await;
            }
        } else if let Some(last) = record.scheduled_at.filter(is_late)
            && !is_reported
        {
            let text = format!(
                "the schedule has not invoked reconcile since {last}: regions get a pass after \
                 events only. Is the rule of the stack enabled, and may it invoke the function?"
            );
            self.begin(Condition::ScheduleStopped, last, text).await;
        }
        Some(record)
    }

    /// Alerts that the database does not answer, once for each outage.
    pub async fn begin_outage(&self, error: &DbError) {
        let text = format!("no region gets a pass, because the regions cannot be listed: {error}");
        let since = self.clock.now();
        self.begin(Condition::DatabaseDown, since, text).await;
    }

    /// Reports that the database answers again, if the record says that it did not.
    pub async fn end_outage(&self, record: Option<&ServiceRecord>) {
        if record.is_some_and(|record| record.database_down.is_some()) {
            let says = "the database answers again, and passes run";
            let now = self.clock.now();
            self.end(Condition::DatabaseDown, says, now).await;
        }
    }

    /// Whether operators were told that the database is down.
    pub(super) async fn has_outage(&self) -> bool {
        let record = self.service.service_record().await;
        record.is_ok_and(|record| record.database_down.is_some())
    }

    /// Records a condition and alerts it, unless another invocation did so. If it cannot be
    /// recorded, it is alerted all the same: too often is better than never.
    async fn begin(&self, condition: Condition, since: Timestamp, text: String) {
        let recorded = match self.service.begin(condition, since).await {
            Ok(false) => return,
            Ok(true) => true,
            Err(error) => {
                warn!(%error, "condition of the service not recorded");
                false
            }
        };
        error!(reason = text, "alert raised");
        // Each time that it begins is another problem. Without a record it is one problem, which
        // this process alerts once in a while.
        let kind = if recorded {
            format!("{} since {since}", condition.name())
        } else {
            condition.name().to_owned()
        };
        let sent = self.send_for_all(kind, text).await;
        if recorded
            && !sent
            && let Err(error) = self.service.end(condition).await
        {
            // Otherwise the next invocation tries again.
            warn!(%error, "alert not sent, and it will not be sent again");
        }
    }

    /// Removes a condition and reports its end, unless another invocation did so.
    async fn end(&self, condition: Condition, says: &str, now: Timestamp) {
        match self.service.end(condition).await {
            Ok(None) => {}
            Ok(Some(since)) => {
                let minutes = now.duration_since(since).as_mins().max(1);
                let text = format!("{says}, after {minutes} min");
                info!(reason = text, "alert ended");
                let kind = format!("{} until {now}", condition.name());
                self.send_for_all(kind, text).await;
            }
            Err(error) => warn!(%error, "end of a condition not recorded"),
        }
    }

    async fn send_for_all(&self, kind: String, text: String) -> bool {
        let all = RegionName::from("all-regions");
        self.alerts.send(&all, &[Problem { kind, text }]).await
    }
}
