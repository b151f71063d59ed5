//! Observing a region: stored state, PostgreSQL's rows and EC2's listing become one snapshot.

use std::collections::{BTreeMap, BTreeSet};

use futures::try_join;
use jiff::Timestamp;
use thiserror::Error;
use tracing::info;

use crate::db::{DbError, Observation, RegionDatabase};
use crate::execute::LaunchSettings;
use crate::host::{HostError, HostHandler};
use crate::ids::{InstanceId, RegionName};
use crate::lock::{Lease, LockError, WakeMark};
use crate::model::{AddressListing, Machine};
use crate::replicas::{ReplicaStatusApi, ask_all};
use crate::scaling::{Fleet, Snapshot, algorithm};
use crate::settings::RegionSettings;
use crate::store::{RegionState, StateStore};

/// Nothing is decided on a partial view: a source that does not answer ends the pass.
#[derive(Debug, Error)]
pub enum ObserveError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// The sources of a snapshot.
#[expect(missing_debug_implementations, reason = "ports, nothing to show")]
pub struct Observer<'a> {
    /// What launches of this stack have in common.
    pub launches: &'a LaunchSettings,
    pub database: &'a dyn RegionDatabase,
    pub host: &'a dyn HostHandler,
    pub store: &'a dyn StateStore,
    pub replicas: &'a dyn ReplicaStatusApi,
}

impl Observer<'_> {
    /// Observes as the lock's holder, and raises the fence. Returns the snapshot, the database's
    /// time, and the wake mark that was set before, which is to be cleared after the plan is
    /// executed.
    ///
    /// # Errors
    /// When a source does not answer, or the lock was lost.
    pub async fn observe_under_lease(
        &self,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<(Snapshot, Timestamp, Option<WakeMark>), ObserveError> {
        // Only the lock's holder changes the stored state, so it may be read before the rest.
        let mut state = self.store.region_state(&lease.region, now).await?;
        let mark = state.wake_mark.take();
        if let Some(mark) = &mark {
            info!(by = mark.by, "wake mark found");
        }
        let fence = lease.fence();
        let (observation, machines) = try_join!(
            async { Ok(self.database.begin_pass(&fence).await?) },
            async { Ok::<_, ObserveError>(self.host.list().await?) },
        )?;
        let (snapshot, now) = self.join(state, observation, machines).await?;
        Ok((snapshot, now, mark))
    }

    /// Observes without a lock, for a dry run, and changes nothing. Returns the snapshot and the
    /// database's time.
    ///
    /// # Errors
    /// When a source does not answer.
    pub async fn observe(
        &self,
        region: &RegionName,
        now: Timestamp,
    ) -> Result<(Snapshot, Timestamp), ObserveError> {
        let (state, observation, machines) = try_join!(
            async { Ok(self.store.region_state(region, now).await?) },
            async { Ok(self.database.observe(region).await?) },
            async { Ok::<_, ObserveError>(self.host.list().await?) },
        )?;
        self.join(state, observation, machines).await
    }

    async fn join(
        &self,
        state: RegionState,
        observation: Observation,
        machines: Vec<Machine>,
    ) -> Result<(Snapshot, Timestamp), ObserveError> {
        let machines: BTreeMap<_, _> = machines
            .into_iter()
            .map(|machine| (machine.id.clone(), machine))
            .collect();
        let long_missing = long_missing(&observation, &machines);
        let unknown_to_ec2 = if long_missing.is_empty() {
            BTreeSet::new()
        } else {
            self.host.gone(&long_missing).await?.into_iter().collect()
        };
        let Observation {
            mut settings,
            now,
            waiting,
            lines,
            flow,
            spending,
            watched_since,
            app_sha,
            images,
            instances,
        } = observation;
        // An unknown algorithm is reported by the decision.
        let fleet = algorithm(&settings.algorithm).map(|algorithm| algorithm.fleet());
        let launches = self.launches;
        let user_data =
            fleet.and_then(|fleet| launches.check_user_data(fleet, &settings, &images, now));
        settings.launch_problems.extend(user_data);
        let (answers, addresses) = match fleet {
            Some(Fleet::Replicas) => (
                ask_all(self.replicas, &settings.replicas.api, &machines).await,
                self.addresses(&settings).await,
            ),
            Some(Fleet::Instances) | None => (BTreeMap::new(), AddressListing::Off),
        };
        let snapshot = Snapshot {
            answers,
            unknown_since: state.unknown_since,
            addresses,
            address_moves: state.address_moves,
            settings,
            images,
            instances: instances
                .into_iter()
                .map(|row| (row.id.clone(), row))
                .collect(),
            machines,
            unknown_to_ec2,
            open_intents: state.open_intents,
            refusals: state.refusals,
            launches: state.launches,
            waiting,
            lines,
            flow,
            spending,
            app_sha,
            watched_since,
            tokens: launches.token_policy(),
            mass_removal_approved: false,
        };
        Ok((snapshot, now))
    }

    /// Lists the addresses, if the region has a pool. An error does not fail the pass: replicas are
    /// reconciled without their addresses.
    async fn addresses(&self, settings: &RegionSettings) -> AddressListing {
        let Some(tag) = &settings.replicas.address_tag else {
            return AddressListing::Off;
        };
        match self.host.addresses(tag).await {
            Ok(listed) => AddressListing::Listed(listed),
            Err(error) => AddressListing::Unknown {
                why: error.to_string(),
            },
        }
    }
}

/// The instances that listings have not contained for `missing_seconds`. EC2 is asked for them by
/// id, because a listing alone does not prove that an instance is gone.
fn long_missing(
    observation: &Observation,
    machines: &BTreeMap<InstanceId, Machine>,
) -> Vec<InstanceId> {
    let missing_seconds = observation.settings.timeouts.missing;
    observation
        .instances
        .iter()
        .filter(|row| {
            row.missing_since
                .is_some_and(|since| observation.now.duration_since(since) >= missing_seconds)
        })
        .filter(|row| !machines.contains_key(&row.id))
        .map(|row| row.id.clone())
        .collect()
}
