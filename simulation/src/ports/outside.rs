//! Everything else that a process calls: alerts, hand-overs, its clock, and a client's `assign`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use shared::alerts::{Alerts, Problem};
use shared::assign::{
    AssignOutcome, AssignRefusal, AssignRequest, Assigner, SessionEnd, SessionId, UserId,
};
use shared::clock::Clock;
use shared::db::DbError;
use shared::ids::RegionName;
use shared::pass::{HandOverError, ReconcileInvoker};

use super::intercept::{CallContext, Intercepted};
use crate::effects::Effect;
use crate::yield_points::{Call, Port, Side};

#[async_trait]
impl Alerts for Intercepted<dyn Alerts> {
    async fn send(&self, region: &RegionName, problems: &[Problem]) -> bool {
        let (inner, region, problems) = (self.inner.clone(), region.clone(), problems.to_vec());
        let effect = async move { inner.send(&region, &problems).await };
        self.context
            .call(Port::Outside, "alert", effect, || false)
            .await
    }
}

#[async_trait]
impl ReconcileInvoker for Intercepted<dyn ReconcileInvoker> {
    async fn hand_over(&self, region: &RegionName, id: &str) -> Result<(), HandOverError> {
        let (inner, region, id) = (self.inner.clone(), region.clone(), id.to_owned());
        let effect = async move { inner.hand_over(&region, &id).await };
        let no_answer = || Err(HandOverError("simulated".to_owned()));
        self.context
            .call(Port::Outside, "hand_over", effect, no_answer)
            .await
    }
}

/// The clock of one process: it may be off by a constant skew.
#[derive(Debug)]
pub struct SkewedClock {
    pub world: Arc<dyn Clock>,
    pub skew: SignedDuration,
    /// The time at which the clock stands still, if it does.
    pub stands_at: Option<Timestamp>,
    pub context: CallContext,
}

#[async_trait]
impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        self.stands_at.unwrap_or_else(|| self.world.now()) + self.skew
    }

    async fn sleep(&self, duration: Duration) {
        let call = Call {
            port: Port::Sleep,
            name: "sleep",
        };
        let CallContext {
            yield_points,
            process,
            ..
        } = &self.context;
        yield_points
            .wait(*process, call, Side::Sleep(duration))
            .await;
    }
}

#[async_trait]
impl Assigner for Intercepted<dyn Assigner> {
    async fn assign(&self, request: &AssignRequest) -> Result<AssignOutcome, DbError> {
        let (inner, request) = (self.inner.clone(), request.clone());
        let (effects, process) = (self.context.effects.clone(), self.context.process);
        let effect = async move {
            let answer = inner.assign(&request).await;
            match &answer {
                Ok(AssignOutcome::Assigned(assignment)) => {
                    let effect = Effect::SlotAssigned {
                        request,
                        slot: assignment.slot_id.clone(),
                        repeated: assignment.repeated,
                    };
                    effects.add(process, effect);
                }
                Ok(AssignOutcome::Refused {
                    reason: AssignRefusal::NoInstanceAvailable(in_line),
                    ..
                }) => {
                    let in_line = *in_line;
                    effects.add(process, Effect::UserRefused { request, in_line });
                }
                Ok(AssignOutcome::Refused { .. }) => {
                    effects.add(process, Effect::UserAnswered(request.user));
                }
                Err(_) => {}
            }
            answer
        };
        let no_answer = || {
            Err(DbError::Unavailable {
                operation: "assign",
                reason: "simulated".to_owned(),
            })
        };
        self.context
            .call(Port::Users, "assign", effect, no_answer)
            .await
    }

    async fn end_session(&self, user: &UserId, session: &SessionId) -> Result<SessionEnd, DbError> {
        let (inner, user, session) = (self.inner.clone(), user.clone(), session.clone());
        let (effects, process) = (self.context.effects.clone(), self.context.process);
        let effect = async move {
            let answer = inner.end_session(&user, &session).await;
            if answer.is_ok() {
                effects.add(process, Effect::UserAnswered(user));
            }
            answer
        };
        let no_answer = || {
            Err(DbError::Unavailable {
                operation: "end a session",
                reason: "simulated".to_owned(),
            })
        };
        self.context
            .call(Port::Users, "end_session", effect, no_answer)
            .await
    }
}
