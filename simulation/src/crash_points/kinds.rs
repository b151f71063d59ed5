//! The kinds of invocations: what the region is like, and what is invoked.

use std::fmt;

use jiff::SignedDuration;
use serde_json::json;
use shared::model::InstanceStatus;
use testing::at;

use super::furnish::{
    behind_fence, buffer, committed, denied, drained, ended, intent, launched, launched_and_ended,
    listed_again, lost, missing, never_came_up, no_capacity, of_yesterday, orphan, partly, region,
    retired, surplus, taken, throttled, unclaimed, wanted_again,
};
use super::upgrades::{
    another_warms, ask, asked_for, baked, flawed, late, names_new, to_be_asked_for, turned_back,
    warm, warm_and_not_named,
};
use crate::ec2_events::Says;
use crate::simulation::Simulation;

/// One kind of invocation.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub(super) furnish: fn(&mut Simulation),
    pub(super) invoke: fn(&mut Simulation),
    /// Whoever invoked it by hand and got no answer does it once more.
    pub(super) again: bool,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

pub const KINDS: &[Kind] = &[
    kind("fill an empty region", |_| {}, reconcile),
    kind("the first choice has no capacity", no_capacity, reconcile),
    kind("less capacity than asked for", partly, reconcile),
    kind("resume a launch that EC2 carried out", launched, reconcile),
    kind(
        "resume a launch that EC2 never saw",
        |s| intent(s, at(-30)),
        reconcile,
    ),
    kind(
        "resume a launch that has ended since",
        launched_and_ended,
        reconcile,
    ),
    kind(
        "asking again is denied while listings lag",
        denied,
        reconcile,
    ),
    kind("look up a launch of yesterday", of_yesterday, reconcile),
    kind("drain what is surplus", surplus, reconcile),
    kind("end what is drained", drained, reconcile),
    kind("end what is committed", committed, reconcile),
    kind("remove what has ended", ended, reconcile),
    kind("end an orphan", orphan, reconcile),
    kind("note what is missing", |s| missing(s, None), reconcile),
    kind(
        "remove what is missing for long",
        |s| missing(s, Some(-600)),
        reconcile,
    ),
    kind("note what is listed again", listed_again, reconcile),
    kind("give up what EC2 has taken", taken, reconcile),
    kind("give up what is lost", lost, reconcile),
    kind("replace what never came up", never_came_up, reconcile),
    kind("release what nobody claimed", unclaimed, reconcile),
    kind("drain a retired image", retired, reconcile),
    kind("advance_past_fence the fence", behind_fence, reconcile),
    kind("hand over after three rounds", wanted_again, reconcile),
    kind("a pass by hand", |_| {}, by_hand),
    kind("a dry run", |_| {}, dry_run),
    kind("a listing that fails", throttled, reconcile),
    kind("a database event", |_| {}, woken),
    kind("a database event of a drain", surplus, set_to_draining),
    kind("EC2 says that a machine has ended", taken, |s| {
        ec2_says(s, Says::Terminated);
    }),
    kind("EC2 gives notice", buffer, |s| {
        ec2_says(s, Says::Interruption);
    }),
    kind("EC2 may take a machine", buffer, |s| {
        ec2_says(s, Says::Rebalance);
    }),
    asked("ask for an image", to_be_asked_for),
    asked(
        "ask for another image than the one that warms",
        another_warms,
    ),
    asked("ask for the image that warms", asked_for),
    asked("ask for the image that was before", turned_back),
    kind("warm an image", asked_for, reconcile),
    kind("swap to an image that is warm", warm, reconcile),
    kind(
        "clients are told of a warm image",
        warm_and_not_named,
        names_new,
    ),
    kind("give up an image that is late", late, reconcile),
    kind("give up an image that does not come up", flawed, reconcile),
    kind("swap back", turned_back, reconcile),
    kind("retire the image before", baked, reconcile),
];

const fn kind(
    name: &'static str,
    furnish: fn(&mut Simulation),
    invoke: fn(&mut Simulation),
) -> Kind {
    Kind {
        name,
        furnish,
        invoke,
        again: false,
    }
}

const fn asked(name: &'static str, furnish: fn(&mut Simulation)) -> Kind {
    Kind {
        again: true,
        ..kind(name, furnish, ask)
    }
}

fn reconcile(simulation: &mut Simulation) {
    let event = json!({"source": "aws.events", "detail-type": "Scheduled Event"});
    simulation.reconcile("reconcile", event);
    simulation.follow_up_now();
}

fn by_hand(simulation: &mut Simulation) {
    simulation.reconcile("by hand", json!({"regions": [region()]}));
    simulation.follow_up_now();
}

fn dry_run(simulation: &mut Simulation) {
    simulation.reconcile("dry run", json!({"dry_run": true}));
    simulation.follow_up_now();
}

/// Free slots fell below target just now.
fn woken(simulation: &mut Simulation) {
    let now = simulation.now();
    let bucket = jiff::Timestamp::from_second(now.as_second() / 2 * 2).unwrap_or(now);
    simulation
        .world
        .database
        .rows()
        .tables
        .wakeups
        .insert((region(), bucket));
    until_busy(simulation);
}

fn set_to_draining(simulation: &mut Simulation) {
    {
        let tables = &mut simulation.world.database.rows().tables;
        if let Some(row) = tables.instances.get_mut(&"i-1".into()) {
            row.status = InstanceStatus::Draining;
            row.draining_since = Some(at(0));
        }
    }
    until_busy(simulation);
}

fn ec2_says(simulation: &mut Simulation, says: Says) {
    simulation.announce(&region(), &"i-1".into(), says, SignedDuration::ZERO);
    until_busy(simulation);
}

/// The event is made, sent and delivered.
pub(super) fn until_busy(simulation: &mut Simulation) {
    simulation.follow_up_now();
    while !simulation.is_busy() {
        simulation.step();
    }
}
