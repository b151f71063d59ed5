//! DynamoDB's table: the lock, the wake marks, the intents and decisions.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use shared::ids::{Owner, RegionName};
use shared::lock::{Lease, LockAttempt, LockError, RegionLock, WakeMark};
use shared::model::{Intent, LaunchTally, Refusal};
use shared::report::Decision;
use shared::store::{IntentClosure, RegionState, ReplicaRecord, StateStore};

use super::intercept::Intercepted;
use crate::effects::Effect;
use crate::yield_points::Port;

fn unavailable(operation: &'static str) -> LockError {
    LockError::Unavailable {
        operation,
        reason: "simulated".to_owned(),
    }
}

impl<T: ?Sized + Send + Sync> Intercepted<T> {
    /// Makes a call. `recorded` returns the effect, if there is one, of a call that succeeded.
    async fn call_table<A: Send + 'static>(
        &self,
        name: &'static str,
        effect: impl Future<Output = Result<A, LockError>> + Send + 'static,
        recorded: impl FnOnce(&A) -> Option<Effect> + Send + 'static,
    ) -> Result<A, LockError> {
        let (effects, process) = (self.context.effects.clone(), self.context.process);
        let effect = async move {
            let answer = effect.await;
            if let Some(effect) = answer.as_ref().ok().and_then(recorded) {
                effects.add(process, effect);
            }
            answer
        };
        self.context
            .call(Port::Table, name, effect, || Err(unavailable(name)))
            .await
    }
}

#[async_trait]
impl RegionLock for Intercepted<dyn RegionLock> {
    async fn acquire(
        &self,
        region: &RegionName,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<LockAttempt, LockError> {
        let (inner, region, owner) = (self.inner.clone(), region.clone(), owner.clone());
        self.call_table(
            "acquire",
            async move { inner.acquire(&region, &owner, now, lease).await },
            |attempt| match attempt {
                LockAttempt::Acquired(lease) => Some(Effect::LockAcquired(lease.clone())),
                LockAttempt::Held { .. } => None,
            },
        )
        .await
    }

    async fn release(&self, lease: &Lease) -> Result<(), LockError> {
        let (inner, lease) = (self.inner.clone(), lease.clone());
        let effect = Effect::LockReleased(lease.clone());
        self.call_table(
            "release",
            async move { inner.release(&lease).await },
            |()| Some(effect),
        )
        .await
    }

    async fn advance_past_fence(&self, lease: &Lease, in_force: i64) -> Result<Lease, LockError> {
        let (inner, lease) = (self.inner.clone(), lease.clone());
        self.call_table(
            "advance_past_fence",
            async move { inner.advance_past_fence(&lease, in_force).await },
            |raised| Some(Effect::LockAcquired(raised.clone())),
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
        let effect = Effect::WakeMarkSet(region.clone());
        self.call_table(
            "set_wake_mark",
            async move { inner.set_wake_mark(&region, &by, now).await },
            |()| Some(effect),
        )
        .await
    }

    async fn clear_wake_mark(&self, region: &RegionName, mark: &WakeMark) -> Result<(), LockError> {
        let (inner, region, mark) = (self.inner.clone(), region.clone(), mark.clone());
        let effect = Effect::WakeMarkCleared(region.clone());
        self.call_table(
            "clear_wake_mark",
            async move { inner.clear_wake_mark(&region, &mark).await },
            |()| Some(effect),
        )
        .await
    }

    async fn has_wake_mark(&self, region: &RegionName) -> Result<bool, LockError> {
        let (inner, region) = (self.inner.clone(), region.clone());
        self.call_table(
            "has_wake_mark",
            async move { inner.has_wake_mark(&region).await },
            |_| None,
        )
        .await
    }

    async fn is_held(&self, region: &RegionName, now: Timestamp) -> Result<bool, LockError> {
        let (inner, region) = (self.inner.clone(), region.clone());
        self.call_table(
            "is_held",
            async move { inner.is_held(&region, now).await },
            |_| None,
        )
        .await
    }

    async fn is_seen(&self, event_id: &str) -> Result<bool, LockError> {
        let (inner, id) = (self.inner.clone(), event_id.to_owned());
        self.call_table("is_seen", async move { inner.is_seen(&id).await }, |_| None)
            .await
    }

    async fn record_seen(&self, event_id: &str, now: Timestamp) -> Result<bool, LockError> {
        let (inner, id) = (self.inner.clone(), event_id.to_owned());
        self.call_table(
            "record_seen",
            async move { inner.record_seen(&id, now).await },
            |_| None,
        )
        .await
    }
}

#[async_trait]
impl StateStore for Intercepted<dyn StateStore> {
    async fn region_state(
        &self,
        region: &RegionName,
        now: Timestamp,
    ) -> Result<RegionState, LockError> {
        let (inner, region) = (self.inner.clone(), region.clone());
        self.call_table(
            "region_state",
            async move { inner.region_state(&region, now).await },
            |_| None,
        )
        .await
    }

    async fn open_intents(
        &self,
        lease: &Lease,
        intents: &[Intent],
        launches: &LaunchTally,
    ) -> Result<(), LockError> {
        let (inner, lease, intents) = (self.inner.clone(), lease.clone(), intents.to_vec());
        let launches = launches.clone();
        let effect = Effect::IntentsOpened(lease.clone(), intents.clone());
        self.call_table(
            "open_intents",
            async move { inner.open_intents(&lease, &intents, &launches).await },
            |()| Some(effect),
        )
        .await
    }

    async fn close_intents(
        &self,
        lease: &Lease,
        closures: &[IntentClosure],
        launches: &LaunchTally,
    ) -> Result<(), LockError> {
        let (inner, lease, closures) = (self.inner.clone(), lease.clone(), closures.to_vec());
        let launches = launches.clone();
        let closed = closures.iter().map(|closure| closure.launch_id.clone());
        let effect = Effect::IntentsClosed(lease.clone(), closed.collect());
        self.call_table(
            "close_intents",
            async move { inner.close_intents(&lease, &closures, &launches).await },
            |()| Some(effect),
        )
        .await
    }

    async fn record_refusals(
        &self,
        lease: &Lease,
        refusals: &[Refusal],
        forgotten: &[Refusal],
    ) -> Result<(), LockError> {
        let (inner, lease) = (self.inner.clone(), lease.clone());
        let (refusals, forgotten) = (refusals.to_vec(), forgotten.to_vec());
        self.call_table(
            "record_refusals",
            async move { inner.record_refusals(&lease, &refusals, &forgotten).await },
            |()| None,
        )
        .await
    }

    async fn record_replicas(
        &self,
        lease: &Lease,
        record: &ReplicaRecord,
    ) -> Result<(), LockError> {
        let (inner, lease, record) = (self.inner.clone(), lease.clone(), record.clone());
        self.call_table(
            "record_replicas",
            async move { inner.record_replicas(&lease, &record).await },
            |()| None,
        )
        .await
    }

    async fn record_decision(&self, lease: &Lease, decision: &Decision) -> Result<(), LockError> {
        let (inner, lease, decision) = (self.inner.clone(), lease.clone(), decision.clone());
        let effect = Effect::DecisionRecorded(lease.clone());
        self.call_table(
            "record_decision",
            async move { inner.record_decision(&lease, &decision).await },
            |()| Some(effect),
        )
        .await
    }
}
