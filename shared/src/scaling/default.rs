//! Whist's algorithm: a buffer of free slots, nothing occupied ever touched.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::plan::Figures;
use super::{
    Action, Plan, Reason, ScalingAlgorithm, Snapshot, buffer, launches, leaving, notices, verify,
};
use crate::ids::InstanceId;
use crate::model::InstanceStatus;

#[derive(Debug)]
pub(super) struct Default;

impl ScalingAlgorithm for Default {
    fn name(&self) -> &'static str {
        "default"
    }

    fn decide(&self, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let down = snapshot.down();
        let mut plan = Plan {
            figures: figures(snapshot, &down, now),
            ..Plan::default()
        };
        if snapshot.settings.paused {
            plan.note(None, Reason::Paused);
            return plan;
        }
        launches::resume(snapshot, now, &mut plan);
        verify::compare_with_ec2(snapshot, now, &mut plan);
        leaving::finish(snapshot, &down, now, &mut plan);
        release_unclaimed(snapshot, &mut plan);
        let removed = plan.removed_rows();
        plan.figures.live -= removed;
        notices::leave(snapshot, &down, &mut plan);
        buffer::fill(snapshot, now, &mut plan);
        buffer::shrink(snapshot, &down, now, &mut plan);
        plan
    }
}

impl Plan {
    fn removed_rows(&self) -> u32 {
        let removed = self
            .steps
            .iter()
            .filter(|step| matches!(step.action, Action::Remove { .. }))
            .count();
        u32::try_from(removed).unwrap_or(u32::MAX)
    }
}

fn figures(snapshot: &Snapshot, down: &BTreeSet<&InstanceId>, now: Timestamp) -> Figures {
    let settings = &snapshot.settings;
    let mut figures = Figures {
        // A disabled region takes no users: it needs no buffer.
        target: if settings.enabled {
            settings.target_free
        } else {
            0
        },
        waiting: if settings.enabled {
            snapshot.waiting
        } else {
            0
        },
        max: settings.max_instances,
        live: snapshot.live(),
        ..Figures::default()
    };
    for instance in snapshot.instances.values() {
        figures.occupied += instance.slots.occupied;
        // What EC2 is about to take has to be replaced, not counted on.
        if !snapshot.is_served(instance) || down.contains(&instance.id) || instance.notice.is_some()
        {
            continue;
        }
        match instance.status {
            InstanceStatus::Active
                if snapshot.silence(instance, now) < settings.waits.heartbeat
                    && !snapshot.is_ageing(instance, now) =>
            {
                figures.free += instance.slots.waiting;
            }
            InstanceStatus::PreConnection if !leaving::never_came_up(snapshot, instance, now) => {
                figures.starting += instance.capacity;
            }
            _ => {}
        }
    }
    for intent in snapshot
        .open_intents
        .iter()
        .filter(|intent| intent.is_resumable(now))
    {
        let image = snapshot
            .images
            .iter()
            .find(|image| image.id == intent.request.image_id);
        if image.is_some_and(|image| image.state.is_served()) {
            figures.starting += snapshot.uncovered(intent) * intent.request.capacity;
        }
    }
    figures
}

fn release_unclaimed(snapshot: &Snapshot, plan: &mut Plan) {
    let slots = snapshot
        .instances
        .values()
        .map(|instance| instance.slots.unclaimed)
        .sum();
    if slots > 0 {
        plan.push(Action::ReleaseUnclaimed { slots }, Reason::NotClaimed);
    }
}
