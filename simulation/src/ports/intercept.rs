//! Waits at a yield point before the effect of a call, and at another one after it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::effects::EffectLog;
use crate::yield_points::{Call, Delivery, LateRequest, Port, ProcessId, Side, YieldPoints};

/// Which process calls, and where its calls wait and record their effects.
#[derive(Clone, Debug)]
pub struct CallContext {
    pub process: ProcessId,
    pub yield_points: Arc<YieldPoints>,
    pub effects: Arc<EffectLog>,
}

/// A port with a yield point before and after each call.
pub struct Intercepted<T: ?Sized> {
    pub(super) inner: Arc<T>,
    pub(super) context: CallContext,
}

impl<T: ?Sized> fmt::Debug for Intercepted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intercepted")
            .field("process", &self.context.process)
            .finish_non_exhaustive()
    }
}

impl<T: ?Sized> Intercepted<T> {
    pub fn new(inner: Arc<T>, context: CallContext) -> Self {
        Self { inner, context }
    }
}

impl CallContext {
    /// Makes one call: yield point, effect, yield point. `effect` owns everything that it needs,
    /// because the request may outlive the caller.
    pub async fn call<A: Send + 'static>(
        &self,
        port: Port,
        name: &'static str,
        effect: impl Future<Output = A> + Send + 'static,
        no_answer: impl Fn() -> A + Send,
    ) -> A {
        let call = Call { port, name };
        match self
            .yield_points
            .wait(self.process, call, Side::Before)
            .await
        {
            Delivery::Normal => {}
            Delivery::NoAnswer => return no_answer(),
            Delivery::Late(after) => {
                self.yield_points.send_late(LateRequest {
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
        match self
            .yield_points
            .wait(self.process, call, Side::After)
            .await
        {
            Delivery::Normal => answer,
            Delivery::NoAnswer | Delivery::Late(_) => no_answer(),
        }
    }
}
