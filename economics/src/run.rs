//! One run: a workload under a policy.
//!
//! A run plays users and host agents, and runs a pass as often as the region's row says (`pass_seconds`) and
//! after each wake-up of the region.
//! Whether a user gets a slot, and which; whether a region is woken; when a replaced slot is free; and
//! what a pass does, is decided by what the service runs.
//!
//! Simplified is what does not change who waits and what it costs: a pass takes no time, users connect
//! at once, and EC2's events wake nobody but when a machine dies (what else they say, the next scheduled
//! pass finds).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use jiff::{SignedDuration, Timestamp};
use shared::assign::{
    AssignOutcome, AssignRefusal, AssignRequest, ClientBuild, InLine, SessionId, SessionLimits,
    UserId,
};
use shared::ids::{InstanceId, RegionName};
use shared::model::InstanceStatus;
use shared::settings::RegionSettings;
use shared::trigger::Trigger;
use testing::{AgentOutcome, ENVIRONMENT, SlotStatus, settings};
use thiserror::Error;

use crate::agents::{BEAT_TURNS, Machines, State};
use crate::clairvoyant::Session;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::random::Random;
use crate::workload::Workload;
use crate::world::World;
use crate::{Millis, millis};

const SECOND: Millis = 1000;
const MINUTE: Millis = 60 * SECOND;

/// From a wake-up in the database until its pass observes: Hasura's delivery and the function's start.
const WAKE_DELAY: Millis = SECOND;

/// How many turns of heartbeats there are from one scheduled pass to the next. Each agent sends four in that
/// time: in a region with a pass a minute, one in 15 seconds.
const TURNS_A_PASS: Millis = 60;

/// As in the agent, when its row is not written yet.
const REGISTER_AGAIN: Millis = 2500;

/// Of the heartbeats that find their instance in service, one in three is recorded: they change nothing
/// else, and are most of what happens in a region.
const BEATS_RECORDED: usize = 3;

/// A pool of EC2 has capacity or not for this long.
const CAPACITY_PERIOD: Millis = 10 * MINUTE;

#[derive(Debug, Error)]
pub enum RunError {
    #[error("set the run up: {0}")]
    SetUp(String),
    #[error("a pass failed: {0}")]
    Pass(String),
    #[error("a user was refused for a reason that no run has: {0}")]
    Refused(&'static str),
    #[error("stopped before its end")]
    Stopped,
}

/// What a run depends on beside its workload and policy.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    pub seed: u64,
    /// How long a user asks again before they leave.
    pub patience: Millis,
    /// The share of launched machines that never register: half of them die, and half stay silent.
    pub failed_boots: f64,
    /// The share of the time in which a pool of EC2 has no capacity. There are two pools.
    pub no_capacity: f64,
    /// How far EC2's listings lag.
    pub listing_lag: Millis,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            seed: 1,
            patience: 10 * MINUTE,
            failed_boots: 0.0,
            no_capacity: 0.0,
            listing_lag: 0,
        }
    }
}

impl Conditions {
    /// EC2 on a bad day.
    pub fn rough(self) -> Self {
        Self {
            failed_boots: 0.03,
            no_capacity: 0.1,
            listing_lag: 10 * SECOND,
            ..self
        }
    }
}

/// What is played, besides arrivals. Of those at the same time, the one that was scheduled first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    ScheduledPass,
    WokenPass,
    Heartbeats,
    Capacity,
    AgentBoots(usize),
    MachineDies(usize),
    Asks(usize),
    SessionEnds(usize),
}

/// A user's session.
struct Serving {
    slot: String,
    machine: usize,
}

struct Run<'w> {
    workload: &'w Workload,
    conditions: Conditions,
    /// From one scheduled pass to the next.
    pass_interval: Millis,
    world: World,
    machines: Machines,
    queue: BinaryHeap<Reverse<(Millis, u64, Event)>>,
    scheduled: u64,
    now: Millis,
    serving: BTreeMap<usize, Serving>,
    boots: Random,
    failures: Random,
    capacity: Random,
    last_wake: Option<Timestamp>,
    /// How often each agent has sent a heartbeat.
    beats: usize,
    is_woken: bool,
    outcome: Outcome,
}

/// Plays the workload under the policy with this parameter.
///
/// # Errors
/// When a pass fails.
pub fn run(
    workload: &Workload,
    policy: &Policy,
    parameter: u32,
    conditions: &Conditions,
) -> Result<Outcome, RunError> {
    let mut row = region(workload);
    policy.set(&mut row, parameter);
    run_region(workload, row, conditions, &|| true)
}

/// Plays the workload in a region with this row, as long as `may_go_on` says so at each scheduled pass.
///
/// # Errors
/// When a pass fails, or the run may not go on.
pub fn run_region(
    workload: &Workload,
    row: RegionSettings,
    conditions: &Conditions,
    may_go_on: &dyn Fn() -> bool,
) -> Result<Outcome, RunError> {
    let mut run = Run::new(workload, row, *conditions)?;
    run.play(may_go_on)?;
    Ok(run.finish())
}

/// A region in which nothing but the policy limits launches.
fn region(workload: &Workload) -> RegionSettings {
    let mut row = settings();
    row.max_instances = 1_000_000;
    for choice in &mut row.launch_choices {
        choice.capacity = workload.slots;
    }
    // Where machines boot slowly, an operator sets more than the default.
    let slow = SignedDuration::from_millis(millis(workload.boots.median() * 12.0));
    row.timeouts.boot = row.timeouts.boot.max(slow);
    row
}

impl<'w> Run<'w> {
    fn new(
        workload: &'w Workload,
        row: RegionSettings,
        conditions: Conditions,
    ) -> Result<Self, RunError> {
        let pass_interval = Millis::from(row.pass_seconds.max(1)) * SECOND;
        let world = World::new(row)?;
        let lag = SignedDuration::from_millis(conditions.listing_lag);
        world.host.state().ec2.delays.listing_lag = lag;
        let measured = Session {
            begin: workload.from,
            end: workload.until,
        };
        let stream = |name| Random::stream(conditions.seed, name);
        Ok(Self {
            workload,
            conditions,
            pass_interval,
            world,
            machines: Machines::new(measured),
            queue: BinaryHeap::new(),
            scheduled: 0,
            now: 0,
            serving: BTreeMap::new(),
            boots: stream("boots"),
            failures: stream("failures"),
            capacity: stream("capacity"),
            last_wake: None,
            beats: 0,
            is_woken: false,
            outcome: Outcome {
                measured,
                slots: workload.slots,
                users: 0,
                not_at_once: 0,
                gave_up: 0,
                waits: vec![],
                time: crate::outcome::Time::default(),
                launches: 0,
                passes: 0,
                served: vec![],
            },
        })
    }

    fn schedule(&mut self, after: Millis, event: Event) {
        self.scheduled += 1;
        let at = self.now + after;
        self.queue.push(Reverse((at, self.scheduled, event)));
    }

    fn play(&mut self, may_go_on: &dyn Fn() -> bool) -> Result<(), RunError> {
        self.schedule(0, Event::Capacity);
        self.schedule(0, Event::ScheduledPass);
        self.schedule(0, Event::Heartbeats);
        let mut users = self.workload.users.iter().enumerate().peekable();
        loop {
            let next = self.queue.peek().map(|Reverse((at, ..))| *at);
            let arrives = users.peek().map(|(_, user)| user.arrives);
            let is_arrival = match (arrives, next) {
                (Some(arrives), Some(next)) => arrives < next,
                (arrives, _) => arrives.is_some(),
            };
            let at = if is_arrival { arrives } else { next };
            let Some(at) = at.filter(|at| *at < self.workload.until) else {
                return Ok(());
            };
            self.now = at;
            self.world.advance_to(at);
            if is_arrival {
                if let Some((user, _)) = users.next() {
                    self.arrive(user)?;
                }
            } else if let Some(Reverse((.., event))) = self.queue.pop() {
                if event == Event::ScheduledPass && !may_go_on() {
                    return Err(RunError::Stopped);
                }
                self.handle(event)?;
            }
            self.schedule_wake();
        }
    }

    fn finish(mut self) -> Outcome {
        self.machines.count_all(self.workload.until);
        self.outcome.time = self.machines.time;
        self.outcome.launches = self.machines.launches;
        self.outcome.waits.sort_unstable();
        self.outcome
    }

    fn handle(&mut self, event: Event) -> Result<(), RunError> {
        match event {
            Event::ScheduledPass => {
                self.schedule(self.pass_interval, Event::ScheduledPass);
                self.pass(Trigger::Schedule)?;
            }
            Event::WokenPass => {
                self.is_woken = false;
                let name = "region_wake".to_owned();
                self.pass(Trigger::DatabaseEvent { name })?;
            }
            Event::Heartbeats => {
                self.send_heartbeats();
                self.schedule(self.turn(), Event::Heartbeats);
            }
            Event::Capacity => self.change_capacity(),
            Event::AgentBoots(machine) => self.boot(machine),
            Event::MachineDies(machine) => self.die(machine),
            Event::Asks(user) => self.ask(user)?,
            Event::SessionEnds(user) => self.end_session(user),
        }
        Ok(())
    }

    /// Schedules the pass of a wake-up that the last step wrote.
    fn schedule_wake(&mut self) {
        let last = {
            let rows = self.world.database.rows();
            rows.tables.wakeups.last().map(|(_, bucket)| *bucket)
        };
        if last > self.last_wake {
            self.last_wake = last;
            if !self.is_woken {
                self.is_woken = true;
                self.schedule(WAKE_DELAY, Event::WokenPass);
            }
        }
    }

    fn is_measured(&self, user: usize) -> bool {
        let arrives = self.workload.users[user].arrives;
        arrives >= self.workload.from
    }

    fn pass(&mut self, trigger: Trigger) -> Result<(), RunError> {
        if self.now >= self.workload.from {
            self.outcome.passes += 1;
        }
        let report = self.world.pass(trigger)?;
        if report.results.iter().any(|step| step.launched.is_some()) {
            self.meet_machines();
        }
        let terminated = std::mem::take(&mut self.world.host.state().terminated);
        for id in terminated {
            if let Some(machine) = self.machines.find(&id) {
                self.machines.ended(machine, self.now);
            }
        }
        Ok(())
    }

    /// Begins to boot the machines that a pass has launched.
    fn meet_machines(&mut self) {
        let new: Vec<_> = {
            let rows = self.world.database.rows();
            let instances = rows.tables.instances.iter();
            let new = instances
                .filter(|(_, row)| row.status == InstanceStatus::PreConnection)
                .filter(|(id, _)| self.machines.find(id).is_none());
            new.map(|(id, row)| {
                (
                    row.launched_at,
                    id.clone(),
                    row.launch_id.clone(),
                    row.capacity,
                )
            })
            .collect()
        };
        for (_, id, launch, slots) in new {
            let boot = millis(self.workload.boots.draw(&mut self.boots));
            let machine = self.machines.launched(id, launch, slots, self.now);
            if !self.failures.chance(self.conditions.failed_boots) {
                self.schedule(boot, Event::AgentBoots(machine));
            } else if self.failures.chance(0.5) {
                self.schedule(boot / 2, Event::MachineDies(machine));
            }
        }
    }

    fn boot(&mut self, index: usize) {
        let machine = self.machines.get(index);
        if machine.state != State::Booting {
            return;
        }
        let now = self.world.now();
        let answer = {
            let tables = &mut self.world.database.rows().tables;
            tables.register_host(&machine.id, "", &machine.launch, now)
        };
        match answer.outcome {
            AgentOutcome::Registered => self.machines.registered(index, self.now),
            AgentOutcome::Retry => self.schedule(REGISTER_AGAIN, Event::AgentBoots(index)),
            _ => self.shut_down(index),
        }
    }

    /// EC2 ends a machine that boots, and its event wakes a pass.
    fn die(&mut self, index: usize) {
        let machine = self.machines.get(index);
        if machine.state == State::Ended {
            return;
        }
        let id = machine.id.clone();
        let now = self.world.now();
        let mut host = self.world.host.state();
        host.ec2.fail(&id, "Server.InternalError", now);
        drop(host);
        self.machines.ended(index, self.now);
        if !self.is_woken {
            self.is_woken = true;
            self.schedule(WAKE_DELAY, Event::WokenPass);
        }
    }

    fn shut_down(&mut self, index: usize) {
        let id = &self.machines.get(index).id;
        self.world.host.state().ec2.terminate(id, self.world.now());
        self.machines.ended(index, self.now);
    }

    /// From one turn of heartbeats to the next. Where passes are rarer than one a minute, agents are not.
    fn turn(&self) -> Millis {
        self.pass_interval.min(MINUTE) / TURNS_A_PASS
    }

    /// The agents of this turn send their heartbeats. One that drains and has no user shuts its
    /// machine down.
    fn send_heartbeats(&mut self) {
        let turn = usize::try_from(self.now / self.turn()).unwrap_or_default();
        self.beats = turn / BEAT_TURNS;
        let now = self.world.now();
        for index in self.machines.beating(turn) {
            let machine = self.machines.get(index);
            if machine.state != State::Registered {
                continue;
            }
            let ends = {
                let tables = &mut self.world.database.rows().tables;
                let row = tables.instances.get(&machine.id);
                let is_active = row.is_some_and(|row| row.status == InstanceStatus::Active);
                if is_active && !self.beats.is_multiple_of(BEATS_RECORDED) {
                    continue;
                }
                let answer = tables.heartbeat(&machine.id, &machine.launch, now);
                answer.outcome == AgentOutcome::ShutDown
                    || (answer.status == Some(InstanceStatus::Draining)
                        && !tables.is_occupied(&machine.id))
            };
            if ends {
                self.shut_down(index);
            }
        }
    }

    /// Draws for each pool whether it has capacity in the next period.
    fn change_capacity(&mut self) {
        if self.conditions.no_capacity <= 0.0 {
            return;
        }
        self.schedule(CAPACITY_PERIOD, Event::Capacity);
        for subnet in ["subnet-a", "subnet-b"] {
            let pool = ("c5.large".to_owned(), subnet.to_owned());
            let is_empty = self.capacity.chance(self.conditions.no_capacity);
            let room = &mut self.world.host.state().ec2.room;
            if is_empty {
                room.insert(pool, 0);
            } else {
                room.remove(&pool);
            }
        }
    }

    fn arrive(&mut self, user: usize) -> Result<(), RunError> {
        if self.is_measured(user) {
            self.outcome.users += 1;
        }
        let Some(in_line) = self.request(user)? else {
            return Ok(());
        };
        if self.is_measured(user) {
            self.outcome.not_at_once += 1;
        }
        self.schedule(pause(&in_line), Event::Asks(user));
        Ok(())
    }

    /// A user in line asks again, or leaves.
    fn ask(&mut self, user: usize) -> Result<(), RunError> {
        let waited = self.now - self.workload.users[user].arrives;
        let in_line = self.request(user)?;
        match in_line {
            Some(in_line) if waited < self.conditions.patience => {
                self.schedule(pause(&in_line), Event::Asks(user));
                return Ok(());
            }
            Some(_) if self.is_measured(user) => self.outcome.gave_up += 1,
            _ => {}
        }
        if self.is_measured(user) {
            self.outcome.waits.push(waited);
        }
        Ok(())
    }

    /// Requests a slot, and begins the session if there is one. Otherwise returns the place in line.
    fn request(&mut self, user: usize) -> Result<Option<InLine>, RunError> {
        let request = assign_request(user, &self.world.region)?;
        let now = self.world.now();
        let outcome = {
            let tables = &mut self.world.database.rows().tables;
            tables.assign_slot(&request, 1, ENVIRONMENT, now)
        };
        match outcome {
            AssignOutcome::Assigned(assignment) => {
                self.begin_session(user, &assignment.instance_id, assignment.slot_id);
                Ok(None)
            }
            AssignOutcome::Refused { reason, .. } => match reason {
                AssignRefusal::NoInstanceAvailable(in_line) => Ok(Some(in_line)),
                other => Err(RunError::Refused(other.name())),
            },
        }
    }

    fn begin_session(&mut self, user: usize, instance: &InstanceId, slot: String) {
        let Some(machine) = self.machines.find(instance) else {
            return;
        };
        let now = self.world.now();
        {
            let launch = &self.machines.get(machine).launch;
            let (name, session) = (user_name(user), SESSION);
            let tables = &mut self.world.database.rows().tables;
            tables.claim_slot(&slot, &name, session, launch, now);
            tables.report_slot(&slot, SlotStatus::Running, launch, now);
        }
        self.machines.occupied(machine, self.now);
        self.serving.insert(user, Serving { slot, machine });
        let length = self.workload.users[user].session;
        self.outcome.served.push(Session {
            begin: self.now,
            end: self.now + length,
        });
        self.schedule(length, Event::SessionEnds(user));
    }

    fn end_session(&mut self, user: usize) {
        let Some(Serving { slot, machine }) = self.serving.remove(&user) else {
            return;
        };
        let now = self.world.now();
        {
            let launch = &self.machines.get(machine).launch;
            let tables = &mut self.world.database.rows().tables;
            tables.report_slot(&slot, SlotStatus::Dying, launch, now);
            tables.replace_slot(&slot, launch, now);
        }
        self.machines.vacated(machine, self.now);
    }
}

/// Users have one session each.
const SESSION: &str = "1";

fn user_name(user: usize) -> String {
    format!("user-{user}")
}

fn assign_request(user: usize, region: &RegionName) -> Result<AssignRequest, RunError> {
    let invalid = |error: shared::assign::BadId| RunError::SetUp(error.to_string());
    Ok(AssignRequest {
        user: UserId::parse(&user_name(user)).map_err(invalid)?,
        session: SessionId::parse(SESSION).map_err(invalid)?,
        regions: vec![region.clone()],
        client: ClientBuild::CurrentImage,
        limits: SessionLimits::default(),
    })
}

/// When the client asks again: soon where it may be its turn, and in time to stay in line.
fn pause(in_line: &InLine) -> Millis {
    let seconds = (1 + in_line.place / 10).min(in_line.line_seconds / 2);
    Millis::from(seconds.max(1)) * SECOND
}
