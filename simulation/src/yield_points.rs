//! Yield points: where a process waits until the scheduler resumes it.
//!
//! A call that leaves the process passes two yield points: one before its effect, and one after the
//! effect, before the answer arrives. Whatever can happen to a function between two of its own
//! steps happens while it waits there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// One running function or client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u32);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct YieldPointId(u64);

/// The system that is called. It decides how long a call takes and what can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    Database,
    Table,
    Ec2,
    /// Alerts and hand-overs to another invocation.
    Outside,
    /// A client's `assign`.
    Users,
    /// None: the process sleeps.
    Sleep,
}

/// A call that leaves a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    pub port: Port,
    pub name: &'static str,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Where in a call a process waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The call is about to have its effect.
    Before,
    /// The call has had its effect, and its answer is on its way.
    After,
    /// The process sleeps for this time and calls nobody.
    Sleep(Duration),
}

/// A process has just reached this yield point.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    pub point: YieldPointId,
    pub process: ProcessId,
    pub call: Call,
    pub side: Side,
}

/// What the process gets when it is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The call goes on as usual.
    Normal,
    /// The call is not answered. Before its effect the call did nothing; after it, the effect
    /// stays.
    NoAnswer,
    /// The call is not answered, and the request has its effect this much later.
    Late(Duration),
}

/// A request that has its effect after its sender has given up or died.
pub struct LateRequest {
    pub process: ProcessId,
    pub call: Call,
    pub after: Duration,
    pub effect: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for LateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateRequest")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

/// All yield points of a run.
#[derive(Debug, Default)]
pub struct YieldPoints(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    waiting: BTreeSet<YieldPointId>,
    deliveries: BTreeMap<YieldPointId, Delivery>,
    reached: Vec<Reached>,
    late_requests: Vec<LateRequest>,
}

impl YieldPoints {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits here until [`Self::resume`] is called.
    pub async fn wait(&self, process: ProcessId, call: Call, side: Side) -> Delivery {
        Waiting {
            yield_points: self,
            of: (process, call, side),
            point: None,
        }
        .await
    }

    /// Resumes the process that waits there: its next poll continues. Returns false when no process
    /// waits there.
    pub fn resume(&self, point: YieldPointId, delivery: Delivery) -> bool {
        let mut state = self.state();
        let waits = state.waiting.remove(&point);
        if waits {
            state.deliveries.insert(point, delivery);
        }
        waits
    }

    /// The yield points that processes have reached since the last call, in order.
    pub fn reached(&self) -> Vec<Reached> {
        std::mem::take(&mut self.state().reached)
    }

    pub fn send_late(&self, late_request: LateRequest) {
        self.state().late_requests.push(late_request);
    }

    /// The late requests that were sent since the last call.
    pub fn late_requests(&self) -> Vec<LateRequest> {
        std::mem::take(&mut self.state().late_requests)
    }
}

/// A process that waits at a yield point.
struct Waiting<'p> {
    yield_points: &'p YieldPoints,
    of: (ProcessId, Call, Side),
    point: Option<YieldPointId>,
}

impl Future for Waiting<'_> {
    type Output = Delivery;

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Delivery> {
        let mut state = self.yield_points.state();
        let Some(point) = self.point else {
            let point = YieldPointId(state.next);
            state.next += 1;
            state.waiting.insert(point);
            let (process, call, side) = self.of;
            state.reached.push(Reached {
                point,
                process,
                call,
                side,
            });
            drop(state);
            self.point = Some(point);
            return Poll::Pending;
        };
        match state.deliveries.remove(&point) {
            Some(delivery) => Poll::Ready(delivery),
            None => Poll::Pending,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(point) = self.point {
            let mut state = self.yield_points.state();
            state.waiting.remove(&point);
            state.deliveries.remove(&point);
            state.reached.retain(|reached| reached.point != point);
        }
    }
}
