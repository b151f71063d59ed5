//! The rounds of a pass. A round runs under a lock of its own: observe → decide → execute →
//! record. What came in meanwhile has left a wake mark, which the next round finds.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::reconciler::{PassError, PassRequest, Reconciler, millis};
use crate::db::DbError;
use crate::execute::{Execution, Executor};
use crate::host::HostHandler;
use crate::ids::{Owner, RegionName};
use crate::leased_host::LeasedHost;
use crate::lock::{Lease, LockAttempt, LockError, WakeMark};
use crate::observe::ObserveError;
use crate::report::{Decision, PassOutcome, PassReport, StepResult};
use crate::scaling::{self, Plan};

/// After this many rounds the rest is handed over, so that constant events cannot occupy one
/// function for ever.
const MAX_ROUNDS: u32 = 3;

/// The answer to `acquire` may be lost; asking again with the same owner is harmless.
const ACQUIRE_ATTEMPTS: u32 = 3;

/// What came of one round.
struct Round {
    plan: Plan,
    results: Vec<StepResult>,
    /// Its decision is recorded, and the wake mark that it found is cleared.
    settled: bool,
    /// An image changed its state, and what follows from that is not decided yet.
    image_moved: bool,
}

/// What follows a round.
enum Next {
    Done,
    AnotherRound,
    /// There is more to do than this pass has time for.
    HandOver,
}

impl Reconciler {
    /// Runs rounds until nothing is left to do, the lock is somebody else's, or time is up.
    pub(super) async fn run_rounds(
        &self,
        request: &PassRequest,
        report: &mut PassReport,
    ) -> Result<PassOutcome, PassError> {
        let region = &report.region.clone();
        // First the mark, then the lock: its holder reads the mark again after the release.
        if request.trigger.leaves_a_mark() {
            self.lock
                .set_wake_mark(region, &request.id, request.began)
                .await?;
        }
        loop {
            let lease = match self.acquire(region, request.began).await? {
                LockAttempt::Acquired(lease) => lease,
                LockAttempt::Held { until } if report.rounds == 0 => {
                    return Ok(PassOutcome::Busy { until });
                }
                // After rounds of its own, this pass leaves the mark to the new holder.
                LockAttempt::Held { .. } => break,
            };
            report.rounds += 1;
            let round = self.run_locked(lease, request, report).await?;
            let (settled, image_moved) = (round.settled, round.image_moved);
            report.add_round(round.plan, round.results);
            let next = self.next(settled, image_moved, request, report).await?;
            match next {
                Next::Done => break,
                Next::AnotherRound => {}
                Next::HandOver => {
                    self.invoker.hand_over(region, &request.id).await?;
                    info!("region handed over to reconcile");
                    break;
                }
            }
        }
        Ok(report.outcome_of_steps())
    }

    /// One round under this lease, and the release of the lock whatever came of it.
    ///
    /// A region that cannot be observed keeps its mark and waits for the schedule: another round
    /// at once would ask a database that is down again and again.
    async fn run_locked(
        &self,
        mut lease: Lease,
        request: &PassRequest,
        report: &mut PassReport,
    ) -> Result<Round, PassError> {
        let mut round = self.run_round(&lease, request).await;
        if let Some(in_force) = behind_fence(&round) {
            lease = self.advance_past_fence(lease, in_force).await?;
            round = self.run_round(&lease, request).await;
        }
        // Also without an answer to the release, the mark is read again.
        if let Err(error) = self.lock.release(&lease).await {
            let failed = StepResult::failed("release the lock", error);
            report.results.push(failed);
        }
        round
    }

    /// Whether there is more to do. A region whose mark cannot be cleared waits for the schedule:
    /// its mark, found set, would cause rounds and hand-overs without end.
    async fn next(
        &self,
        settled: bool,
        image_moved: bool,
        request: &PassRequest,
        report: &PassReport,
    ) -> Result<Next, LockError> {
        if !settled {
            return Ok(Next::Done);
        }
        let marked = self.lock.has_wake_mark(&report.region).await?;
        let last = report.rounds >= MAX_ROUNDS || self.is_over(request.began);
        Ok(match (marked, image_moved, last) {
            (true, _, true) => Next::HandOver,
            (true, _, false) | (false, true, false) => Next::AnotherRound,
            (false, _, _) => Next::Done,
        })
    }

    /// A lock for the rest of the invocation's time and no longer.
    async fn acquire(
        &self,
        region: &RegionName,
        began: Timestamp,
    ) -> Result<LockAttempt, LockError> {
        let owner = Owner::new(self.ids.unique());
        let mut attempt = 1;
        loop {
            let now = self.clock.now();
            let spent = Duration::try_from(now.duration_since(began)).unwrap_or_default();
            let lease = self.limits.lease.saturating_sub(spent);
            match self.lock.acquire(region, &owner, now, lease).await {
                Err(LockError::Unavailable { .. }) if attempt < ACQUIRE_ATTEMPTS => attempt += 1,
                answer => return answer,
            }
        }
    }

    /// Raises the lock's version above the database's fence: the scaling table was made anew or
    /// restored. It fails for a pass that merely lost the lock, because somebody else holds it.
    async fn advance_past_fence(&self, lease: Lease, in_force: i64) -> Result<Lease, LockError> {
        match self.lock.advance_past_fence(&lease, in_force).await {
            Ok(lease) => {
                warn!(
                    version = lease.version,
                    in_force, "lock advanced past the fence"
                );
                Ok(lease)
            }
            Err(error) => {
                let released = self.lock.release(&lease).await;
                warn!(%error, ?released, "lock could not be advanced past the fence");
                Err(error)
            }
        }
    }

    /// Another round would have less than half of a pass's time.
    fn is_over(&self, began: Timestamp) -> bool {
        let spent = self.clock.now().duration_since(began);
        SignedDuration::try_from(self.limits.budget).is_ok_and(|budget| spent >= budget / 2)
    }

    /// observe → decide → execute → record, under the lock.
    async fn run_round(&self, lease: &Lease, request: &PassRequest) -> Result<Round, PassError> {
        let began = self.clock.now();
        let host: Arc<dyn HostHandler> = Arc::new(LeasedHost::new(
            self.hosts.in_region(&lease.region),
            lease.clone(),
            self.limits.ec2_call,
            self.clock.clone(),
        ));
        let (mut snapshot, now, mark) = self
            .observer(&*host)
            .observe_under_lease(lease, began)
            .await?;
        snapshot.mass_removal_approved = request.approve_mass_removal;
        let plan = scaling::decide(&snapshot, now)?;
        for step in &plan.steps {
            info!(step = %step.action, reason = %step.reason, version = lease.version, "step decided");
        }
        let executor = Executor {
            algorithm: scaling::algorithm_of(&snapshot.settings)?,
            instances: self.instances.as_deref(),
            host: &*host,
            store: &*self.store,
            clock: &*self.clock,
            ids: &*self.ids,
            launches: &self.launches,
            lease,
            deadline: request.began + self.limits.budget,
            snapshot: &snapshot,
            now,
        };
        let Execution {
            mut results,
            image_moved,
        } = executor.execute(&plan).await;
        let decision = Decision {
            region: lease.region.clone(),
            version: lease.version,
            at: now,
            id: request.id.clone(),
            trigger: request.trigger.clone(),
            plan: plan.clone(),
            outcome: PassOutcome::of_steps(&results),
            results: results.clone(),
            duration_ms: millis(self.clock.now().duration_since(began)),
        };
        let settled = match self.store.record_decision(lease, &decision).await {
            Ok(()) => self.clear(lease, mark.as_ref(), &mut results).await,
            Err(error) => {
                results.push(StepResult::failed("record the decision", error));
                false
            }
        };
        Ok(Round {
            plan,
            results,
            settled,
            image_moved,
        })
    }

    /// Clears the wake mark that was set before the observation, now that it was acted on: the
    /// decision's record proves that the lock was still this lease's. A function that dies before
    /// this leaves the mark, and a mark that was set since then has another id.
    async fn clear(
        &self,
        lease: &Lease,
        mark: Option<&WakeMark>,
        results: &mut Vec<StepResult>,
    ) -> bool {
        let Some(mark) = mark else { return true };
        let cleared = self.lock.clear_wake_mark(&lease.region, mark).await;
        if let Err(error) = &cleared {
            results.push(StepResult::failed("clear the wake mark", error));
        }
        cleared.is_ok()
    }
}

/// The version in force, if that is what kept a round from observing.
fn behind_fence(round: &Result<Round, PassError>) -> Option<i64> {
    match round {
        Err(PassError::Observe(ObserveError::Database(DbError::BehindFence {
            in_force, ..
        }))) => Some(*in_force),
        _ => None,
    }
}
