//! DynamoDB's table: the lock, the marks, the launch log.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use shared::ids::{Owner, RegionName};
use shared::lock::{Lease, LockAttempt, LockError, RegionLock, WakeMark};
use shared::model::Intent;
use shared::report::Decision;
use shared::store::{IntentClosure, RegionState, ReplicaRecord, StateStore};

use super::Gated;
use crate::facts::Fact;
use crate::gate::Port;

fn unavailable(operation: &'static str) -> LockError {
    LockError::Unavailable {
        operation,
        reason: "simulated".to_owned(),
    }
}

impl<T: ?Sized + Send + Sync> Gated<T> {
    /// What the table let through is a fact.
    async fn item<A: Send + 'static>(
        &self,
        name: &'static str,
        effect: impl Future<Output = Result<A, LockError>> + Send + 'static,
        fact: impl FnOnce(&A) -> Option<Fact> + Send + 'static,
    ) -> Result<A, LockError> {
        let (facts, process) = (self.seat.facts.clone(), self.seat.process);
        let effect = async move {
            let answer = effect.await;
            if let Some(fact) = answer.as_ref().ok().and_then(fact) {
                facts.add(process, fact);
            }
            answer
        };
        self.seat
            .call(Port::Table, name, effect, || Err(unavailable(name)))
            .await
    }
}

#[async_trait]
impl RegionLock for Gated<dyn RegionLock> {
    async fn acquire(
        &self,
        region: &RegionName,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<LockAttempt, LockError> {
        let (inner, region, owner) = (self.inner.clone(), region.clone(), owner.clone());
        self.item(
            "acquire",
            async move { inner.acquire(&region, &owner, now, lease).await },
            |attempt| match attempt {
                LockAttempt::Acquired(lease) => Some(Fact::Acquired(lease.clone())),
                LockAttempt::Held { .. } => None,
            },
        )
        .await
    }

    async fn release(&self, lease: &Lease) -> Result<(), LockError> {
        let (inner, lease) = (self.inner.clone(), lease.clone());
        let fact = Fact::Released(lease.clone());
        self.item(
            "release",
            async move { inner.release(&lease).await },
            |()| Some(fact),
        )
        .await
    }

    async fn advance_past_fence(&self, lease: &Lease, in_force: i64) -> Result<Lease, LockError> {
        let (inner, lease) = (self.inner.clone(), lease.clone());
        self.item(
            "advance_past_fence",
            async move { inner.advance_past_fence(&lease, in_force).await },
            |lifted| Some(Fact::Acquired(lifted.clone())),
        )
        .await
    }

    async fn set_wake_mark(
        &self,
        region: &RegionName,
        by: &str,
        now: Timestamp,
    ) -> Result<(), LockError> {
        let (inner, region, by) = (self.inner.clone(), region.clone(), by.to_owned());
        let fact = Fact::Marked(region.clone());
        self.item(
            "set_wake_mark",
            async move { inner.set_wake_mark(&region, &by, now).await },
            |()| Some(fact),
        )
        .await
    }

    async fn clear_wake_mark(&self, region: &RegionName, mark: &WakeMark) -> Result<(), LockError> {
        let (inner, region, mark) = (self.inner.clone(), region.clone(), mark.clone());
        let fact = Fact::Cleared(region.clone());
        self.item(
            "clear_wake_mark",
            async move { inner.clear_wake_mark(&region, &mark).await },
            |()| Some(fact),
        )
        .await
    }

    async fn has_wake_mark(&self, region: &RegionName) -> Result<bool, LockError> {
        let (inner, region) = (self.inner.clone(), region.clone());
        self.item(
            "has_wake_mark",
            async move { inner.has_wake_mark(&region).await },
            |_| None,
        )
        .await
    }

    async fn is_seen(&self, event_id: &str) -> Result<bool, LockError> {
        let (inner, id) = (self.inner.clone(), event_id.to_owned());
        self.item("is_seen", async move { inner.is_seen(&id).await }, |_| None)
            .await
    }

    async fn record_seen(&self, event_id: &str, now: Timestamp) -> Result<bool, LockError> {
        let (inner, id) = (self.inner.clone(), event_id.to_owned());
        self.item(
            "record_seen",
            async move { inner.record_seen(&id, now).await },
            |_| None,
        )
        .await
    }
}

#[async_trait]
impl StateStore for Gated<dyn StateStore> {
    async fn region_state(
        &self,
        region: &RegionName,
        now: Timestamp,
    ) -> Result<RegionState, LockError> {
        let (inner, region) = (self.inner.clone(), region.clone());
        self.item(
            "memory",
            async move { inner.region_state(&region, now).await },
            |_| None,
        )
        .await
    }

    async fn open_intent(&self, lease: &Lease, intent: &Intent) -> Result<(), LockError> {
        let (inner, lease, intent) = (self.inner.clone(), lease.clone(), intent.clone());
        let fact = Fact::Opened(lease.clone(), Box::new(intent.clone()));
        self.item(
            "open_intent",
            async move { inner.open_intent(&lease, &intent).await },
            |()| Some(fact),
        )
        .await
    }

    async fn close_intent(&self, lease: &Lease, closing: &IntentClosure) -> Result<(), LockError> {
        let (inner, lease, closing) = (self.inner.clone(), lease.clone(), closing.clone());
        let fact = Fact::Closed(lease.clone(), closing.launch_id.clone());
        self.item(
            "close_intent",
            async move { inner.close_intent(&lease, &closing).await },
            |()| Some(fact),
        )
        .await
    }

    async fn record_replicas(&self, lease: &Lease, notes: &ReplicaRecord) -> Result<(), LockError> {
        let (inner, lease, notes) = (self.inner.clone(), lease.clone(), notes.clone());
        self.item(
            "record_replicas",
            async move { inner.record_replicas(&lease, &notes).await },
            |()| None,
        )
        .await
    }

    async fn record_decision(&self, lease: &Lease, decision: &Decision) -> Result<(), LockError> {
        let (inner, lease, decision) = (self.inner.clone(), lease.clone(), decision.clone());
        let fact = Fact::Decided(lease.clone());
        self.item(
            "record_decision",
            async move { inner.record_decision(&lease, &decision).await },
            |()| Some(fact),
        )
        .await
    }
}
