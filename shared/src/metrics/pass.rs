//! The metrics of a pass, from its report and from what its rounds observed. They add no call.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{
    ALERTS, ALGORITHM, BOOT_SECONDS, Batch, CODE, DAY_COST, DIED_YOUNG, DRAINS,
    EMPTY_INSTANCE_SECONDS, FAILED_PASSES, FREE_SLOTS, LAUNCH_FAILURES, LAUNCHES, LAUNCHES_BLOCKED,
    LIVE_INSTANCES, LOCK_LOSSES, LOCK_WAITS, MONTH_COST, NO_FREE_SLOT, OCCUPIED_SLOTS,
    PASS_SECONDS, PASSES, REGION, STALE_SECONDS, STARTING_SLOTS, STUCK_DRAINS, STUCK_UPGRADES,
    TARGET_SLOTS, UNHEALTHY_INSTANCES, UNPRICED_SECONDS, USERS_IN_LINE,
};
use crate::model::{Instance, InstanceStatus, ReplicaStatus, Spending};
use crate::publish;
use crate::report::{PassOutcome, PassReport, StepResult};
use crate::scaling::{Action, Note, Plan, Reason, Snapshot};

/// What the rounds of a pass measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// The age of the region's newest decision when the pass began. None if the lock could not be
    /// read.
    pub stale: Option<SignedDuration>,
    /// The pass lost the lock.
    pub lock_lost: bool,
    /// EC2's error code of each launch that failed.
    pub launch_failures: Vec<String>,
    /// The last round that observed the region.
    state: Option<State>,
    events: Events,
}

/// The state of a region, beside the counts of its plan.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    algorithm: String,
    unhealthy: u32,
    launches_blocked: bool,
    spending: Option<Spending>,
}

/// What happened since the decision before.
#[derive(Clone, Debug, Default, PartialEq)]
struct Events {
    boots: Vec<SignedDuration>,
    drains: u32,
    died_young: u32,
    empty: SignedDuration,
}

impl Measured {
    /// Adds what a round observed and did. `decided_at` is the time of the decision before, from
    /// which on things count that happen once: a round whose decision is not recorded passes none,
    /// and the next one counts them.
    pub(crate) fn add_round(
        &mut self,
        snapshot: &Snapshot,
        plan: &Plan,
        results: &[StepResult],
        decided_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        self.state = Some(State {
            algorithm: snapshot.settings.algorithm.clone(),
            unhealthy: unhealthy(snapshot, plan, now),
            launches_blocked: are_launches_blocked(plan, results),
            spending: snapshot.spending.clone(),
        });
        let Some(since) = decided_at else { return };
        let events = &mut self.events;
        // Decisions are recorded in milliseconds: each moment is between two of them once.
        let until = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        let is_new = |at: Option<Timestamp>| at.filter(|at| since < *at && *at <= until);
        for instance in snapshot.instances.values() {
            if let Some(active) = is_new(instance.active_at) {
                let boot = active.duration_since(instance.launched_at);
                events.boots.push(boot.max(SignedDuration::ZERO));
            }
            events.drains += u32::from(is_new(instance.draining_since).is_some());
            events.empty += empty_since(instance, since)
                .map_or(SignedDuration::ZERO, |from| until.duration_since(from))
                .max(SignedDuration::ZERO);
        }
        for step in &plan.steps {
            if let (Action::RestPool { .. }, Reason::LaunchesDie { instances, .. }) =
                (&step.action, &step.reason)
            {
                events.died_young += instances;
            }
        }
    }
}

/// Instances that serve nobody although they should, or soon.
fn unhealthy(snapshot: &Snapshot, plan: &Plan, now: Timestamp) -> u32 {
    let heartbeat = snapshot.settings.timeouts.heartbeat;
    let is_silent = |instance: &&Instance| {
        instance.status == InstanceStatus::Active && snapshot.silence(instance, now) >= heartbeat
            || snapshot.never_came_up(instance, now)
    };
    let instances = snapshot.instances.values().filter(is_silent).count();
    let is_bad = |status: &ReplicaStatus| {
        matches!(
            status,
            ReplicaStatus::Unknown { .. } | ReplicaStatus::InError { .. }
        )
    };
    let replicas = plan.replicas.iter().filter(|view| is_bad(&view.status));
    u32::try_from(instances + replicas.count()).unwrap_or(u32::MAX)
}

/// Whether instances were needed, and none was launched.
fn are_launches_blocked(plan: &Plan, results: &[StepResult]) -> bool {
    let is_blocking = |note: &Note| {
        matches!(
            note.reason,
            Reason::NoCapacity { .. }
                | Reason::LaunchLimit { .. }
                | Reason::BudgetHoldsLaunch { .. }
                | Reason::NoLaunchChoice
                | Reason::NoImage
                | Reason::SettingInvalid {
                    choices_left: false,
                    ..
                }
        )
    };
    let needs_launch = |action: &Action| matches!(action, Action::Launch { .. });
    let has_launched = results.iter().any(|result| result.launched.is_some());
    !has_launched
        && (plan.steps.iter().any(|step| needs_launch(&step.action))
            || plan.notes.iter().any(is_blocking))
}

/// Since when an instance without users counts as empty; none if it has users or does not serve.
fn empty_since(instance: &Instance, since: Timestamp) -> Option<Timestamp> {
    let active = instance.active_at?;
    let is_empty = instance.status == InstanceStatus::Active && instance.is_empty();
    is_empty.then(|| active.max(since))
}

/// The batches of a pass. A dry run has none.
pub fn of_pass(report: &PassReport) -> Vec<Batch> {
    let measured = &report.measured;
    let state = measured.state.as_ref();
    let algorithm = state.map_or("unknown", |state| &state.algorithm);
    let labels = [(REGION, report.region.as_str()), (ALGORITHM, algorithm)];
    let mut batch = Batch::of(labels);
    batch.add(
        STALE_SECONDS,
        measured.stale.map(|it| it.as_secs_f64().max(0.0)),
    );
    match &report.outcome {
        PassOutcome::DryRun => return Vec::new(),
        PassOutcome::Busy { .. } => return vec![batch.with(LOCK_WAITS, 1)],
        PassOutcome::Done | PassOutcome::Incomplete | PassOutcome::Failed { .. } => {}
    }
    let is_failed = matches!(report.outcome, PassOutcome::Failed { .. });
    let alerts = u32::try_from(publish::problems(report).len()).unwrap_or(u32::MAX);
    let milliseconds = SignedDuration::from_millis(report.duration_ms);
    let mut batch = batch
        .with(PASSES, 1)
        .with(FAILED_PASSES, u32::from(is_failed))
        .with(PASS_SECONDS, milliseconds.as_secs_f64())
        .with(LOCK_WAITS, 0)
        .with(LOCK_LOSSES, u32::from(measured.lock_lost))
        .with(ALERTS, alerts);
    if let (Some(plan), Some(state)) = (&report.plan, state) {
        batch = with_state(batch, plan, state);
        batch = with_events(batch, &measured.events, &report.results);
    }
    let mut codes: BTreeMap<&str, u32> = BTreeMap::new();
    for code in &measured.launch_failures {
        *codes.entry(code).or_default() += 1;
    }
    let [region, algorithm] = labels;
    let failures = codes.into_iter().map(|(code, count)| {
        Batch::of([region, algorithm, (CODE, code)]).with(LAUNCH_FAILURES, count)
    });
    std::iter::once(batch).chain(failures).collect()
}

fn with_state(batch: Batch, plan: &Plan, state: &State) -> Batch {
    let counts = &plan.counts;
    let is_out = counts.free == 0 && (counts.target > 0 || counts.waiting > 0);
    // A region without prices has no cost, not a cost of nothing.
    let batch = match &state.spending {
        Some(spending) => batch
            .with(DAY_COST, spending.today)
            .with(MONTH_COST, spending.month)
            .with(UNPRICED_SECONDS, spending.unpriced_seconds),
        None => batch,
    };
    batch
        .with(FREE_SLOTS, counts.free)
        .with(TARGET_SLOTS, counts.target)
        .with(STARTING_SLOTS, counts.starting)
        .with(OCCUPIED_SLOTS, counts.occupied)
        .with(USERS_IN_LINE, counts.waiting)
        .with(LIVE_INSTANCES, counts.live)
        .with(UNHEALTHY_INSTANCES, state.unhealthy)
        .with(NO_FREE_SLOT, u32::from(is_out))
        .with(LAUNCHES_BLOCKED, u32::from(state.launches_blocked))
        .with(STUCK_DRAINS, alerts_of(plan, is_stuck_drain))
        .with(STUCK_UPGRADES, alerts_of(plan, is_stuck_upgrade))
}

fn with_events(batch: Batch, events: &Events, results: &[StepResult]) -> Batch {
    let launched: usize = results.iter().filter_map(|result| result.launched).sum();
    let mut batch = batch
        .with(LAUNCHES, u32::try_from(launched).unwrap_or(u32::MAX))
        .with(DIED_YOUNG, events.died_young)
        .with(EMPTY_INSTANCE_SECONDS, events.empty.as_secs_f64())
        .with(DRAINS, events.drains);
    let boots = events.boots.iter().map(SignedDuration::as_secs_f64);
    batch.add(BOOT_SECONDS, boots);
    batch
}

fn alerts_of(plan: &Plan, is_one: fn(&Reason) -> bool) -> u32 {
    let alerts = plan.notes.iter().filter(|note| note.alert);
    let count = alerts.filter(|note| is_one(&note.reason)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn is_stuck_drain(reason: &Reason) -> bool {
    matches!(reason, Reason::DrainingOccupied { .. })
}

fn is_stuck_upgrade(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::UpgradeTooLate { .. }
            | Reason::UpgradeNotNamed { .. }
            | Reason::UpgradeDying { .. }
            | Reason::NoRoomForUpgrade { .. }
            | Reason::AppVersionUnknown { .. }
            | Reason::AppVersionNotServed { .. }
            | Reason::UsersOnRetiredImage { .. }
    )
}
