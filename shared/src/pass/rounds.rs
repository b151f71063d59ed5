//! The rounds of a pass. Each round takes the lock: observe → decide → execute → record. An event
//! that comes meanwhile sets the wake mark, which the next round finds.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::reconciler::{PassError, PassRequest, Reconciler, millis};
use crate::db::DbError;
use crate::execute::{Execution, Executor};
use crate::host::{HostErrorKind, HostHandler};
use crate::ids::{Owner, RegionName};
use crate::leased_host::LeasedHost;
use crate::lock::{Lease, LockAttempt, LockError, WakeMark};
use crate::metrics::Measured;
use crate::observe::ObserveError;
use crate::report::{Decision, PassOutcome, PassReport, StepResult};
use crate::scaling::{self, Plan};
use crate::trigger::Trigger;

/// After this many rounds the region is handed over, so that constant events cannot keep one
/// invocation busy for ever.
const MAX_ROUNDS: u32 = 3;

/// `acquire` is repeated if its answer is lost, which is harmless with the same owner.
const ACQUIRE_ATTEMPTS: u32 = 3;

/// The outcome of one round.
struct Round {
    plan: Plan,
    results: Vec<StepResult>,
    /// The decision is recorded, and the wake mark that the round found is cleared.
    settled: bool,
    /// An image changed its state. What follows from that is decided in the next round.
    image_moved: bool,
}

/// What happens after a round.
enum Next {
    Done,
    AnotherRound,
    /// There is more to do, but this pass has no time left.
    HandOver,
}

impl Reconciler {
    /// Runs rounds until nothing is left to do, another pass has the lock, or the time is used up.
    pub(super) async fn run_rounds(
        &self,
        request: &PassRequest,
        report: &mut PassReport,
    ) -> Result<PassOutcome, PassError> {
        let region = &report.region.clone();
        // The mark is set before the lock is tried, because the holder reads the mark once more
        // after it has released the lock.
        if request.trigger.leaves_a_mark() {
            self.lock
                .set_wake_mark(region, &request.id, request.began)
                .await?;
        }
        loop {
            let attempt = self.acquire(region, request.began).await?;
            let decided_at = attempt.decided_at();
            report.measured.stale = report
                .measured
                .stale
                .or(decided_at.map(|at| request.began.duration_since(at)));
            let lease = match attempt {
                LockAttempt::Acquired(lease) => lease,
                LockAttempt::Held { until, .. } if report.rounds == 0 => {
                    return Ok(PassOutcome::Busy { until });
                }
                // This pass has run rounds already: the new holder handles the mark.
                LockAttempt::Held { .. } => break,
            };
            report.rounds += 1;
            let round = match self.run_locked(lease, request, report).await {
                Err(error) if Self::may_hand_over(request, &error) => {
                    info!(%error, "no time left to observe");
                    self.invoker.hand_over(region, &request.id).await?;
                    info!("region handed over to reconcile");
                    return Ok(PassOutcome::Incomplete);
                }
                round => round?,
            };
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

    /// Whether the round failed because the invocation had too little time left, so that another
    /// one may succeed. The schedule comes again by itself, and one that was handed over waits for it:
    /// calls take so long that a third one would not help.
    fn may_hand_over(request: &PassRequest, error: &PassError) -> bool {
        let PassError::Observe(ObserveError::Host(error)) = error else {
            return false;
        };
        let comes_again = matches!(request.trigger, Trigger::Schedule | Trigger::HandOver);
        error.kind == HostErrorKind::LeaseTooShort && !comes_again
    }

    /// Runs one round under this lease, and releases the lock in any case.
    ///
    /// A region that cannot be observed keeps its mark and waits for the schedule: further rounds
    /// would only repeat requests to a database that is down.
    async fn run_locked(
        &self,
        mut lease: Lease,
        request: &PassRequest,
        report: &mut PassReport,
    ) -> Result<Round, PassError> {
        let measured = &mut report.measured;
        let mut round = self.run_round(&lease, request, measured).await;
        if let Some(in_force) = behind_fence(&round) {
            lease = self.advance_past_fence(lease, in_force).await?;
            round = self.run_round(&lease, request, measured).await;
        }
        // Not a reason to stop: the mark is read again even if the release got no answer.
        if let Err(error) = self.lock.release(&lease).await {
            report.measured.lock_lost |= matches!(error, LockError::Lost { .. });
            let failed = StepResult::failed("release the lock", error);
            report.results.push(failed);
        }
        round
    }

    /// What follows a round. A region whose mark could not be cleared waits for the schedule,
    /// because the mark would cause rounds and hand-overs without end.
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

    /// Acquires the lock, for the rest of the invocation's time at most.
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

    /// Raises the lock's version above the fence in PostgreSQL, after the scaling table was created
    /// anew or restored. A pass that merely lost the lock gets an error, because another one holds
    /// it.
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
                let released = self.lock.release(&lease).await.is_ok();
                warn!(%error, released, "lock could not be advanced past the fence");
                Err(error)
            }
        }
    }

    /// Whether half of the budget is used up, so that there is not enough time for another round.
    pub(super) fn is_over(&self, began: Timestamp) -> bool {
        let spent = self.clock.now().duration_since(began);
        SignedDuration::try_from(self.limits.budget).is_ok_and(|budget| spent >= budget / 2)
    }

    /// Runs observe → decide → execute → record, under the lock.
    async fn run_round(
        &self,
        lease: &Lease,
        request: &PassRequest,
        measured: &mut Measured,
    ) -> Result<Round, PassError> {
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
            tally: Mutex::new(snapshot.launches.clone()),
            launch_failures: Mutex::default(),
            lease,
            deadline: request.began + self.limits.budget,
            snapshot: &snapshot,
            now,
        };
        let Execution {
            mut results,
            image_moved,
            launch_failures,
            lock_lost,
        } = executor.execute(&plan).await;
        measured.launch_failures.extend(launch_failures);
        measured.lock_lost |= lock_lost;
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
        let recorded = self.store.record_decision(lease, &decision).await;
        measured.lock_lost |= matches!(recorded, Err(LockError::Lost { .. }));
        let decided_at = lease.decided_at.filter(|_| recorded.is_ok());
        measured.add_round(&snapshot, &plan, &results, decided_at, now);
        let settled = match recorded {
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

    /// Clears the wake mark that was set before the observation, now that the plan is executed.
    /// Recording the decision has proved that the lock was still held. A function that dies before
    /// this leaves the mark, and a mark that was set since has another id.
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

/// The fence's version, if the round failed because its lock's version is below it.
fn behind_fence(round: &Result<Round, PassError>) -> Option<i64> {
    match round {
        Err(PassError::Observe(ObserveError::Database(DbError::BehindFence {
            in_force, ..
        }))) => Some(*in_force),
        _ => None,
    }
}
