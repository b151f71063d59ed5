//! The story: lock → observe → decide → act → record → unlock, and again if it was wanted
//! meanwhile.

#[cfg(test)]
mod address_tests;
#[cfg(test)]
mod replica_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upgrade_tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;
use tracing::{Instrument, info, info_span, warn};

use crate::act::{Actor, Carried, Launching};
use crate::alerts::{Alerts, Problem};
use crate::clock::Clock;
use crate::db::{Database, DbError};
use crate::host::{HostHandler, HostHandlers};
use crate::ids::{Owner, RegionName, UniqueIds};
use crate::lock::{Attempt, LaunchLog, Lease, LeasedHost, LockError, RegionLock, WakeMark};
use crate::observe::{Eyes, ObserveError};
use crate::record;
use crate::replicas::ReplicaStatusApi;
use crate::report::{Decision, PassOutcome, PassReport, StepResult};
use crate::scaling::{self, Plan, ScalingAlgorithm, Snapshot, check};
use crate::trigger::Trigger;

/// A wanted region is looked at again this often before the rest is handed over, so that
/// constant events cannot keep one function for ever.
const ROUNDS: u32 = 3;

/// An answer to `acquire` may be lost; asking again with the same owner is harmless.
const ACQUIRE_ATTEMPTS: u32 = 3;

/// What passes are made of. Built once per process.
pub struct Passes {
    pub database: Arc<dyn Database>,
    pub lock: Arc<dyn RegionLock>,
    pub log: Arc<dyn LaunchLog>,
    pub hosts: Arc<dyn HostHandlers>,
    pub replicas: Arc<dyn ReplicaStatusApi>,
    pub alerts: Arc<dyn Alerts>,
    pub successor: Arc<dyn Successor>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn UniqueIds>,
    pub launching: Launching,
    pub limits: Limits,
}

impl fmt::Debug for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passes")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// How long things may take: the budget ends before the lease, the lease before the function.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// No new step is begun, nor another round, this long after the pass began.
    pub budget: Duration,
    pub lease: Duration,
    /// The longest that one call to EC2 may take, retries of the client included. A call is made
    /// only while the lease has more time left than this.
    pub ec2_call: Duration,
}

/// Runs a pass for a region in an invocation of its own.
#[async_trait]
pub trait Successor: Send + Sync {
    /// `id` is the order's, and stays it: what follows from one trigger has one id in the log.
    async fn hand_over(&self, region: &RegionName, id: &str) -> Result<(), HandOverError>;
}

#[derive(Debug, Error)]
#[error("hand over to an asynchronous reconcile: {0}")]
pub struct HandOverError(pub String);

/// What a pass is asked for.
#[derive(Clone, Debug)]
pub struct Order {
    pub trigger: Trigger,
    /// The event's id, or the invocation's: in every line of the log that comes of it.
    pub id: String,
    /// When the invocation began: its time is the pass's, too.
    pub began: Timestamp,
    /// An operator's word that what the guard found may be removed.
    pub approve_mass_removal: bool,
}

/// Why a region could not be looked at, or not again.
#[derive(Debug, Error)]
enum PassError {
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    HandOver(#[from] HandOverError),
}

#[derive(Debug, Error)]
pub enum DecideError {
    #[error(
        "regions.algorithm of {region} is {name:?}: known are {known}",
        known = scaling::algorithm_names().collect::<Vec<_>>().join(", ")
    )]
    UnknownAlgorithm { region: RegionName, name: String },
    #[error("the plan breaks what must always hold, nothing was done: {0}")]
    Unsafe(String),
}

/// One look at a region and what came of it.
struct Round {
    plan: Plan,
    results: Vec<StepResult>,
    /// Its decision is recorded, and the wake mark that it found is cleared.
    settled: bool,
    /// An image is in another state now, and what follows from that is not decided yet.
    moved: bool,
}

impl Passes {
    /// One pass for one region. Never fails as a whole: the report tells.
    pub async fn run(&self, region: &RegionName, order: &Order) -> PassReport {
        let span = info_span!("pass", %region, trigger = order.trigger.name(), id = order.id);
        async {
            let began = order.began;
            let mut report = PassReport::of(region);
            report.outcome = self
                .wake_and_look(order, began, &mut report)
                .await
                .unwrap_or_else(|error| PassOutcome::Failed {
                    error: error.to_string(),
                });
            report.duration_ms = millis(self.clock.now().duration_since(began));
            record::log_report(&report);
            record::alert(&*self.alerts, &report).await;
            report
        }
        .instrument(span)
        .await
    }

    /// Makes an event's wake durable: marks the regions, and only then records the event as
    /// seen. False when it was seen before: whoever brought it first looks, or has looked.
    ///
    /// # Errors
    /// When it is not certain that the wake is durable: the event has to be sent again.
    pub async fn wake(&self, event_id: &str, regions: &[RegionName]) -> Result<bool, LockError> {
        if self.lock.is_seen(event_id).await? {
            return Ok(false);
        }
        self.mark(regions, event_id).await?;
        self.lock.record_seen(event_id, self.clock.now()).await?;
        Ok(true)
    }

    /// Marks regions as wanted, so that they are looked at once more by whoever holds the lock,
    /// who finds `id` with the mark.
    ///
    /// # Errors
    /// When it is not certain that a mark is set.
    pub async fn mark(&self, regions: &[RegionName], id: &str) -> Result<(), LockError> {
        let now = self.clock.now();
        for region in regions {
            self.lock.mark_wanted(region, id, now).await?;
        }
        Ok(())
    }

    /// What a pass would do now, and why. Takes no lock, changes nothing.
    pub async fn dry_run(&self, region: &RegionName, order: &Order) -> PassReport {
        let began = self.clock.now();
        let host = self.hosts.in_region(region);
        let look = async {
            let (mut snapshot, now) = self.eyes(&*host).observe(region, began).await?;
            snapshot.mass_removal_approved = order.approve_mass_removal;
            Ok::<_, PassError>(decide(&snapshot, now)?)
        };
        let mut report = PassReport::of(region);
        match look.await {
            Ok(plan) => {
                report.outcome = PassOutcome::DryRun;
                report.plan = Some(plan);
            }
            Err(error) => {
                report.outcome = PassOutcome::Failed {
                    error: error.to_string(),
                }
            }
        }
        report.duration_ms = millis(self.clock.now().duration_since(began));
        report
    }

    /// Looks at the region, and again as long as it was wanted meanwhile.
    async fn wake_and_look(
        &self,
        order: &Order,
        began: Timestamp,
        report: &mut PassReport,
    ) -> Result<PassOutcome, PassError> {
        let region = &report.region.clone();
        // First the mark, then the lock: whoever holds the lock reads the mark after its release.
        if order.trigger.leaves_a_mark() {
            self.lock.mark_wanted(region, &order.id, began).await?;
        }
        loop {
            let mut lease = match self.acquire(region, began).await? {
                Attempt::Acquired(lease) => lease,
                Attempt::Held { until } if report.rounds == 0 => {
                    return Ok(PassOutcome::Busy { until });
                }
                // After rounds of its own, this pass leaves the wake to the new holder.
                Attempt::Held { .. } => return Ok(report.outcome_of_steps()),
            };
            report.rounds += 1;
            let mut round = self.look_once(&lease, order, began).await;
            if let Some(in_force) = behind_fence(&round) {
                // Whoever lost the lock cannot outbid: then somebody else holds it.
                lease = match self.lock.outbid(&lease, in_force).await {
                    Ok(lifted) => lifted,
                    Err(error) => {
                        let released = self.lock.release(&lease).await;
                        warn!(?released, "the lock could not be lifted above the fence");
                        return Err(error.into());
                    }
                };
                warn!(
                    version = lease.version,
                    "the lock was behind the fence; it is above it now"
                );
                round = self.look_once(&lease, order, began).await;
            }
            // A release that was not answered is no reason not to look whether there is a wake.
            if let Err(error) = self.lock.release(&lease).await {
                let failed = StepResult::failed("release the lock", error);
                report.results.push(failed);
            }
            // A region that cannot be looked at now keeps its mark and waits for the schedule:
            // going again at once would ask a database that is down for ever.
            let Round {
                plan,
                results,
                settled,
                moved,
            } = round?;
            report.looked(plan);
            report.results.extend(results);
            // So does one whose mark cannot be cleared: found set, it would be looked at, and
            // handed over, without end.
            if !settled {
                return Ok(report.outcome_of_steps());
            }
            let wanted = self.lock.is_wanted(region).await?;
            let last = report.rounds >= ROUNDS || self.is_over(began);
            if !wanted && (!moved || last) {
                return Ok(report.outcome_of_steps());
            }
            if last {
                self.successor.hand_over(region, &order.id).await?;
                info!("handed over to reconcile");
                return Ok(report.outcome_of_steps());
            }
        }
    }

    /// A lock for the rest of the invocation's time and no longer.
    async fn acquire(&self, region: &RegionName, began: Timestamp) -> Result<Attempt, LockError> {
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

    /// Another round would not have half of the time that a pass is given.
    fn is_over(&self, began: Timestamp) -> bool {
        let spent = self.clock.now().duration_since(began);
        SignedDuration::try_from(self.limits.budget).is_ok_and(|budget| spent >= budget / 2)
    }

    fn eyes<'a>(&'a self, host: &'a dyn HostHandler) -> Eyes<'a> {
        Eyes {
            renew_after: self.launching.renew_after(),
            database: &*self.database,
            host,
            log: &*self.log,
            replicas: &*self.replicas,
        }
    }

    async fn look_once(
        &self,
        lease: &Lease,
        order: &Order,
        began: Timestamp,
    ) -> Result<Round, PassError> {
        let look_began = self.clock.now();
        let host: Arc<dyn HostHandler> = Arc::new(LeasedHost::new(
            self.hosts.in_region(&lease.region),
            lease.clone(),
            self.limits.ec2_call,
            self.clock.clone(),
        ));
        let (mut snapshot, now, wanted) =
            self.eyes(&*host).observe_under(lease, look_began).await?;
        snapshot.mass_removal_approved = order.approve_mass_removal;
        let plan = decide(&snapshot, now)?;
        for step in &plan.steps {
            info!(step = %step.action, because = %step.because, version = lease.version, "decided");
        }
        let actor = Actor {
            database: &*self.database,
            host: &*host,
            log: &*self.log,
            clock: &*self.clock,
            ids: &*self.ids,
            launching: &self.launching,
            lease,
            deadline: began + self.limits.budget,
            snapshot: &snapshot,
            now,
        };
        let Carried { mut results, moved } = actor.carry_out(&plan).await;
        let decision = Decision {
            region: lease.region.clone(),
            version: lease.version,
            at: now,
            id: order.id.clone(),
            trigger: order.trigger.clone(),
            plan: plan.clone(),
            outcome: PassOutcome::of_steps(&results),
            results: results.clone(),
            duration_ms: millis(self.clock.now().duration_since(look_began)),
        };
        let settled = match self.log.record_decision(lease, &decision).await {
            Ok(()) => self.clear(lease, wanted.as_ref(), &mut results).await,
            Err(error) => {
                results.push(StepResult::failed("record the decision", error));
                false
            }
        };
        Ok(Round {
            plan,
            results,
            settled,
            moved,
        })
    }

    /// Clears the wake mark that was set before the look, now that it has been acted on: the
    /// decision's record proves that the lock was still this lease's. A function that dies before
    /// takes no wake with it, and a mark set since then is another one.
    async fn clear(
        &self,
        lease: &Lease,
        wanted: Option<&WakeMark>,
        results: &mut Vec<StepResult>,
    ) -> bool {
        let Some(mark) = wanted else { return true };
        let cleared = self.lock.clear_wanted(&lease.region, mark).await;
        if let Err(error) = &cleared {
            results.push(StepResult::failed("clear the wake mark", error));
        }
        cleared.is_ok()
    }

    /// Every region that has a row. No pass will tell an operator of a database that cannot even
    /// list them: so this does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn regions(&self) -> Result<Vec<RegionName>, DbError> {
        let known = self.database.regions().await;
        if let Err(error) = &known {
            let kind = "list the regions".to_owned();
            let problem = Problem {
                text: format!("{kind}: {error}"),
                kind,
            };
            self.alerts.send(&"all-regions".into(), &[problem]).await;
        }
        known
    }
}

/// The region's algorithm, and then the rules that no algorithm may break.
fn decide(snapshot: &Snapshot, now: Timestamp) -> Result<Plan, DecideError> {
    let settings = &snapshot.settings;
    let algorithm: &dyn ScalingAlgorithm =
        scaling::algorithm(&settings.algorithm).ok_or_else(|| DecideError::UnknownAlgorithm {
            region: settings.name.clone(),
            name: settings.algorithm.clone(),
        })?;
    let plan = algorithm.decide(snapshot, now);
    let violations = check::violations(snapshot, &plan, now);
    if violations.is_empty() {
        return Ok(plan);
    }
    let violations: Vec<_> = violations.iter().map(ToString::to_string).collect();
    Err(DecideError::Unsafe(violations.join("; ")))
}

/// The version in force, if that is what kept a round from looking.
fn behind_fence(round: &Result<Round, PassError>) -> Option<i64> {
    match round {
        Err(PassError::Observe(ObserveError::Database(DbError::BehindFence {
            in_force, ..
        }))) => Some(*in_force),
        _ => None,
    }
}

fn millis(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
