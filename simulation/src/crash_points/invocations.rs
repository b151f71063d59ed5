//! The invocations whose crash points are tested: the state of the region, and what is invoked.

use std::fmt;

use jiff::SignedDuration;
use serde_json::json;
use shared::model::InstanceStatus;
use testing::at;

use super::setup::{
    add_intent, behind_fence, boot_timed_out, buffer, carried_out_launch, deadline_over, drained,
    limit_comes, line_without_slots, listed_again, lost, machine_terminated, missing, no_capacity,
    old_intent, orphan, partial_capacity, region, retired_image, retry_denied, step_until_busy,
    surplus, terminated, terminated_launch, terminating, throttled, unclaimed,
    unrecorded_addresses, woken_repeatedly,
};
use super::upgrade_setup::{
    another_image_warming, app_version_reverted, baked, new_image_did_not_boot, new_image_warm,
    new_image_warm_old_app_version, request_upgrade, set_app_version_to_new, upgrade_not_requested,
    upgrade_past_deadline, upgrade_requested,
};
use crate::ec2_events::Ec2EventKind;
use crate::simulation::Simulation;

/// One kind of invocation.
#[derive(Clone, Copy)]
pub struct Invocation {
    pub name: &'static str,
    pub(super) set_up: fn(&mut Simulation),
    pub(super) invoke: fn(&mut Simulation),
    /// It is invoked by hand: a caller without an answer repeats it.
    pub(super) retried: bool,
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

pub const INVOCATIONS: &[Invocation] = &[
    invocation("fill an empty region", |_| {}, reconcile),
    invocation("the first choice has no capacity", no_capacity, reconcile),
    invocation(
        "launch with less capacity than requested",
        partial_capacity,
        reconcile,
    ),
    invocation(
        "resume a launch that EC2 carried out",
        carried_out_launch,
        reconcile,
    ),
    invocation(
        "resume a launch that never reached EC2",
        |s| add_intent(s, at(-30)),
        reconcile,
    ),
    invocation(
        "resume a launch whose machines have terminated",
        terminated_launch,
        reconcile,
    ),
    invocation(
        "repeat a launch that is denied while listings lag",
        retry_denied,
        reconcile,
    ),
    invocation("resume an intent of yesterday", old_intent, reconcile),
    invocation("record addresses", unrecorded_addresses, reconcile),
    invocation("drain a surplus instance", surplus, reconcile),
    invocation("terminate a drained instance", drained, reconcile),
    invocation(
        "terminate a TERMINATING instance again",
        terminating,
        reconcile,
    ),
    invocation(
        "remove the row of a terminated machine",
        terminated,
        reconcile,
    ),
    invocation("terminate an orphan", orphan, reconcile),
    invocation("record a missing machine", |s| missing(s, None), reconcile),
    invocation(
        "remove the row of a machine that is missing for long",
        |s| missing(s, Some(-600)),
        reconcile,
    ),
    invocation(
        "record a machine that is listed again",
        listed_again,
        reconcile,
    ),
    invocation(
        "replace an instance that EC2 terminated",
        machine_terminated,
        reconcile,
    ),
    invocation("terminate a lost instance", lost, reconcile),
    invocation(
        "replace an instance that did not boot",
        boot_timed_out,
        reconcile,
    ),
    invocation("release an unclaimed slot", unclaimed, reconcile),
    invocation("tell an agent that a session ends", limit_comes, reconcile),
    invocation(
        "terminate an instance past the deadline of its drain",
        deadline_over,
        reconcile,
    ),
    invocation("drain a retired image", retired_image, reconcile),
    invocation(
        "note the forecast for a line",
        line_without_slots,
        reconcile,
    ),
    invocation("advance past the fence", behind_fence, reconcile),
    invocation("hand over after three rounds", woken_repeatedly, reconcile),
    invocation("a pass by hand", |_| {}, by_hand),
    invocation("a dry run", |_| {}, dry_run),
    invocation("a listing that is throttled", throttled, reconcile),
    invocation(
        "a database event: free slots below target",
        |_| {},
        wake_by_database,
    ),
    invocation(
        "a database event: instance set to DRAINING",
        surplus,
        set_to_draining,
    ),
    invocation(
        "an EC2 event: machine terminated",
        machine_terminated,
        |s| {
            deliver_ec2_event(s, Ec2EventKind::Terminated);
        },
    ),
    invocation("an EC2 event: interruption notice", buffer, |s| {
        deliver_ec2_event(s, Ec2EventKind::Interruption);
    }),
    invocation("an EC2 event: rebalance recommendation", buffer, |s| {
        deliver_ec2_event(s, Ec2EventKind::Rebalance);
    }),
    upgrade_request("request an image", upgrade_not_requested),
    upgrade_request(
        "request an image while another one warms",
        another_image_warming,
    ),
    upgrade_request("request the image that warms", upgrade_requested),
    upgrade_request("request the previous image", app_version_reverted),
    invocation("warm an image", upgrade_requested, reconcile),
    invocation("swap to a warm image", new_image_warm, reconcile),
    invocation(
        "set the app version to a warm image",
        new_image_warm_old_app_version,
        set_app_version_to_new,
    ),
    invocation(
        "fail an image after its deadline",
        upgrade_past_deadline,
        reconcile,
    ),
    invocation(
        "fail an image that does not boot",
        new_image_did_not_boot,
        reconcile,
    ),
    invocation("swap back", app_version_reverted, reconcile),
    invocation("retire the previous image", baked, reconcile),
];

const fn invocation(
    name: &'static str,
    set_up: fn(&mut Simulation),
    invoke: fn(&mut Simulation),
) -> Invocation {
    Invocation {
        name,
        set_up,
        invoke,
        retried: false,
    }
}

const fn upgrade_request(name: &'static str, set_up: fn(&mut Simulation)) -> Invocation {
    Invocation {
        retried: true,
        ..invocation(name, set_up, request_upgrade)
    }
}

fn reconcile(simulation: &mut Simulation) {
    let event = json!({"source": "aws.events", "detail-type": "Scheduled Event"});
    simulation.reconcile("reconcile", event);
    simulation.process_outside_changes();
}

fn by_hand(simulation: &mut Simulation) {
    simulation.reconcile("by hand", json!({"regions": [region()]}));
    simulation.process_outside_changes();
}

fn dry_run(simulation: &mut Simulation) {
    simulation.reconcile("dry run", json!({"dry_run": true}));
    simulation.process_outside_changes();
}

/// The number of free slots has just fallen below the target.
fn wake_by_database(simulation: &mut Simulation) {
    let now = simulation.now();
    let bucket = jiff::Timestamp::from_second(now.as_second() / 2 * 2).unwrap_or(now);
    simulation
        .world
        .database
        .rows()
        .tables
        .wakeups
        .insert((region(), bucket));
    step_until_busy(simulation);
}

fn set_to_draining(simulation: &mut Simulation) {
    {
        let tables = &mut simulation.world.database.rows().tables;
        if let Some(row) = tables.instances.get_mut(&"i-1".into()) {
            row.status = InstanceStatus::Draining;
            row.draining_since = Some(at(0));
        }
    }
    step_until_busy(simulation);
}

fn deliver_ec2_event(simulation: &mut Simulation, kind: Ec2EventKind) {
    simulation.send_ec2_event(&region(), &"i-1".into(), kind, SignedDuration::ZERO);
    step_until_busy(simulation);
}
