//! Looking at a region: DynamoDB's memory, Postgres' rows and EC2's listing, as one snapshot.

use std::collections::{BTreeMap, BTreeSet};

use futures::try_join;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;
use tracing::info;

use crate::db::{Database, DbError, Observation};
use crate::host::{HostError, HostHandler};
use crate::ids::{InstanceId, RegionName};
use crate::lock::{LaunchLog, Lease, LockError, RegionMemory, WakeMark};
use crate::model::{AddressListing, Machine, RegionSettings};
use crate::replicas::{ReplicaStatusApi, ask_all};
use crate::scaling::Snapshot;

/// Nothing is decided on half a view: any part that is missing ends the pass.
#[derive(Debug, Error)]
pub enum ObserveError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// What a pass looks with.
#[expect(missing_debug_implementations, reason = "ports, nothing to show")]
pub struct Eyes<'a> {
    pub renew_after: SignedDuration,
    pub database: &'a dyn Database,
    pub host: &'a dyn HostHandler,
    pub log: &'a dyn LaunchLog,
    pub replicas: &'a dyn ReplicaStatusApi,
}

impl Eyes<'_> {
    /// The view of the lock's holder, under the fence that it raises; with the wake mark that was
    /// set before the look, to be cleared when it has been acted on.
    pub async fn observe_under(
        &self,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<(Snapshot, Timestamp, Option<WakeMark>), ObserveError> {
        // The intents may be read first: only the lock's holder changes them.
        let mut memory = self.log.memory(&lease.region, now).await?;
        let wanted = memory.wanted.take();
        if let Some(mark) = &wanted {
            info!(by = mark.by, "wanted");
        }
        let fence = lease.fence();
        let (observation, machines) = try_join!(
            async { Ok(self.database.begin_pass(&fence).await?) },
            async { Ok::<_, ObserveError>(self.host.list().await?) },
        )?;
        let (snapshot, now) = self.join(memory, observation, machines).await?;
        Ok((snapshot, now, wanted))
    }

    /// A bystander's view, for a dry run: changes nothing.
    pub async fn observe(
        &self,
        region: &RegionName,
        now: Timestamp,
    ) -> Result<(Snapshot, Timestamp), ObserveError> {
        let (memory, observation, machines) = try_join!(
            async { Ok(self.log.memory(region, now).await?) },
            async { Ok(self.database.look(region).await?) },
            async { Ok::<_, ObserveError>(self.host.list().await?) },
        )?;
        self.join(memory, observation, machines).await
    }

    async fn join(
        &self,
        memory: RegionMemory,
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
            self.host
                .unknown(&long_missing)
                .await?
                .into_iter()
                .collect()
        };
        let Observation {
            settings,
            now,
            waiting,
            watched_since,
            app_sha,
            images,
            instances,
        } = observation;
        let answers = if settings.is_of_replicas() {
            ask_all(self.replicas, &settings.replicas.api, &machines).await
        } else {
            BTreeMap::new()
        };
        let addresses = self.addresses(&settings).await;
        let snapshot = Snapshot {
            answers,
            unknown_since: memory.unknown_since,
            addresses,
            address_moves: memory.address_moves,
            settings,
            images,
            instances: instances
                .into_iter()
                .map(|row| (row.id.clone(), row))
                .collect(),
            machines,
            unknown_to_ec2,
            open_intents: memory.open_intents,
            refusals: memory.refusals,
            waiting,
            app_sha,
            watched_since,
            renew_after: self.renew_after,
            mass_removal_approved: false,
        };
        Ok((snapshot, now))
    }

    /// Asks EC2 only where there is a pool. Replicas come first: without the addresses, they are
    /// kept all the same.
    async fn addresses(&self, settings: &RegionSettings) -> AddressListing {
        let tag = settings.replicas.address_tag.as_ref();
        let Some(tag) = tag.filter(|_| settings.is_of_replicas()) else {
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

/// Not found in a listing does not mean terminated: those missing for long are asked for by id.
fn long_missing(
    observation: &Observation,
    machines: &BTreeMap<InstanceId, Machine>,
) -> Vec<InstanceId> {
    let patience = observation.settings.waits.missing;
    observation
        .instances
        .iter()
        .filter(|row| !machines.contains_key(&row.id))
        .filter(|row| {
            row.missing_since
                .is_some_and(|since| observation.now.duration_since(since) >= patience)
        })
        .map(|row| row.id.clone())
        .collect()
}
