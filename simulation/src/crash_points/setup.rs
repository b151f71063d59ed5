//! The state of a region before an invocation.

use jiff::SignedDuration;
use shared::assign::{AssignRequest, ClientBuild, InLine, SessionId, SessionLimits, UserId};
use shared::host::HostErrorKind;
use shared::ids::{ClientToken, RegionName};
use shared::model::{
    DrainCause, ImageState, Instance, InstanceStatus, Intent, LaunchRequest, Machine, MachineState,
    SlotCounts,
};
use shared::settings::{RegionSettings, Timeouts, Upgrades};
use testing::{EndCause, WaitingUser, at, image, instance, machine};

use crate::effects::Effect;
use crate::faults::Fault;
use crate::scheduled::Event;
use crate::simulation::Simulation;
use crate::yield_points::ProcessId;

/// The buffer is two instances with two slots each.
pub(super) fn settings() -> RegionSettings {
    let minutes = SignedDuration::from_mins;
    RegionSettings {
        timeouts: Timeouts {
            heartbeat: SignedDuration::from_secs(60),
            lost: minutes(3),
            boot: minutes(3),
            drain: minutes(2),
            missing: minutes(2),
            orphan: minutes(3),
        },
        upgrades: upgrade_settings(),
        ..testing::settings()
    }
}

/// Whole upgrades happen while the system converges. Deadline and bake are longer than a request
/// may be late: a request that arrives after its upgrade begins it again.
fn upgrade_settings() -> Upgrades {
    Upgrades {
        surge: 0,
        deadline: SignedDuration::from_mins(4),
        swap_when_warm: false,
        bake: SignedDuration::from_mins(2),
        old_image: Some(SignedDuration::from_mins(1)),
    }
}

pub(super) fn region() -> RegionName {
    settings().name
}

/// Adds a row, its machine and its agent.
pub(super) fn add_instance(simulation: &mut Simulation, instance: &Instance) {
    add_row(simulation, instance);
    let host = simulation.world.host(&region());
    host.state().ec2.add(machine(instance));
    let (id, launch) = (instance.id.clone(), instance.launch_id.clone());
    simulation.agents.add(id.clone(), region(), launch);
    if let Some(agent) = simulation.agents.get_mut(&id) {
        agent.registered = instance.active_at.is_some();
        agent.last_heartbeat_at = instance.beat_at;
    }
    let event = if instance.active_at.is_some() {
        Event::Heartbeat(id)
    } else {
        Event::AgentBoots(id)
    };
    simulation.schedule_in(SignedDuration::from_secs(9), event);
}

/// Adds a row without a machine.
pub(super) fn add_row(simulation: &mut Simulation, instance: &Instance) {
    let tables = &mut simulation.world.database.rows().tables;
    tables.add_instance(&region(), instance);
}

/// The buffer is complete, so that a pass has nothing to do.
pub(super) fn buffer(simulation: &mut Simulation) {
    for id in ["i-1", "i-2"] {
        add_instance(simulation, &instance(id));
    }
}

/// EC2's addresses are not in the rows yet.
pub(super) fn unrecorded_addresses(simulation: &mut Simulation) {
    buffer(simulation);
    let host = simulation.world.host(&region());
    for (id, ip) in [("i-1", [10, 0, 0, 1]), ("i-2", [10, 0, 0, 2])] {
        host.state().ec2.add(Machine {
            address: Some(ip.into()),
            ..machine(&instance(id))
        });
    }
}

/// The pool of the first launch choice has no capacity.
pub(super) fn no_capacity(simulation: &mut Simulation) {
    leave_room(simulation, 0);
}

/// The pool of the first launch choice has capacity for one machine.
pub(super) fn partial_capacity(simulation: &mut Simulation) {
    leave_room(simulation, 1);
}

fn leave_room(simulation: &mut Simulation, room: u32) {
    let host = simulation.world.host(&region());
    let pool = ("c5.large".to_owned(), "subnet-a".to_owned());
    host.state().ec2.room.insert(pool, room);
}

/// The request of the recorded intent: two machines, which are the buffer.
pub(super) fn request() -> LaunchRequest {
    LaunchRequest {
        image_id: "ami-1".into(),
        client_sha: "sha-of-ami-1".into(),
        instance_type: "c5.large".to_owned(),
        subnet_id: "subnet-a".to_owned(),
        security_group_ids: vec![],
        instance_profile: None,
        user_data: String::new(),
        spot: false,
        imds_hop_limit: None,
        ebs_optimized: false,
        tags: vec![(shared::host::tags::LAUNCH.to_owned(), "before".to_owned())],
        count: 2,
        capacity: 2,
    }
}

/// An earlier pass recorded an intent, and died before it asked EC2.
pub(super) fn add_intent(simulation: &mut Simulation, created_at: jiff::Timestamp) {
    let intent = Intent {
        launch_id: "before".into(),
        client_token: ClientToken::from("token"),
        created_at,
        request: request(),
    };
    simulation.checks.note_intent_before(&region(), &intent);
    let mut items = simulation.world.store.items();
    items
        .of(&region())
        .open
        .insert(intent.launch_id.clone(), intent);
}

/// An earlier pass died after EC2 had carried out its launch.
pub(super) fn carried_out_launch(simulation: &mut Simulation) {
    add_intent(simulation, at(-30));
    let host = simulation.world.host(&region());
    let launched = host
        .state()
        .ec2
        .launch(&"token".into(), &request(), at(-20));
    assert!(launched.is_ok(), "{launched:?}");
    simulation.schedule_boots();
}

/// An earlier pass died after its launch, and the machines have terminated since.
pub(super) fn terminated_launch(simulation: &mut Simulation) {
    carried_out_launch(simulation);
    let host = simulation.world.host(&region());
    let ids: Vec<_> = host.state().ec2.machines.keys().cloned().collect();
    for id in ids {
        host.state()
            .ec2
            .set_state(&id, MachineState::Terminated, at(-1));
    }
}

/// The intent is 13 hours old: EC2 may have forgotten its client token, and the launch must not be
/// repeated.
pub(super) fn old_intent(simulation: &mut Simulation) {
    carried_out_launch(simulation);
    let mut items = simulation.world.store.items();
    for intent in items.of(&region()).open.values_mut() {
        intent.created_at = at(-13 * 3600);
    }
}

/// There is one instance more than the buffer needs.
pub(super) fn surplus(simulation: &mut Simulation) {
    buffer(simulation);
    add_instance(simulation, &instance("i-3"));
}

pub(super) fn instance_in_state(id: &str, status: InstanceStatus) -> Instance {
    Instance {
        status,
        draining_since: Some(at(-600)),
        ..instance(id)
    }
}

/// One instance more than the buffer has been draining for ten minutes.
pub(super) fn drained(simulation: &mut Simulation) {
    buffer(simulation);
    add_instance(
        simulation,
        &instance_in_state("i-3", InstanceStatus::Draining),
    );
}

/// A pass set an instance to `TERMINATING`, and died before it asked EC2 to terminate it.
pub(super) fn terminating(simulation: &mut Simulation) {
    buffer(simulation);
    add_instance(
        simulation,
        &instance_in_state("i-3", InstanceStatus::Terminating),
    );
}

/// The machine of a `TERMINATING` instance has terminated.
pub(super) fn terminated(simulation: &mut Simulation) {
    terminating(simulation);
    set_machine_state(simulation, "i-3", MachineState::Terminated);
}

pub(super) fn set_machine_state(simulation: &mut Simulation, id: &str, state: MachineState) {
    let host = simulation.world.host(&region());
    host.state().ec2.set_state(&id.into(), state, at(0));
}

/// A machine with this stack's tags has neither a row nor an intent.
pub(super) fn orphan(simulation: &mut Simulation) {
    buffer(simulation);
    let host = simulation.world.host(&region());
    host.state().ec2.add(machine(&instance("i-orphan")));
}

/// EC2 does not list the machine of a row: since now, or since `since` seconds from the start.
pub(super) fn missing(simulation: &mut Simulation, since: Option<i64>) {
    buffer(simulation);
    let missing = Instance {
        missing_since: since.map(at),
        beat_at: Some(at(-600)),
        ..instance("i-3")
    };
    add_row(simulation, &missing);
}

/// EC2 lists a machine again that was recorded as missing.
pub(super) fn listed_again(simulation: &mut Simulation) {
    buffer(simulation);
    let back = Instance {
        missing_since: Some(at(-600)),
        ..instance("i-3")
    };
    add_instance(simulation, &back);
}

/// EC2 has terminated the machine of an `ACTIVE` instance.
pub(super) fn machine_terminated(simulation: &mut Simulation) {
    buffer(simulation);
    set_machine_state(simulation, "i-1", MachineState::Terminated);
}

/// The agent of an `ACTIVE` instance has sent no heartbeat for ten minutes.
pub(super) fn lost(simulation: &mut Simulation) {
    buffer(simulation);
    record_observed(simulation);
    let silent = Instance {
        beat_at: Some(at(-600)),
        ..instance("i-3")
    };
    add_instance(simulation, &silent);
    if let Some(agent) = simulation.agents.get_mut(&"i-3".into()) {
        agent.alive = false;
    }
}

/// Passes have observed this region all the time, so that a missing heartbeat counts.
pub(super) fn record_observed(simulation: &mut Simulation) {
    let tables = &mut simulation.world.database.rows().tables;
    let fence = tables.fence_mut(&region());
    fence.last_pass_at = Some(at(-60));
    fence.watched_since = Some(jiff::Timestamp::UNIX_EPOCH);
}

/// An instance has not registered within its boot time.
pub(super) fn boot_timed_out(simulation: &mut Simulation) {
    record_observed(simulation);
    buffer(simulation);
    add_unbooted(simulation, instance("i-3"));
}

/// Adds `instance`, whose id is `i-3`, without a registered agent.
pub(super) fn add_unbooted(simulation: &mut Simulation, instance: Instance) {
    let unbooted = Instance {
        status: InstanceStatus::PreConnection,
        active_at: None,
        beat_at: None,
        slots: SlotCounts::default(),
        ..instance
    };
    add_instance(simulation, &unbooted);
    if let Some(agent) = simulation.agents.get_mut(&"i-3".into()) {
        agent.alive = false;
    }
}

/// A slot is allocated to a user who has not connected in time.
pub(super) fn unclaimed(simulation: &mut Simulation) {
    buffer(simulation);
    let unclaimed = Instance {
        slots: SlotCounts {
            waiting: 1,
            occupied: 1,
            unclaimed: 1,
        },
        ..instance("i-3")
    };
    add_instance(simulation, &unclaimed);
}

/// A session has almost reached its limit.
pub(super) fn limit_comes(simulation: &mut Simulation) {
    buffer(simulation);
    add_instance(simulation, &with_a_session());
    let tables = &mut simulation.world.database.rows().tables;
    if let Some(settings) = tables.settings_mut(&region()) {
        settings.endings.max_session = Some(testing::BOOT + SignedDuration::from_secs(90));
    }
}

/// An operator drained an instance, and its agent has not ended a session in time.
pub(super) fn deadline_over(simulation: &mut Simulation) {
    buffer(simulation);
    let draining = Instance {
        drain_cause: Some(DrainCause::Operator),
        slots: with_a_session().slots,
        ..instance_in_state("i-3", InstanceStatus::Draining)
    };
    add_instance(simulation, &draining);
    if let Some(agent) = simulation.agents.get_mut(&draining.id) {
        agent.obeys = false;
    }
    let tables = &mut simulation.world.database.rows().tables;
    if let Some(settings) = tables.settings_mut(&region()) {
        settings.endings.drain_deadline = Some(SignedDuration::from_secs(300));
    }
    for slot in tables.slots.values_mut() {
        if slot.user.is_some() {
            slot.end = Some((EndCause::Drain, at(-300)));
        }
    }
}

fn with_a_session() -> Instance {
    Instance {
        slots: SlotCounts {
            waiting: 1,
            occupied: 1,
            unclaimed: 0,
        },
        ..instance("i-3")
    }
}

/// A user is in line, because all slots are taken.
pub(super) fn line_without_slots(simulation: &mut Simulation) {
    for id in ["i-1", "i-2"] {
        let full = Instance {
            launched_at: at(-660),
            active_at: Some(at(-600)),
            slots: SlotCounts {
                waiting: 0,
                occupied: 2,
                unclaimed: 0,
            },
            ..instance(id)
        };
        add_instance(simulation, &full);
    }
    let waits = WaitingUser {
        session: "1".to_owned(),
        regions: vec![region()],
        first_at: at(0),
        last_at: at(0),
        barred_until: None,
    };
    let key = ("alice".to_owned(), region(), "sha-of-ami-1".into());
    let mut rows = simulation.world.database.rows();
    rows.tables.waiting_users.insert(key, waits);
    drop(rows);
    // The checks know the line from the answers to users.
    let (Ok(user), Ok(session)) = (UserId::parse("alice"), SessionId::parse("1")) else {
        return;
    };
    let refused = Effect::UserRefused {
        request: AssignRequest {
            user,
            session,
            regions: vec![region()],
            client: ClientBuild::Sha("sha-of-ami-1".into()),
            limits: SessionLimits::default(),
        },
        in_line: InLine {
            place: 1,
            estimate_seconds: None,
            line_seconds: 15,
        },
    };
    simulation.world.effects.add(ProcessId(0), refused);
    simulation.process_outside_changes();
}

/// An instance of a retired image is left.
pub(super) fn retired_image(simulation: &mut Simulation) {
    buffer(simulation);
    let old = Instance {
        image_id: "ami-0".into(),
        ..instance("i-3")
    };
    add_instance(simulation, &old);
    let tables = &mut simulation.world.database.rows().tables;
    tables.add_image(&region(), image("ami-0", ImageState::Retired));
}

/// The fence is at a higher version than the lock, as after the loss of the table.
pub(super) fn behind_fence(simulation: &mut Simulation) {
    simulation
        .world
        .database
        .rows()
        .tables
        .fence_mut(&region())
        .version = 7;
}

/// The region is marked again during each of the next three rounds.
pub(super) fn woken_repeatedly(simulation: &mut Simulation) {
    simulation.world.store.items().wake_again = 3;
}

/// EC2 throttles every call.
pub(super) fn throttled(simulation: &mut Simulation) {
    simulation.world.host(&region()).state().throttled = true;
    simulation.checks.note_fault(Fault::Throttled);
}

/// EC2 carried the launch out and does not list it yet, and a repeated request is denied.
pub(super) fn retry_denied(simulation: &mut Simulation) {
    carried_out_launch(simulation);
    let host = simulation.world.host(&region());
    let mut state = host.state();
    state.ec2.delays.listing_lag = SignedDuration::from_secs(50);
    state.refuse_launches.push_back(HostErrorKind::Denied);
}

/// Steps until the event has been sent and delivered.
pub(super) fn step_until_busy(simulation: &mut Simulation) {
    simulation.process_outside_changes();
    while !simulation.is_busy() {
        simulation.step();
    }
}
