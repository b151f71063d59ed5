//! Stray instances: machines with the stack's tags in a region of the account that has no row. No
//! pass sees them, so nobody counts or ends them. They are reported and never touched: another
//! stack with the same name may own them.

use futures::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::reconciler::Reconciler;
use crate::alerts::Problem;
use crate::host::{AccountRegions, HostError, HostErrorKind, HostHandler};
use crate::ids::{InstanceId, RegionName};
use crate::model::MachineState;

/// How long a search is not repeated.
const EVERY: SignedDuration = SignedDuration::from_hours(24);
/// Regions that are searched at the same time.
const AT_ONCE: usize = 4;
/// Instances that an alert names.
const NAMED: usize = 5;

impl Reconciler {
    /// Searches the account's other regions once a day, after the passes of a scheduled invocation,
    /// if it has time left. `known` are the regions that have a row.
    pub async fn search_strays(&self, known: &[RegionName], began: Timestamp) {
        let Some(account) = self.account.as_deref() else {
            return;
        };
        let now = self.clock.now();
        if self.is_over(began) {
            return;
        }
        match self.service.claim_search(now, now - EVERY).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                warn!(%error, "search for stray instances not claimed");
                return;
            }
        }
        if let Err(error) = self.search(account, known).await {
            warn!(%error, "search for stray instances failed");
        }
    }

    async fn search(
        &self,
        account: &dyn AccountRegions,
        known: &[RegionName],
    ) -> Result<(), HostError> {
        let mut regions = account.enabled_regions().await?;
        regions.retain(|region| !known.contains(region));
        let searches: Vec<_> = regions
            .into_iter()
            .map(|region| {
                let host = self.hosts.in_region(&region);
                async move { (region, live_machines(&*host).await) }
            })
            .collect();
        let found: Vec<_> = stream::iter(searches).buffered(AT_ONCE).collect().await;
        for (region, machines) in found {
            match machines {
                Ok(strays) if strays.is_empty() => {}
                Ok(strays) => self.report_strays(&region, &strays).await,
                // Organisations often deny all regions that they do not use.
                Err(error) if error.kind == HostErrorKind::Denied => {
                    info!(%region, %error, "region not searched for stray instances");
                }
                Err(error) => warn!(%region, %error, "region not searched for stray instances"),
            }
        }
        Ok(())
    }

    async fn report_strays(&self, region: &RegionName, strays: &[InstanceId]) {
        let names: Vec<_> = strays.iter().take(NAMED).map(InstanceId::as_str).collect();
        let more = match strays.len().saturating_sub(NAMED) {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        let text = format!(
            "{} instances with this stack's tags are in {region}, which has no row in `regions`: \
             {}{more}. Nothing counts or ends them: terminate them, or insert the region's row",
            strays.len(),
            names.join(", ")
        );
        tracing::error!(%region, reason = text, "alert raised");
        let kind = "stray instances".to_owned();
        self.alerts.send(region, &[Problem { kind, text }]).await;
    }
}

async fn live_machines(host: &dyn HostHandler) -> Result<Vec<InstanceId>, HostError> {
    let machines = host.list().await?;
    let live = machines
        .into_iter()
        .filter(|machine| machine.state != MachineState::Terminated)
        .map(|machine| machine.id);
    Ok(live.collect())
}
