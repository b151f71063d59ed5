//! The one emulated EC2 that all requests, the passing of time and the agents share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::api::{self, Answer, Call};
use crate::clock::{Clock, UnixMillis};
use crate::events::Events;
use crate::faults::{CallFate, ErrorCode};
use crate::ledger::{Entry, Ledger};
use crate::params::Params;
use crate::world::{Change, World};

/// A handle; clones share the emulator.
#[derive(Clone, Debug)]
pub struct Emulator(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<Inner>,
    changed: Notify,
    posted: Notify,
}

#[derive(Debug)]
pub struct Inner {
    pub world: World,
    pub ledger: Ledger,
    pub events: Events,
    /// What the agents do not know of yet.
    agent_changes: Vec<Change>,
}

/// What becomes of a request to the EC2 API.
#[derive(Debug)]
pub struct Reply {
    pub answer: Answer,
    /// How long to wait before it is sent.
    pub delay: Duration,
    /// It is never sent: the connection is closed.
    pub is_lost: bool,
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
                events: Events::default(),
                agent_changes: Vec::new(),
            }),
            changed: Notify::new(),
            posted: Notify::new(),
        }))
    }

    /// Carries out a request and writes it down.
    pub fn call(&self, request: ApiRequest) -> Reply {
        self.with(|inner, now| inner.call(request, now))
    }

    /// Looks at, or changes, everything at once, after what is due has happened.
    pub fn with<T>(&self, work: impl FnOnce(&mut Inner, UnixMillis) -> T) -> T {
        let now = self.0.clock.now();
        let mut inner = self.lock();
        inner.settle(now);
        let (due, posted) = (inner.world.next_due(), inner.events.next_due());
        let done = work(&mut inner, now);
        inner.settle(now);
        if !inner.agent_changes.is_empty() || inner.world.next_due() != due {
            self.0.changed.notify_one();
        }
        let delivery = inner.events.next_due();
        if delivery != posted || delivery.is_some_and(|due| due <= now) {
            self.0.posted.notify_one();
        }
        done
    }

    /// Resolves when something has happened to an instance, or will at another time than before.
    pub fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }

    /// Resolves when an event is to be delivered at another time than before.
    pub fn posted(&self) -> Notified<'_> {
        self.0.posted.notified()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in one request says nothing about the world: go on for the others.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What happened to instances since this was last asked, for their agents.
    pub fn take_agent_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.agent_changes)
    }

    /// Lets everything happen that is due, and tells about it.
    fn settle(&mut self, now: UnixMillis) {
        self.world.advance(now);
        let changes = self.world.take_changes();
        for change in &changes {
            self.events.publish(change, &mut self.world, now);
        }
        self.agent_changes.extend(changes);
    }

    fn call(&mut self, request: ApiRequest, now: UnixMillis) -> Reply {
        let mut fate =
            self.world
                .faults
                .strike_call(&request.region, &request.action, &request.params);
        let recorded = request.params.as_map().clone();
        let answer = if fate.is_outage {
            None
        } else {
            Some(self.answer(&request, &mut fate, now))
        };
        let (outcome, status) = match &answer {
            None => ("outage".to_owned(), 0),
            Some(Ok(_)) => ("ok".to_owned(), 200),
            Some(Err(error)) => (error.code.to_owned(), error.status.as_u16()),
        };
        self.ledger.record(Entry {
            at: now,
            region: request.region,
            action: request.action,
            params: recorded,
            outcome,
            status,
            request_id: request.request_id,
            faults: fate.struck,
        });
        Reply {
            is_lost: fate.is_lost || fate.is_outage,
            delay: fate.delay,
            answer: answer.unwrap_or_else(|| Err(ErrorCode::Unavailable.into())),
        }
    }

    fn answer(&mut self, request: &ApiRequest, fate: &mut CallFate, now: UnixMillis) -> Answer {
        let ApiRequest { region, action, .. } = request;
        if self.world.region(region).is_none() {
            return Err(api::unknown_region(region));
        }
        if let Some(throttling) = &mut self.world.faults.throttling
            && !throttling.let_through(region, action, &request.params)
        {
            fate.struck.push("throttled");
            return Err(ErrorCode::RequestLimitExceeded.into());
        }
        if let Some(code) = fate.error {
            return Err(code.into());
        }
        let listing_lag = fate.listing_lag;
        api::dispatch(
            action,
            Call {
                listing_lag: listing_lag.unwrap_or_else(|| self.world.settings.listing_lag()),
                hidden: std::mem::take(&mut fate.hidden),
                world: &mut self.world,
                region,
                now,
                params: request.params.clone(),
            },
        )
    }
}
