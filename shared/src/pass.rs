//! The story: lock → observe → decide → act → record → unlock, and again if it was wanted
//! meanwhile.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;
use tracing::{Instrument, info, info_span};

use crate::act::{Actor, Launching};
use crate::alerts::Alerts;
use crate::clock::Clock;
use crate::db::{Database, DbError};
use crate::host::{HostHandler, HostHandlers};
use crate::ids::{Owner, RegionName};
use crate::lock::{Attempt, LaunchLog, Lease, LeasedHost, LockError, RegionLock};
use crate::observe::{Eyes, ObserveError};
use crate::record;
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
    pub alerts: Arc<dyn Alerts>,
    pub successor: Arc<dyn Successor>,
    pub clock: Arc<dyn Clock>,
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
}

/// Runs a pass for a region in an invocation of its own.
#[async_trait]
pub trait Successor: Send + Sync {
    async fn hand_over(&self, region: &RegionName) -> Result<(), HandOverError>;
}

#[derive(Debug, Error)]
#[error("hand over to an asynchronous reconcile: {0}")]
pub struct HandOverError(pub String);

/// What a pass is asked for.
#[derive(Clone, Debug)]
pub struct Order {
    pub trigger: Trigger,
    /// An operator's word that what the guard found may be removed.
    pub approve_mass_removal: bool,
}

#[derive(Debug, Error)]
enum RoundError {
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Decide(#[from] DecideError),
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
}

impl Passes {
    /// One pass for one region. Never fails as a whole: the report tells.
    pub async fn run(&self, region: &RegionName, order: &Order) -> PassReport {
        let span = info_span!("pass", %region, trigger = order.trigger.name());
        async {
            let began = self.clock.now();
            let mut report = self.wake_and_look(region, order, began).await;
            report.duration_ms = millis(self.clock.now().duration_since(began));
            record::log_report(&report);
            record::alert(&*self.alerts, &report).await;
            report
        }
        .instrument(span)
        .await
    }

    /// What a pass would do now, and why. Takes no lock, changes nothing.
    pub async fn dry_run(&self, region: &RegionName) -> PassReport {
        let began = self.clock.now();
        let host = self.hosts.in_region(region);
        let look = async {
            let (snapshot, now) = self.eyes(&*host).observe(region, began).await?;
            Ok::<_, RoundError>(decide(&snapshot, now)?)
        };
        let (outcome, plan) = match look.await {
            Ok(plan) => (PassOutcome::DryRun, Some(plan)),
            Err(error) => (
                PassOutcome::Failed {
                    error: error.to_string(),
                },
                None,
            ),
        };
        let duration_ms = millis(self.clock.now().duration_since(began));
        PassReport {
            region: region.clone(),
            outcome,
            plan,
            results: vec![],
            rounds: 1,
            duration_ms,
        }
    }

    async fn wake_and_look(
        &self,
        region: &RegionName,
        order: &Order,
        began: Timestamp,
    ) -> PassReport {
        let mut report = PassReport {
            region: region.clone(),
            outcome: PassOutcome::Done,
            plan: None,
            results: vec![],
            rounds: 0,
            duration_ms: 0,
        };
        // First the mark, then the lock: whoever holds the lock reads the mark after its release.
        if order.trigger.leaves_a_mark()
            && let Err(error) = self.lock.mark_wanted(region, began).await
        {
            report.outcome = failed(&error);
            return report;
        }
        loop {
            let lease = match self.acquire(region).await {
                Ok(Attempt::Acquired(lease)) => lease,
                Ok(Attempt::Held { until }) => {
                    // After a round of its own, this pass leaves the wake to the new holder.
                    if report.rounds == 0 {
                        report.outcome = PassOutcome::Busy { until };
                    }
                    return report;
                }
                Err(error) => {
                    report.outcome = failed(&error);
                    return report;
                }
            };
            report.rounds += 1;
            let round = self.look_once(&lease, order, began).await;
            let released = self.lock.release(&lease).await;
            report.outcome = match &round {
                Ok(round) if round.results.iter().all(|result| result.ok) => PassOutcome::Done,
                Ok(_) => PassOutcome::Incomplete,
                Err(error) => failed(error),
            };
            let looked = round.is_ok();
            if let Ok(round) = round {
                report.plan = Some(round.plan);
                report.results.extend(round.results);
            }
            if let Err(error) = released {
                report.outcome = failed(&error);
                return report;
            }
            // A region that cannot be looked at now waits for the schedule: going again at once
            // would ask a database that is down for ever.
            if !looked || !self.is_wanted(region, &mut report).await {
                return report;
            }
            if report.rounds >= ROUNDS || self.is_over(began) {
                if let Err(error) = self.successor.hand_over(region).await {
                    report.results.push(StepResult::failed("look again", error));
                    report.outcome = PassOutcome::Incomplete;
                }
                return report;
            }
        }
    }

    async fn acquire(&self, region: &RegionName) -> Result<Attempt, LockError> {
        let owner = Owner::random();
        let mut attempt = 1;
        loop {
            let now = self.clock.now();
            match self
                .lock
                .acquire(region, &owner, now, self.limits.lease)
                .await
            {
                Err(LockError::Unavailable { .. }) if attempt < ACQUIRE_ATTEMPTS => attempt += 1,
                answer => return answer,
            }
        }
    }

    async fn is_wanted(&self, region: &RegionName, report: &mut PassReport) -> bool {
        match self.lock.is_wanted(region).await {
            Ok(wanted) => wanted,
            Err(error) => {
                report
                    .results
                    .push(StepResult::failed("read the wake mark", error));
                report.outcome = PassOutcome::Incomplete;
                false
            }
        }
    }

    fn is_over(&self, began: Timestamp) -> bool {
        let spent = self.clock.now().duration_since(began);
        SignedDuration::try_from(self.limits.budget).is_ok_and(|budget| spent >= budget)
    }

    fn eyes<'a>(&'a self, host: &'a dyn HostHandler) -> Eyes<'a> {
        Eyes {
            database: &*self.database,
            host,
            log: &*self.log,
        }
    }

    async fn look_once(
        &self,
        lease: &Lease,
        order: &Order,
        began: Timestamp,
    ) -> Result<Round, RoundError> {
        let host: Arc<dyn HostHandler> = Arc::new(LeasedHost::new(
            self.hosts.in_region(&lease.region),
            lease.clone(),
            self.clock.clone(),
        ));
        let (mut snapshot, now) = self
            .eyes(&*host)
            .observe_under(lease, &*self.lock, self.clock.now())
            .await?;
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
            launching: &self.launching,
            lease,
            deadline: began + self.limits.budget,
            snapshot: &snapshot,
            now,
        };
        let mut results = actor.carry_out(&plan).await;
        let decision = Decision {
            region: lease.region.clone(),
            version: lease.version,
            at: now,
            trigger: order.trigger.clone(),
            plan: plan.clone(),
            results: results.clone(),
        };
        if let Err(error) = self.log.record_decision(&decision).await {
            results.push(StepResult::failed("record the decision", error));
        }
        Ok(Round { plan, results })
    }

    /// Every region that has a row.
    pub async fn regions(&self) -> Result<Vec<RegionName>, DbError> {
        self.database.regions().await
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

fn failed(error: &dyn std::error::Error) -> PassOutcome {
    PassOutcome::Failed {
        error: error.to_string(),
    }
}

fn millis(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
