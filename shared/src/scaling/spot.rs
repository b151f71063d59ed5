//! Instances that EC2 has announced to take, or may take soon: they get no new users, and other
//! instances replace them.

use std::collections::BTreeSet;

use super::plan::{Action, ImageCounts, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::ids::InstanceId;
use crate::model::{Instance, SpotNotice};

/// Drains instances with a spot notice. Their free slots are not counted, so that the buffer
/// replaces them. An interrupted instance is drained at once; one that may be interrupted is
/// drained only once its replacement is ready.
pub(super) fn drain_noticed(snapshot: &Snapshot, down: &BTreeSet<&InstanceId>, plan: &mut Plan) {
    let leaving = plan.leaving();
    let in_service = |instance: &&Instance| {
        instance.status.is_in_service()
            && !leaving.contains(&instance.id)
            && !down.contains(&instance.id)
    };
    let counts = plan.counts;
    // At the maximum, no replacement can be launched beside it: one empty instance makes room.
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
