//! SimpleScaleVM's algorithm: the provider's list is the truth, and each replica tells its status.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::algorithm::{Fleet, ScalingAlgorithm};
use super::plan::{Action, Counts, Plan, ReplicaView};
use super::reason::Reason;
use super::snapshot::Snapshot;
use super::{addresses, buffer, drift, intents};
use crate::ids::InstanceId;
use crate::model::{Image, ImageState, Machine, MachineState, ReplicaAnswer, ReplicaStatus};
use crate::settings::REPLICA;

#[derive(Debug)]
pub(super) struct Replica;

impl ScalingAlgorithm for Replica {
    fn name(&self) -> &'static str {
        REPLICA
    }

    fn decide(&self, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let census = Census::of(snapshot, now);
        let mut plan = Plan {
            counts: census.counts(snapshot),
            ..Plan::default()
        };
        if snapshot.settings.paused {
            plan.note(None, Reason::Paused);
        } else {
            intents::resume(snapshot, now, &mut plan);
            remember_unknown(snapshot, &census, now, &mut plan);
            delete(&census, &mut plan);
            replace_unknown(snapshot, &census, now, &mut plan);
            // The pass looks again at once after a move.
            if !move_images(snapshot, &mut plan) {
                create(snapshot, now, &mut plan);
            }
            trim(snapshot, &census, &mut plan);
            addresses::decide(snapshot, census.each(), now, &mut plan);
        }
        plan.replicas = census.views(snapshot, &plan);
        plan
    }

    fn fleet(&self) -> Fleet {
        Fleet::Replicas
    }

    fn may_delete_replica(&self, snapshot: &Snapshot, id: &InstanceId, now: Timestamp) -> bool {
        may_be_deleted(snapshot, id, now)
    }
}

/// A replica's own word, or EC2's, or a setting that allows it.
fn may_be_deleted(snapshot: &Snapshot, id: &InstanceId, now: Timestamp) -> bool {
    let settings = &snapshot.settings;
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
            settings.replicas.trim && *capacity == settings.replicas.capacity
        }
        (MachineState::Running, Some(ReplicaAnswer::Unknown { .. })) => {
            let since = snapshot.unknown_since.get(id);
            settings
                .replicas
                .replace_unknown
                .is_some_and(|bound| since.is_some_and(|since| now.duration_since(*since) >= bound))
        }
        _ => false,
    }
}

/// Every replica that the provider has of ours, with its status. What has a row is an instance,
/// from before the region was one of replicas: that is for an operator to end.
struct Census<'s>(BTreeMap<&'s InstanceId, (&'s Machine, ReplicaStatus)>);

impl<'s> Census<'s> {
    fn of(snapshot: &'s Snapshot, now: Timestamp) -> Self {
        let machines = snapshot.machines.values();
        let has_row = |machine: &&Machine| snapshot.instances.contains_key(&machine.id);
        Self(
            machines
                .filter(|machine| !has_row(machine))
                .map(|machine| (&machine.id, (machine, status(snapshot, machine, now))))
                .collect(),
        )
    }

    fn each(&self) -> impl Iterator<Item = (&'s Machine, &ReplicaStatus)> {
        self.0.values().map(|(machine, status)| (*machine, status))
    }

    fn counts(&self, snapshot: &Snapshot) -> Counts {
        let settings = &snapshot.settings;
        let free = self
            .each()
            .map(|(_, status)| match status {
                ReplicaStatus::Healthy { capacity } => *capacity,
                _ => 0,
            })
            .fold(0, u32::saturating_add);
        Counts {
            target: if settings.enabled {
                settings.replicas.min_available
            } else {
                0
            },
            waiting: 0,
            free,
            starting: settings
                .replicas
                .capacity
                .saturating_mul(self.creating(snapshot)),
            occupied: 0,
            live: snapshot.live(),
            max: snapshot.max_instances(),
        }
    }

    /// Those that are listed without an address yet, and those that were asked for and are not
    /// listed: listings lag.
    fn creating(&self, snapshot: &Snapshot) -> u32 {
        let listed = self
            .each()
            .filter(|(_, status)| **status == ReplicaStatus::Creating)
            .count();
        let not_listed = snapshot.open_intents.iter().map(|intent| {
            let listed = self
                .each()
                .filter(|(machine, _)| machine.launch_id.as_ref() == Some(&intent.launch_id));
            let listed = u32::try_from(listed.count()).unwrap_or(u32::MAX);
            intent.request.count.saturating_sub(listed)
        });
        u32::try_from(listed)
            .unwrap_or(u32::MAX)
            .saturating_add(not_listed.sum())
    }

    /// Each replica with what was decided for it, and why.
    fn views(&self, snapshot: &Snapshot, plan: &Plan) -> Vec<ReplicaView> {
        let deleted: BTreeMap<_, _> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::DeleteReplica { instance } => Some((instance, step.reason.to_string())),
                _ => None,
            })
            .collect();
        self.each()
            .map(|(machine, status)| ReplicaView {
                instance: machine.id.clone(),
                status: status.clone(),
                decided: match deleted.get(&machine.id) {
                    Some(reason) => format!("delete: {reason}"),
                    None => kept(snapshot, status),
                },
                address: addresses::report(snapshot, machine, status, plan),
            })
            .collect()
    }
}

fn status(snapshot: &Snapshot, machine: &Machine, now: Timestamp) -> ReplicaStatus {
    let boot = snapshot.settings.replicas.boot;
    let boots = || boot.is_some_and(|boot| now.duration_since(machine.launched_at) < boot);
    match machine.state {
        MachineState::ShuttingDown | MachineState::Terminated => ReplicaStatus::Deleting,
        MachineState::Pending => ReplicaStatus::Creating,
        state @ (MachineState::Stopping | MachineState::Stopped) => {
            ReplicaStatus::InError { state }
        }
        MachineState::Running if machine.address.is_none() => ReplicaStatus::Creating,
        MachineState::Running => match snapshot.answers.get(&machine.id) {
            Some(ReplicaAnswer::Healthy { capacity }) => ReplicaStatus::Healthy {
                capacity: *capacity,
            },
            Some(ReplicaAnswer::Terminated) => ReplicaStatus::Terminated,
            // Its program may not be up yet.
            Some(ReplicaAnswer::Unknown { .. }) if boots() => ReplicaStatus::Creating,
            Some(ReplicaAnswer::Unknown { why }) => ReplicaStatus::Unknown { why: why.clone() },
            None => ReplicaStatus::Unknown {
                why: "it was not asked".to_owned(),
            },
        },
    }
}

fn kept(snapshot: &Snapshot, status: &ReplicaStatus) -> String {
    match status {
        ReplicaStatus::Creating => format!(
            "kept: counts with {} (REPLICA_CAPACITY)",
            snapshot.settings.replicas.capacity
        ),
        ReplicaStatus::Healthy { capacity } => format!("kept: counts with {capacity}"),
        ReplicaStatus::Unknown { .. } => "kept: neither deleted nor counted".to_owned(),
        ReplicaStatus::Deleting => "nothing: EC2 is at it, and it does not count".to_owned(),
        ReplicaStatus::Terminated | ReplicaStatus::InError { .. } => {
            "kept: the region is paused".to_owned()
        }
    }
}

/// Since when each unknown replica has been so: only asked for where it matters. Elsewhere it is
/// forgotten, or a bound that is set again would find a time from before the replica's last word.
fn remember_unknown(snapshot: &Snapshot, census: &Census<'_>, now: Timestamp, plan: &mut Plan) {
    let matters = snapshot.settings.replicas.replace_unknown.is_some();
    let unknown: BTreeMap<_, _> = census
        .each()
        .filter(|(_, status)| matters && matches!(status, ReplicaStatus::Unknown { .. }))
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

fn delete(census: &Census<'_>, plan: &mut Plan) {
    for (machine, status) in census.each() {
        let reason = match status {
            ReplicaStatus::Terminated => Reason::ReplicaTerminated,
            ReplicaStatus::InError { state } => Reason::ReplicaInError { state: *state },
            _ => continue,
        };
        let instance = machine.id.clone();
        plan.push(Action::DeleteReplica { instance }, reason);
    }
}

/// Those that gave no word for longer than the bound. Too many at once look like a network of
/// ours that is broken: then none.
fn replace_unknown(snapshot: &Snapshot, census: &Census<'_>, now: Timestamp, plan: &mut Plan) {
    let Some(bound) = snapshot.settings.replicas.replace_unknown else {
        return;
    };
    let due: Vec<_> = census
        .each()
        .filter(|(_, status)| matches!(status, ReplicaStatus::Unknown { .. }))
        .filter_map(|(machine, _)| {
            let since = snapshot.unknown_since.get(&machine.id)?;
            let seconds = now.duration_since(*since);
            (seconds >= bound).then(|| (machine.id.clone(), seconds))
        })
        .collect();
    let most = drift::most_at_once(census.0.len());
    if due.len() > most && !snapshot.mass_removal_approved {
        let unknown = due.len();
        plan.alert(None, Reason::ReplicaGuard { unknown, most });
        return;
    }
    for (instance, unknown_for) in due {
        let seconds = SignedDuration::as_secs(&unknown_for);
        plan.push(
            Action::DeleteReplica { instance },
            Reason::ReplicaUnknownFor { seconds },
        );
    }
}

/// Replicas have no clients that an image is built for, and nothing to warm: an image that is
/// asked for is current at once, and the one before is over.
fn move_images(snapshot: &Snapshot, plan: &mut Plan) -> bool {
    let warming = |image: &&Image| image.state == ImageState::Warming;
    let baking = |image: &&Image| image.state == ImageState::Baking;
    let mut moves = Vec::new();
    if let Some(image) = snapshot.images.iter().find(warming) {
        moves.push((image, ImageState::Current));
    } else if snapshot.current_image().is_some() {
        let over = snapshot.images.iter().filter(baking);
        moves.extend(over.map(|image| (image, ImageState::Retired)));
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

fn create(snapshot: &Snapshot, now: Timestamp, plan: &mut Plan) {
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
    let wanted = missing.div_ceil(capacity);
    let count = wanted.min(max.saturating_sub(live));
    if count < wanted {
        let reason = Reason::ReplicasAtMaximum { missing, live, max };
        plan.alert(None, reason);
    }
    let Some(choices) = buffer::choices(snapshot, now, plan) else {
        return;
    };
    if count == 0 {
        return;
    }
    plan.push(
        Action::Launch {
            image: image.id.clone(),
            client_sha: image.client_sha.clone(),
            options: buffer::options(choices, |_| count),
        },
        Reason::ReplicasBelowMinimum {
            min,
            free,
            starting,
        },
    );
}

/// A replica that reports its full capacity has nothing to do: the oldest go first.
fn trim(snapshot: &Snapshot, census: &Census<'_>, plan: &mut Plan) {
    let settings = &snapshot.settings.replicas;
    if !settings.trim {
        return;
    }
    let min = plan.counts.target;
    // What is still being created may fail: it is no reason to delete what is there.
    let mut free = plan.counts.free;
    let full = ReplicaStatus::Healthy {
        capacity: settings.capacity,
    };
    let mut idle: Vec<_> = census
        .each()
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
