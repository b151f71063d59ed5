//! The algorithm `replica`, from SimpleScaleVM: EC2's list says which replicas exist, and each
//! replica reports its own status and free capacity over HTTP. It needs no database rows.
//!
//! [`ReplicaAlgorithm::decide`] lists the decisions in their order.

mod census;

use std::collections::BTreeMap;

use census::Census;
use jiff::Timestamp;

use super::algorithm::{Fleet, ScalingAlgorithm};
use super::plan::{Action, Counts, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;
use super::{addresses, guard, intents, launch_options, launch_settings, rests};
use crate::ids::InstanceId;
use crate::model::{Image, ImageState, MachineState, ReplicaAnswer, ReplicaStatus};
use crate::settings::REPLICA;

#[derive(Debug)]
pub(super) struct ReplicaAlgorithm;

impl ScalingAlgorithm for ReplicaAlgorithm {
    fn name(&self) -> &'static str {
        REPLICA
    }

    fn decide(&self, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let census = Census::of(snapshot, now);
        let mut plan = Plan {
            counts: census.counts(snapshot),
            ..Plan::default()
        };
        launch_settings::report_problems(&snapshot.settings, &mut plan);
        if snapshot.settings.paused {
            plan.note(None, Reason::Paused);
        } else {
            // What an earlier pass began is completed before anything new begins.
            intents::resume_open(snapshot, now, &mut plan);
            // The clock of an unknown replica starts even if the guard keeps it.
            record_unknown(snapshot, &census, now, &mut plan);
            // Before launches: what did not live is not launched again at once.
            rests::rest_pools(snapshot, None, now, &mut plan);
            delete_ended(&census, &mut plan);
            delete_unknown(snapshot, &census, now, &mut plan);
            // Images before launches: after a move, this round creates nothing, because the pass
            // observes the region again at once.
            if !move_images(snapshot, &mut plan) {
                create_missing(snapshot, now, &mut plan);
            }
            delete_surplus(snapshot, &census, &mut plan);
            // After all deletions, because a deleted replica's address moves to another one.
            addresses::assign_addresses(snapshot, census.iter(), now, &mut plan);
        }
        // Last, because the views show what was decided about each replica.
        plan.replicas = census.views(snapshot, &plan);
        plan
    }

    fn fleet(&self) -> Fleet {
        Fleet::Replicas
    }

    fn may_delete_replica(&self, snapshot: &Snapshot, id: &InstanceId, now: Timestamp) -> bool {
        let settings = &snapshot.settings.replicas;
        let Some(machine) = snapshot.machines.get(id) else {
            return false;
        };
        if snapshot.instances.contains_key(id) {
            return false;
        }
        match (machine.state, snapshot.answers.get(id)) {
            (MachineState::Stopping | MachineState::Stopped, _)
            | (MachineState::Running, Some(ReplicaAnswer::Terminated)) => true,
            (MachineState::Running, Some(ReplicaAnswer::Healthy { capacity })) => {
                settings.trim && *capacity == settings.capacity
            }
            (MachineState::Running, Some(ReplicaAnswer::Unknown { .. })) => {
                let since = snapshot.unknown_since.get(id);
                settings.replace_unknown.is_some_and(|limit| {
                    since.is_some_and(|since| now.duration_since(*since) >= limit)
                })
            }
            _ => false,
        }
    }
}

/// Records since when each replica has been unknown, but only if `replica_unknown_seconds` is set.
/// Otherwise the record is cleared: a limit that is set again must not find a time from before the
/// replica's last answer.
fn record_unknown(snapshot: &Snapshot, census: &Census<'_>, now: Timestamp, plan: &mut Plan) {
    let has_limit = snapshot.settings.replicas.replace_unknown.is_some();
    let unknown: BTreeMap<_, _> = census
        .iter()
        .filter(|(_, status)| has_limit && matches!(status, ReplicaStatus::Unknown { .. }))
        .map(|(machine, _)| {
            let since = snapshot.unknown_since.get(&machine.id);
            (machine.id.clone(), since.copied().unwrap_or(now))
        })
        .collect();
    if unknown != snapshot.unknown_since {
        let count = unknown.len();
        plan.push(
            Action::RememberUnknown { since: unknown },
            Reason::UnknownReplicas { count },
        );
    }
}

/// Deletes replicas that report that they are terminated, and those that EC2 neither builds nor
/// runs.
fn delete_ended(census: &Census<'_>, plan: &mut Plan) {
    for (machine, status) in census.iter() {
        let reason = match status {
            ReplicaStatus::Terminated => Reason::ReplicaTerminated,
            ReplicaStatus::InError { state } => Reason::ReplicaInError { state: *state },
            _ => continue,
        };
        let instance = machine.id.clone();
        plan.push(Action::DeleteReplica { instance }, reason);
    }
}

/// Deletes replicas that have been unknown for `replica_unknown_seconds`; others are created in
/// their place. Too many at once look like a fault of our own network: then none is deleted.
fn delete_unknown(snapshot: &Snapshot, census: &Census<'_>, now: Timestamp, plan: &mut Plan) {
    let Some(limit) = snapshot.settings.replicas.replace_unknown else {
        return;
    };
    let due: Vec<_> = census
        .iter()
        .filter(|(_, status)| matches!(status, ReplicaStatus::Unknown { .. }))
        .filter_map(|(machine, _)| {
            let since = snapshot.unknown_since.get(&machine.id)?;
            let unknown_for = now.duration_since(*since);
            (unknown_for >= limit).then(|| (machine.id.clone(), unknown_for))
        })
        .collect();
    let most = guard::removal_limit(census.len());
    if due.len() > most && !snapshot.mass_removal_approved {
        let unknown = due.len();
        plan.alert(None, Reason::ReplicaGuard { unknown, most });
        return;
    }
    for (instance, unknown_for) in due {
        let seconds = unknown_for.as_secs();
        plan.push(
            Action::DeleteReplica { instance },
            Reason::ReplicaUnknownFor { seconds },
        );
    }
}

/// Moves a requested image to `CURRENT` at once, and then retires the one before it: replicas have
/// no clients of a certain commit, and nothing to warm. Returns whether an image moved.
fn move_images(snapshot: &Snapshot, plan: &mut Plan) -> bool {
    let warming = |image: &&Image| image.state == ImageState::Warming;
    let baking = |image: &&Image| image.state == ImageState::Baking;
    let mut moves = Vec::new();
    if let Some(image) = snapshot.images.iter().find(warming) {
        moves.push((image, ImageState::Current));
    } else if snapshot.current_image().is_some() {
        let replaced = snapshot.images.iter().filter(baking);
        moves.extend(replaced.map(|image| (image, ImageState::Retired)));
    }
    for (image, to) in &moves {
        plan.push(
            Action::MoveImage {
                image: image.id.clone(),
                from: image.state,
                to: *to,
            },
            Reason::ReplicaImage,
        );
    }
    !moves.is_empty()
}

/// Creates as many replicas as the minimum of available capacity misses, up to the maximum.
fn create_missing(snapshot: &Snapshot, now: Timestamp, plan: &mut Plan) {
    let Counts {
        target: min,
        free,
        starting,
        live,
        max,
        ..
    } = plan.counts;
    let available = free.saturating_add(starting);
    let capacity = snapshot.settings.replicas.capacity.max(1);
    let missing = min.saturating_sub(available);
    if missing == 0 {
        let reason = Reason::ReplicasSuffice {
            min,
            free,
            starting,
        };
        plan.note(None, reason);
        return;
    }
    let Some(image) = snapshot.current_image() else {
        plan.alert(None, Reason::NoImage);
        return;
    };
    let needed = missing.div_ceil(capacity);
    let count = needed.min(max.saturating_sub(live));
    if count < needed {
        let reason = Reason::ReplicasAtMaximum { missing, live, max };
        plan.alert(None, reason);
    }
    let hour = launch_options::left_of_hour(snapshot, now);
    if hour < count {
        launch_options::alert_limit(snapshot, now, plan);
    }
    let count = count.min(hour);
    let Some(choices) = launch_options::usable_choices(snapshot, &image.id, now, plan) else {
        return;
    };
    if count == 0 {
        return;
    }
    plan.push(
        Action::Launch {
            image: image.id.clone(),
            client_sha: image.client_sha.clone(),
            options: launch_options::options_of(choices, |_| count),
        },
        Reason::ReplicasBelowMinimum {
            min,
            free,
            starting,
        },
    );
}

/// Deletes idle replicas that exceed the minimum by a whole replica, the oldest first, if
/// `replica_trim` is set. Idle are those that report their full capacity.
fn delete_surplus(snapshot: &Snapshot, census: &Census<'_>, plan: &mut Plan) {
    let settings = &snapshot.settings.replicas;
    if !settings.trim {
        return;
    }
    let min = plan.counts.target;
    // Replicas that are still being created may fail: they do not justify a deletion.
    let mut free = plan.counts.free;
    let full = ReplicaStatus::Healthy {
        capacity: settings.capacity,
    };
    let mut idle: Vec<_> = census
        .iter()
        .filter(|(_, status)| **status == full)
        .map(|(machine, _)| (machine.launched_at, machine.id.clone()))
        .collect();
    idle.sort();
    for (_, instance) in idle {
        if settings.capacity == 0 || free < min.saturating_add(settings.capacity) {
            break;
        }
        plan.push(
            Action::DeleteReplica { instance },
            Reason::ReplicaSurplus { min, free },
        );
        free -= settings.capacity;
    }
}
