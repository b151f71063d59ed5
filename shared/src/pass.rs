//! A pass: lock → observe → decide → execute → record → unlock.
//!
//! [`Reconciler::run`] is one pass for one region. It goes through these steps once, and again if
//! the region was marked meanwhile ([`rounds`]). Functions that are triggered by events come in
//! through [`Reconciler::handle_event`] ([`events`]).

mod events;
mod reconciler;
mod rounds;
mod strays;
mod watch;

use tracing::{Instrument, info_span};

pub use events::{EventOutcome, catch_panic};
pub use reconciler::{HandOverError, PassLimits, PassRequest, ReconcileInvoker, Reconciler};
use reconciler::{PassError, millis};
pub use watch::SCHEDULE_STOPPED_AFTER;

use crate::db::DbError;
use crate::host::HostHandler;
use crate::ids::RegionName;
use crate::metrics;
use crate::observe::Observer;
use crate::publish;
use crate::report::{PassOutcome, PassReport};
use crate::scaling;

impl Reconciler {
    /// Runs one pass for one region. Errors are in the report.
    pub async fn run(&self, region: &RegionName, request: &PassRequest) -> PassReport {
        let span = info_span!("pass", %region, trigger = request.trigger.name(), id = request.id);
        async {
            let mut report = PassReport::of(region);
            let outcome = self.run_rounds(request, &mut report).await;
            // Operators know of an outage: each region's failed pass is no news.
            let is_known = match &outcome {
                Err(error) if error.is_database_down() => self.has_outage().await,
                _ => false,
            };
            if let Err(error) = &outcome {
                report.measured.lock_lost |= error.is_lock_lost();
            }
            report.outcome = outcome.unwrap_or_else(|error| PassOutcome::Failed {
                error: error.to_string(),
            });
            report.duration_ms = millis(self.clock.now().duration_since(request.began));
            publish::log_pass(&report);
            for batch in metrics::of_pass(&report) {
                self.metrics.record(batch);
            }
            if !is_known {
                publish::alert(&*self.alerts, &report).await;
            }
            report
        }
        .instrument(span)
        .await
    }

    /// Plans what a pass would do now, and why. Takes no lock and changes nothing.
    pub async fn dry_run(&self, region: &RegionName, request: &PassRequest) -> PassReport {
        let began = self.clock.now();
        let host = self.hosts.in_region(region);
        let plan = async {
            let (mut snapshot, now) = self.observer(&*host).observe(region, began).await?;
            snapshot.mass_removal_approved = request.approve_mass_removal;
            Ok::<_, PassError>(scaling::decide(&snapshot, now)?)
        };
        let mut report = match plan.await {
            Ok(plan) => PassReport {
                outcome: PassOutcome::DryRun,
                plan: Some(plan),
                ..PassReport::of(region)
            },
            Err(error) => PassReport::failed(region, &error),
        };
        report.duration_ms = millis(self.clock.now().duration_since(began));
        report
    }

    /// Every region that has a row. If the database does not list them, no pass can report that, so
    /// this sends the alert, once for each outage.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn regions(&self) -> Result<Vec<RegionName>, DbError> {
        let regions = self.regions.regions().await;
        if let Err(error) = &regions {
            self.begin_outage(error).await;
        }
        regions
    }

    /// The observer of one region, with the region's host.
    pub fn observer<'a>(&'a self, host: &'a dyn HostHandler) -> Observer<'a> {
        Observer {
            launches: &self.launches,
            database: &*self.regions,
            host,
            store: &*self.store,
            replicas: &*self.replicas,
        }
    }
}
