//! The algorithm `default`, based on Whist's: it keeps a buffer of free slots for each image, and never
//! drains an occupied instance by choice.
//!
//! [`DefaultAlgorithm::decide`] lists the decisions in their order. Each one adds steps and notes
//! to the plan, and a later one does not end or drain an instance that an earlier one did.

use jiff::Timestamp;

use super::algorithm::{Fleet, ScalingAlgorithm};
use super::plan::{Action, Plan};
use super::reason::Reason;
use super::rows::Rows;
use super::snapshot::Snapshot;
use super::{
    app_version, budget, buffer, counts, drift, ends, instance_addresses, intents, launch_settings,
    leaves, lifecycle, replacing, rests, suspects, target, tokens, upgrade,
};
use crate::ids::InstanceId;

#[derive(Debug)]
pub(super) struct DefaultAlgorithm;

impl ScalingAlgorithm for DefaultAlgorithm {
    fn name(&self) -> &'static str {
        "default"
    }

    fn decide(&self, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let rows = Rows::of(snapshot, now);

        // Counting comes first: the decisions compare these numbers, and a paused region shows
        // them, too.
        let sized = snapshot.target(now);
        let images = counts::count_images(snapshot, &rows, &sized.target, now);
        let mut plan = Plan {
            counts: counts::count_region(snapshot, &rows, &images, &sized.target),
            images,
            ..Plan::default()
        };
        // Before any of them is needed, and in a paused region, too.
        launch_settings::report_problems(&snapshot.settings, &mut plan);
        target::report(snapshot, &sized, &mut plan);
        budget::report(snapshot, &mut plan);
        // What users are refused for, whether or not this pass may act.
        app_version::report_unserved(snapshot, &mut plan);
        leaves::report_leaves(&rows, &mut plan);
        // Tokens end in a paused region, too.
        tokens::renew_tokens(snapshot, now, &mut plan);
        if snapshot.settings.paused {
            plan.note(None, Reason::Paused);
            return plan;
        }

        // Open launches: what an earlier pass began is completed before anything new begins.
        intents::resume_open(snapshot, now, &mut plan);
        // Addresses: agents wait for them to register, and users connect to them.
        instance_addresses::record(snapshot, &rows, now, &mut plan);
        // Drift: what is gone, missing, lost or orphaned is settled before anything is decided
        // about the instances that are left. The guard applies here.
        drift::resolve_drift(snapshot, &rows, now, &mut plan);
        // Launches that did not live, before the next ones.
        rests::rest_pools(snapshot, Some(&rows), now, &mut plan);
        // Overdue states: an instance that drift did not end has a time limit for each state.
        lifecycle::end_overdue(snapshot, &rows, now, &mut plan);
        // Unclaimed slots are returned to users. Nothing below counts on them in this round.
        release_unclaimed(&rows, &mut plan);
        // Limits of sessions: agents are told in time.
        ends::tell_agents(&rows, &mut plan);
        // Deleted rows make room under the maximum, which everything below has to keep.
        plan.counts.live -= removed_rows(&plan);
        // Spot notices and age: before the buffer is filled, so that the room that they make is known.
        replacing::drain_replaced(&rows, now, &mut plan);
        // Instances that fail their users: before the buffer is filled, so that it is filled without
        // their slots.
        suspects::drain_suspect(snapshot, &rows, &mut plan);
        // Images: before the buffer, because each image's buffer depends on its state. After a
        // move this round decides nothing else: the pass observes the region again at once.
        let moved = upgrade::advance_images(snapshot, &rows, now, &mut plan);
        if moved {
            return plan;
        }
        // Launches come before drains for surplus: a launch at the maximum may drain instances to
        // make room, and those are not drained twice.
        buffer::fill(snapshot, &rows, now, &mut plan);
        buffer::shrink(snapshot, &rows, &mut plan);
        plan
    }

    fn fleet(&self) -> Fleet {
        Fleet::Instances
    }

    /// Every instance has a row: none is deleted without one.
    fn may_delete_replica(&self, _: &Snapshot, _: &InstanceId, _: Timestamp) -> bool {
        false
    }
}

fn release_unclaimed(rows: &Rows<'_>, plan: &mut Plan) {
    let slots = rows.iter().map(|row| row.slots.unclaimed).sum();
    if slots > 0 {
        plan.push(Action::ReleaseUnclaimed { slots }, Reason::NotClaimed);
    }
}

fn removed_rows(plan: &Plan) -> u32 {
    let removed = plan
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::Remove { .. }))
        .count();
    u32::try_from(removed).unwrap_or(u32::MAX)
}
