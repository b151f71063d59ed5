//! Instances that EC2 is about to take, or may: nobody else is put there, and others take their
//! place.

use std::collections::BTreeSet;

use super::plan::{Action, ImageCounts, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::ids::InstanceId;
use crate::model::{Instance, SpotNotice};

/// Their free slots are not counted, so that the buffer replaces them: an interrupted one is left
/// at once, one that may be interrupted only when its replacement is there.
pub(super) fn leave(snapshot: &Snapshot, down: &BTreeSet<&InstanceId>, plan: &mut Plan) {
    let leaving = plan.leaving();
    let in_service = |instance: &&Instance| {
        instance.status.is_in_service()
            && !leaving.contains(&instance.id)
            && !down.contains(&instance.id)
    };
    let counts = plan.counts;
    // An empty one makes room for what cannot be launched beside it.
    let mut may_make_room = counts.live >= counts.max;
    for instance in snapshot.instances.values().filter(in_service) {
        let occupied = instance.slots.occupied;
        let buffer = plan.of_image(&instance.image_id);
        let replaced = buffer.is_none_or(ImageCounts::is_covered);
        let reason = match instance.notice {
            None => continue,
            Some(SpotNotice::Interruption) => Reason::Interrupted { occupied },
            Some(SpotNotice::Rebalance) if replaced => Reason::RebalanceAdvised { occupied },
            Some(SpotNotice::Rebalance) if may_make_room && instance.is_empty() => {
                may_make_room = false;
                Reason::RebalanceAdvised { occupied }
            }
            Some(SpotNotice::Rebalance) => {
                plan.note(Some(&instance.id), Reason::NotReplacedYet { occupied });
                continue;
            }
        };
        plan.push(
            Action::Drain {
                instance: instance.id.clone(),
            },
            reason,
        );
    }
}
