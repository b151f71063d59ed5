//! Instances that their own agents take out of service: a broken GPU, a failed check. The database
//! has decided whether they may (`leave_host`); this tells operators, because such an instance looks
//! like any other that drains.

use super::plan::Plan;
use super::reason::Reason;
use super::rows::Rows;
use crate::model::{DrainCause, InstanceStatus};

/// Reports each instance that leaves, and those that have to stay.
pub(super) fn report_leaves(rows: &Rows<'_>, plan: &mut Plan) {
    let mut held = Vec::new();
    for row in rows.unusual() {
        let instance = row.instance;
        let Some(says) = &instance.leave_reason else {
            continue;
        };
        let says = says.clone();
        let by_agent = instance.drain_cause == Some(DrainCause::Agent);
        match instance.status {
            InstanceStatus::Draining if by_agent => {
                let occupied = instance.slots.occupied;
                let id = Some(&instance.id);
                plan.alert(id, Reason::LeftByAgent { says, occupied });
            }
            InstanceStatus::PreConnection | InstanceStatus::Active => {
                let id = Some(&instance.id);
                plan.note(id, Reason::LeaveHeld { says: says.clone() });
                held.push(says);
            }
            // It leaves for another reason, and so does what is wrong with it.
            InstanceStatus::Draining | InstanceStatus::Terminating => {}
        }
    }
    // One alert for all: a bad image says the same of each of its instances.
    if let Some(says) = held.first() {
        let instances = u32::try_from(held.len()).unwrap_or(u32::MAX);
        let says = says.clone();
        plan.alert(None, Reason::LeavesHeld { instances, says });
    }
}
