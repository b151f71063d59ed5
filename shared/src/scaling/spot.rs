//! Instances that EC2 has announced to take, or may take soon: they get no new users, and other
//! instances replace them.

use super::plan::{ImageCounts, Plan};
use super::reason::Reason;
use super::rows::{Row, Rows};
use crate::model::{DrainCause, SpotNotice};

/// Drains instances with a spot notice. Their free slots are not counted, so that the buffer
/// replaces them. An interrupted instance is drained at once; one that may be interrupted is
/// drained only once its replacement is ready.
pub(super) fn drain_noticed(rows: &Rows<'_>, plan: &mut Plan) {
    let in_service = |row: &&Row<'_>| row.instance.status.is_in_service() && row.stays();
    let counts = plan.counts;
    // At the maximum, no replacement can be launched beside it: one empty instance makes room.
    let mut may_make_room = counts.live >= counts.max;
    for row in rows.unusual().filter(in_service) {
        let instance = row.instance;
        let Some(notice) = instance.notice else {
            continue;
        };
        let occupied = instance.slots.occupied;
        let buffer = plan.of_image(&instance.image_id);
        let replaced = buffer.is_none_or(ImageCounts::is_covered);
        let reason = match notice {
            SpotNotice::Interruption => Reason::Interrupted { occupied },
            SpotNotice::Rebalance if replaced => Reason::RebalanceAdvised { occupied },
            SpotNotice::Rebalance if may_make_room && instance.is_empty() => {
                may_make_room = false;
                Reason::RebalanceAdvised { occupied }
            }
            SpotNotice::Rebalance => {
                plan.note(Some(&instance.id), Reason::NotReplacedYet { occupied });
                continue;
            }
        };
        plan.drain(row, DrainCause::Notice, reason);
    }
}
