//! Launches that do not live. An instance that ends before it has served counts as a refusal of
//! what it was launched from: that pool rests, twice as long each time, and others are used.
//! Otherwise each death would wake a pass that launches the same again, at the speed of EC2's
//! events.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::plan::{Action, Plan};
use super::reason::Reason;
use super::rows::{Row, Rows};
use super::snapshot::Snapshot;
use crate::ids::{ImageId, InstanceId};
use crate::model::{
    CapacityPool, Instance, Machine, MachineState, Refusal, ReplicaAnswer, SpotNotice, StateReason,
};

/// An instance that ends within this time after it registered has not lived.
const FIRST_MINUTES: SignedDuration = SignedDuration::from_mins(5);

/// Replicas have no rows that say when they registered: one that ended within this time after its
/// launch has not lived.
const FIRST_MINUTES_OF_REPLICA: SignedDuration = SignedDuration::from_mins(10);

/// Bounds what one pass records: a transaction has at most 100 items.
const MOST_RECORDED: usize = 40;

/// How an instance ended before it has lived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// EC2 lists the machine as down.
    AtEc2(Option<StateReason>),
    Notice(SpotNotice),
    NeverCameUp,
    LostAtOnce,
    /// EC2 does not know its id.
    Unknown,
}

impl Death {
    /// Whether the image cannot be at fault. Then the pool rests for all images.
    fn is_of_ec2(&self) -> bool {
        match self {
            Self::Notice(_) => true,
            Self::AtEc2(reason) => reason
                .as_ref()
                .is_some_and(|reason| reason.code.starts_with("Server.")),
            Self::NeverCameUp | Self::LostAtOnce | Self::Unknown => false,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::AtEc2(Some(reason)) => format!("ended by {reason}"),
            Self::AtEc2(None) => "ended at EC2 without a reason".to_owned(),
            Self::Notice(SpotNotice::Interruption) => "spot interruption".to_owned(),
            Self::Notice(SpotNotice::Rebalance) => "rebalance recommendation".to_owned(),
            Self::NeverCameUp => "not ACTIVE in time (boot_seconds)".to_owned(),
            Self::LostAtOnce => "no heartbeat soon after it registered".to_owned(),
            Self::Unknown => "EC2 does not know its id".to_owned(),
        }
    }
}

/// How the instance of this row ended before it has lived; none if it lives or has lived.
fn early_death(snapshot: &Snapshot, row: &Row<'_>, now: Timestamp) -> Option<Death> {
    let instance = row.instance;
    if !instance.status.is_in_service() {
        return None;
    }
    let is_young = |at: Timestamp| {
        instance
            .active_at
            .is_none_or(|active| at.duration_since(active) < FIRST_MINUTES)
    };
    if let Some(machine) = row.machine.filter(|_| row.is_down)
        && is_young(now)
    {
        // EC2 announced it, and that says more than the reason does.
        return Some(match instance.notice {
            Some(notice) => Death::Notice(notice),
            None => Death::AtEc2(machine.state_reason.clone()),
        });
    }
    if let Some(notice) = instance.notice
        && is_young(now)
    {
        return Some(Death::Notice(notice));
    }
    if snapshot.never_came_up(instance, now) {
        return Some(Death::NeverCameUp);
    }
    if row.is_lost && is_young(instance.heard_at()) {
        return Some(Death::LostAtOnce);
    }
    let is_unknown = || snapshot.unknown_to_ec2.contains(&instance.id);
    (instance.active_at.is_none() && is_unknown()).then_some(Death::Unknown)
}

/// Whether the alert about its pool says enough about the instance's end: it ended early, and no
/// user was on it.
pub(super) fn is_in_alert_of_pool(snapshot: &Snapshot, row: &Row<'_>, now: Timestamp) -> bool {
    row.instance.pool.is_some()
        && row.instance.is_empty()
        && early_death(snapshot, row, now).is_some()
}

/// The deaths that one refusal stands for.
struct Deaths {
    count: u32,
    first: InstanceId,
    /// Of the first one.
    death: Death,
}

/// What a death is counted by.
#[derive(Clone, Copy)]
struct Launched<'a> {
    id: &'a InstanceId,
    image: &'a ImageId,
    at: Timestamp,
}

impl<'a> Launched<'a> {
    fn row(instance: &'a Instance) -> Self {
        Self {
            id: &instance.id,
            image: &instance.image_id,
            at: instance.launched_at,
        }
    }

    fn machine(machine: &'a Machine) -> Self {
        Self {
            id: &machine.id,
            image: &machine.image_id,
            at: machine.launched_at,
        }
    }
}

/// Finds the pools whose instances did not live, and those whose instances have. `plan.refusals`
/// becomes what is remembered after this pass. Replicas have no rows: without them, the machines
/// are judged.
pub(super) fn rest_pools(
    snapshot: &Snapshot,
    rows: Option<&Rows<'_>>,
    now: Timestamp,
    plan: &mut Plan,
) {
    plan.refusals.clone_from(&snapshot.refusals);
    let mut deaths: BTreeMap<(CapacityPool, Option<ImageId>), Deaths> = BTreeMap::new();
    let mut add = |pool: &CapacityPool, of: Launched<'_>, death: Death| {
        let Launched { id, image, at } = of;
        let image = (!death.is_of_ec2()).then(|| image.clone());
        let is_counted = |refusal: &Refusal| {
            refusal.pool == *pool
                && (refusal.image.is_none() || refusal.image == image)
                && at <= refusal.at
        };
        if !snapshot.refusals.iter().any(is_counted) {
            deaths
                .entry((pool.clone(), image))
                .and_modify(|deaths| deaths.count += 1)
                .or_insert_with(|| Deaths {
                    count: 1,
                    first: id.clone(),
                    death,
                });
        }
    };
    match rows {
        Some(rows) => {
            for row in rows.unusual() {
                if let Some(death) = early_death(snapshot, row, now)
                    && let Some(pool) = &row.instance.pool
                {
                    add(pool, Launched::row(row.instance), death);
                }
            }
        }
        None => {
            for machine in snapshot.machines.values() {
                if let (Some(pool), Some(death)) = (machine.pool(), replica_death(machine, now)) {
                    add(&pool, Launched::machine(machine), death);
                }
            }
        }
    }
    forget_lived(snapshot, rows, now, plan);
    for ((pool, image), deaths) in deaths.into_iter().take(MOST_RECORDED) {
        let Deaths {
            count,
            first,
            death,
        } = deaths;
        let why = death.text();
        let refusal = Refusal::next(pool, image, why, &snapshot.refusals, now);
        let reason = Reason::LaunchesDie {
            pool: refusal.pool.clone(),
            image: refusal.image.clone(),
            instances: count,
            first,
            why: refusal.why.clone(),
            until: refusal.until,
        };
        plan.alert(None, reason.clone());
        plan.refusals.retain(|known| known.key() != refusal.key());
        plan.refusals.push(refusal.clone());
        plan.push(Action::RestPool { refusal }, reason);
    }
}

/// A replica that EC2 lists as ended soon after its launch, and that neither the service nor the
/// replica itself ended.
fn replica_death(machine: &Machine, now: Timestamp) -> Option<Death> {
    let reason = machine.state_reason.as_ref()?;
    let is_asked_for = matches!(
        reason.code.as_str(),
        "Client.UserInitiatedShutdown" | "Client.InstanceInitiatedShutdown"
    );
    let is_early = now.duration_since(machine.launched_at) < FIRST_MINUTES_OF_REPLICA;
    let is_death = machine.state.is_going() && !is_asked_for && is_early;
    is_death.then(|| Death::AtEc2(Some(reason.clone())))
}

/// Forgets the refusals of pools from which an instance was launched since, and has lived.
fn forget_lived(snapshot: &Snapshot, rows: Option<&Rows<'_>>, now: Timestamp, plan: &mut Plan) {
    let has_lived = |refusal: &Refusal| {
        let is_of = |pool: Option<&CapacityPool>, image: &ImageId, launched_at: Timestamp| {
            pool == Some(&refusal.pool)
                && refusal.image.as_ref().is_none_or(|only| only == image)
                && launched_at > refusal.at
        };
        match rows {
            Some(rows) => rows.iter().any(|row| {
                let instance = row.instance;
                instance_has_lived(row, now)
                    && is_of(
                        instance.pool.as_ref(),
                        &instance.image_id,
                        instance.launched_at,
                    )
            }),
            None => snapshot.machines.values().any(|machine| {
                is_of(
                    machine.pool().as_ref(),
                    &machine.image_id,
                    machine.launched_at,
                ) && replica_has_lived(snapshot, machine, now)
            }),
        }
    };
    let forgotten: Vec<_> = snapshot
        .refusals
        .iter()
        .filter(|refusal| has_lived(refusal))
        .take(MOST_RECORDED)
        .cloned()
        .collect();
    for refusal in forgotten {
        plan.refusals.retain(|known| known.key() != refusal.key());
        let reason = Reason::PoolHasLived {
            pool: refusal.pool.clone(),
        };
        plan.push(Action::ForgetRest { refusal }, reason);
    }
}

fn instance_has_lived(row: &Row<'_>, now: Timestamp) -> bool {
    let active_at = row.instance.active_at;
    let has_served = active_at.is_some_and(|active| now.duration_since(active) >= FIRST_MINUTES);
    row.is_free && has_served
}

fn replica_has_lived(snapshot: &Snapshot, machine: &Machine, now: Timestamp) -> bool {
    let answer = snapshot.answers.get(&machine.id);
    machine.state == MachineState::Running
        && now.duration_since(machine.launched_at) >= FIRST_MINUTES_OF_REPLICA
        && matches!(answer, Some(ReplicaAnswer::Healthy { .. }))
}
