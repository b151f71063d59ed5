//! The one emulated EC2 that all requests, the passing of time and the agents share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::api::{self, Answer, Call};
use crate::clock::{Clock, UnixMillis};
use crate::ledger::{Entry, Ledger};
use crate::params::Params;
use crate::world::World;

/// A handle; clones share the emulator.
#[derive(Clone, Debug)]
pub struct Emulator(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug)]
pub struct Inner {
    pub world: World,
    pub ledger: Ledger,
}

/// A request to the EC2 API.
#[derive(Debug)]
pub struct ApiRequest {
    pub request_id: String,
    pub region: String,
    pub action: String,
    pub params: Params,
}

impl Emulator {
    pub fn new(world: World, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            clock,
            state: Mutex::new(Inner {
                world,
                ledger: Ledger::default(),
            }),
            changed: Notify::new(),
        }))
    }

    /// Carries out a request and writes it down.
    pub fn call(&self, request: ApiRequest) -> Answer {
        let ApiRequest {
            request_id,
            region,
            action,
            params,
        } = request;
        let recorded = params.as_map().clone();
        let answer = self.with(|inner, now| {
            let world = &mut inner.world;
            let answer = if world.region(&region).is_none() {
                Err(api::unknown_region(&region))
            } else {
                api::dispatch(
                    &action,
                    Call {
                        world,
                        region: &region,
                        now,
                        params,
                    },
                )
            };
            inner.ledger.record(Entry {
                at: now,
                region,
                action,
                params: recorded,
                outcome: answer
                    .as_ref()
                    .map_or_else(|e| e.code.to_owned(), |_| "ok".to_owned()),
                status: answer.as_ref().map_or_else(|e| e.status.as_u16(), |_| 200),
                request_id,
            });
            answer
        });
        self.0.changed.notify_one();
        answer
    }

    /// Looks at, or changes, everything at once, after what is due has happened.
    pub fn with<T>(&self, work: impl FnOnce(&mut Inner, UnixMillis) -> T) -> T {
        let now = self.0.clock.now();
        let mut inner = self.lock();
        inner.world.advance(now);
        work(&mut inner, now)
    }

    /// Resolves after the next call of the API.
    pub fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in one request says nothing about the world: go on for the others.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
