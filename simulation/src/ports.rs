//! The ports of a simulated process: each call stands at a gate before its effect and at one
//! after it. A method that a port gains is covered once it is written here, and it has to be:
//! else nothing compiles.

mod database;
mod ec2;
mod outside;
mod table;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

pub use outside::SkewedClock;

use crate::facts::Facts;
use crate::gate::{Call, Gates, Port, ProcessId, Side, Straggler, Verdict};

/// Which process calls, and who has a say in it.
#[derive(Clone, Debug)]
pub struct Seat {
    pub process: ProcessId,
    pub gates: Arc<Gates>,
    pub facts: Arc<Facts>,
}

/// What is behind a port, with gates before and after it.
pub struct Gated<T: ?Sized> {
    inner: Arc<T>,
    seat: Seat,
}

impl<T: ?Sized> fmt::Debug for Gated<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated")
            .field("process", &self.seat.process)
            .finish_non_exhaustive()
    }
}

impl<T: ?Sized> Gated<T> {
    pub fn new(inner: Arc<T>, seat: Seat) -> Self {
        Self { inner, seat }
    }
}

impl Seat {
    /// One call: gate, effect, gate. `effect` owns all that it needs, because the request may
    /// outlive the caller.
    pub async fn call<A: Send + 'static>(
        &self,
        port: Port,
        name: &'static str,
        effect: impl Future<Output = A> + Send + 'static,
        no_answer: impl Fn() -> A + Send,
    ) -> A {
        let call = Call { port, name };
        match self.gates.arrive(self.process, call, Side::Before).await {
            Verdict::Pass => {}
            Verdict::NoAnswer => return no_answer(),
            Verdict::Late(after) => {
                self.gates.send_late(Straggler {
                    process: self.process,
                    call,
                    after,
                    effect: Box::pin(async move {
                        effect.await;
                    }),
                });
                return no_answer();
            }
        }
        let answer = effect.await;
        match self.gates.arrive(self.process, call, Side::After).await {
            Verdict::Pass => answer,
            Verdict::NoAnswer | Verdict::Late(_) => no_answer(),
        }
    }
}
