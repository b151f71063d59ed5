//! The emulated EC2: the state behind one lock, with its clock.
//!
//! API requests, the control API, the agents and the event delivery all share it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::api::{self, ApiResult, Call};
use crate::clock::{Clock, UnixMillis};
use crate::events::Events;
use crate::faults::{CallEffects, ErrorCode};
use crate::ledger::{CallEntry, Ledger};
use crate::params::Params;
use crate::world::{Change, World};

/// A handle; clones share the emulator.
#[derive(Clone, Debug)]
pub struct Emulator(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<EmulatorState>,
    instances_changed: Notify,
    deliveries_changed: Notify,
}

#[derive(Debug)]
pub struct EmulatorState {
    pub world: World,
    pub ledger: Ledger,
    pub events: Events,
    /// Changes that [`EmulatorState::take_agent_changes`] has not returned yet.
    agent_changes: Vec<Change>,
}

/// A request to the EC2 API.
#[derive(Debug)]
pub struct ApiRequest {
    pub request_id: String,
    /// The access key that signed the request.
    pub access_key: String,
    pub region: String,
    pub action: String,
    pub params: Params,
}

/// How the server must respond to a request to the EC2 API.
#[derive(Debug)]
pub struct Reply {
    pub result: ApiResult,
    /// The time to wait before the response is sent.
    pub delay: Duration,
    /// Close the connection instead of sending the response.
    pub is_lost: bool,
    /// Send no response, but keep the connection open.
    pub hangs: bool,
}

impl Emulator {
    pub fn new(world: World, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            clock,
            state: Mutex::new(EmulatorState {
                world,
                ledger: Ledger::default(),
                events: Events::default(),
                agent_changes: Vec::new(),
            }),
            instances_changed: Notify::new(),
            deliveries_changed: Notify::new(),
        }))
    }

    /// Executes a request and records it in the ledger.
    pub fn call(&self, request: ApiRequest) -> Reply {
        self.with(|state, now| state.call(request, now))
    }

    /// Runs `work` on the locked state, after applying everything that is due by now.
    pub fn with<T>(&self, work: impl FnOnce(&mut EmulatorState, UnixMillis) -> T) -> T {
        let now = self.0.clock.now();
        let mut state = self.lock();
        state.apply_due(now);
        let (change_due, delivery_due) = (state.world.next_due(), state.events.next_due());
        let done = work(&mut state, now);
        state.apply_due(now);
        if !state.agent_changes.is_empty() || state.world.next_due() != change_due {
            self.0.instances_changed.notify_one();
        }
        let next = state.events.next_due();
        if next != delivery_due || next.is_some_and(|due| due <= now) {
            self.0.deliveries_changed.notify_one();
        }
        done
    }

    /// Resolves when an instance has changed, or when the time of the next change is another one.
    pub fn instances_changed(&self) -> Notified<'_> {
        self.0.instances_changed.notified()
    }

    /// Resolves when a delivery is due, or when the time of the next delivery is another one.
    pub fn deliveries_changed(&self) -> Notified<'_> {
        self.0.deliveries_changed.notified()
    }

    fn lock(&self) -> MutexGuard<'_, EmulatorState> {
        // A panic in one request must not fail all later ones.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EmulatorState {
    /// Returns the changes of instances since the previous call, and clears them.
    pub fn take_agent_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.agent_changes)
    }

    /// Applies everything that is due, and publishes the changes as events and to the agents.
    fn apply_due(&mut self, now: UnixMillis) {
        self.world.advance(now);
        let changes = self.world.take_changes();
        for change in &changes {
            self.events.publish(change, &mut self.world, now);
        }
        self.agent_changes.extend(changes);
    }

    fn call(&mut self, request: ApiRequest, now: UnixMillis) -> Reply {
        let mut effects =
            self.world
                .faults
                .apply_to_call(&request.region, &request.action, &request.params);
        let params = request.params.as_map().clone();
        let (result, outcome, status) = match effects.outcome_without_response() {
            // The result does not matter.
            Some(outcome) => (Err(ErrorCode::UNAVAILABLE.into()), outcome.to_owned(), 0),
            None => match self.execute(&request, &mut effects, now) {
                Ok(body) => (Ok(body), "ok".to_owned(), 200),
                Err(error) => {
                    let (code, status) = (error.code.to_string(), error.status.as_u16());
                    (Err(error), code, status)
                }
            },
        };
        self.ledger.record(CallEntry {
            at: now,
            access_key: request.access_key,
            region: request.region,
            action: request.action,
            params,
            outcome,
            status,
            request_id: request.request_id,
            faults: effects.applied,
        });
        Reply {
            is_lost: effects.is_lost || effects.is_outage,
            hangs: effects.hangs,
            delay: effects.delay,
            result,
        }
    }

    fn execute(
        &mut self,
        request: &ApiRequest,
        effects: &mut CallEffects,
        now: UnixMillis,
    ) -> ApiResult {
        let ApiRequest { region, action, .. } = request;
        if self.world.region(region).is_none() {
            return Err(api::unknown_region(region));
        }
        if let Some(throttling) = &mut self.world.faults.throttling
            && !throttling.try_acquire(region, action, &request.params)
        {
            effects.applied.push("throttled");
            return Err(ErrorCode::REQUEST_LIMIT_EXCEEDED.into());
        }
        if let Some(code) = effects.error.take() {
            return Err(code.into());
        }
        let listing_lag = effects.listing_lag;
        api::dispatch(
            action,
            Call {
                listing_lag: listing_lag.unwrap_or_else(|| self.world.settings.listing_lag()),
                omitted: std::mem::take(&mut effects.omitted),
                world: &mut self.world,
                region,
                now,
                params: request.params.clone(),
            },
        )
    }
}
