//! Gates: where a function stands still until the scheduler lets it go on.
//!
//! Each call that leaves the process comes to two gates: one before it has its effect, one
//! after it, before its answer arrives. Whatever can happen to a function between two steps of
//! its own happens while it stands there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// One running function, agent or client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u32);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateId(u64);

/// Who is asked, and so how long it may take and what can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    Database,
    Table,
    Ec2,
    /// Alerts and hand-overs.
    Outside,
    /// A client's `assign`, and a host agent's calls.
    Users,
    /// Nobody: the process waits.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The call is about to take effect.
    Before,
    /// It took effect, and its answer is on its way.
    After,
    /// Nothing is asked of anybody; the process goes on after so long.
    Sleep(Duration),
}

/// A gate at which a process has just arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub gate: GateId,
    pub process: ProcessId,
    pub call: Call,
    pub side: Side,
}

/// What the process finds when it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As if nothing had been.
    Pass,
    /// No answer: before the effect, nothing was done; after it, it was.
    NoAnswer,
    /// No answer, and the request is still on its way: it takes effect so much later.
    Late(Duration),
}

/// A request that outlives the function that sent it.
pub struct Straggler {
    pub process: ProcessId,
    pub call: Call,
    pub after: Duration,
    pub effect: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for Straggler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Straggler")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

/// All gates of one run.
#[derive(Debug, Default)]
pub struct Gates(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    closed: BTreeSet<GateId>,
    verdicts: BTreeMap<GateId, Verdict>,
    arrivals: Vec<Arrival>,
    stragglers: Vec<Straggler>,
}

impl Gates {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits here until [`Self::open`].
    pub async fn arrive(&self, process: ProcessId, call: Call, side: Side) -> Verdict {
        Standing {
            gates: self,
            of: (process, call, side),
            gate: None,
        }
        .await
    }

    /// Lets whoever stands there go on, when it is polled next. False when nobody does.
    pub fn open(&self, gate: GateId, verdict: Verdict) -> bool {
        let mut state = self.state();
        let stands = state.closed.remove(&gate);
        if stands {
            state.verdicts.insert(gate, verdict);
        }
        stands
    }

    /// Who has arrived since this was last asked, in the order of arrival.
    pub fn arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.state().arrivals)
    }

    pub fn send_late(&self, straggler: Straggler) {
        self.state().stragglers.push(straggler);
    }

    /// Requests that were left on their way since this was last asked.
    pub fn stragglers(&self) -> Vec<Straggler> {
        std::mem::take(&mut self.state().stragglers)
    }
}

/// A process at a gate.
struct Standing<'g> {
    gates: &'g Gates,
    of: (ProcessId, Call, Side),
    gate: Option<GateId>,
}

impl Future for Standing<'_> {
    type Output = Verdict;

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Verdict> {
        let mut state = self.gates.state();
        let Some(gate) = self.gate else {
            let gate = GateId(state.next);
            state.next += 1;
            state.closed.insert(gate);
            let (process, call, side) = self.of;
            state.arrivals.push(Arrival {
                gate,
                process,
                call,
                side,
            });
            drop(state);
            self.gate = Some(gate);
            return Poll::Pending;
        };
        match state.verdicts.remove(&gate) {
            Some(verdict) => Poll::Ready(verdict),
            None => Poll::Pending,
        }
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.gate {
            let mut state = self.gates.state();
            state.closed.remove(&gate);
            state.verdicts.remove(&gate);
            state.arrivals.retain(|arrival| arrival.gate != gate);
        }
    }
}
