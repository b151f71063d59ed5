//! What host agents do by themselves: boot, register, send heartbeats, shut down.

use jiff::SignedDuration;
use shared::ids::InstanceId;
use shared::model::InstanceStatus;
use testing::AgentOutcome;

use crate::agents::AgentState;
use crate::builds::ImageDefect;
use crate::ec2_events::Ec2EventKind;
use crate::endings;
use crate::faults::Fault;
use crate::scheduled::Event;
use crate::simulation::Simulation;

/// The interval of an agent's heartbeats.
const HEARTBEAT_INTERVAL: SignedDuration = SignedDuration::from_secs(15);

/// After this time, an agent whose row or address is not known yet registers again.
const REGISTER_INTERVAL: SignedDuration = SignedDuration::from_millis(2500);

impl Simulation {
    /// Adds an agent for each machine that was launched in this step, and schedules its boot.
    pub(crate) fn schedule_boots(&mut self) {
        for region in self.scenario.region_names() {
            let host = self.world.host(&region);
            let launched: Vec<_> = {
                let state = host.state();
                let bindings = state.ec2.tokens.values();
                let launch_of = |request: &shared::model::LaunchRequest| {
                    let tag = request
                        .tags
                        .iter()
                        .find(|(k, _)| k == shared::host::tags::LAUNCH);
                    let launch = tag.map_or_else(|| "".into(), |(_, id)| id.as_str().into());
                    (launch, request.image_id.clone())
                };
                bindings
                    .flat_map(|b| b.ids.iter().map(|id| (id.clone(), launch_of(&b.request))))
                    .filter(|(id, _)| !self.agents.knows(id))
                    .collect()
            };
            for (id, (launch, image)) in launched {
                self.agents.add(id.clone(), region.clone(), launch);
                self.draw_release_of_agent(&id);
                if self.faults.occurs(Fault::SessionsCrash)
                    && let Some(agent) = self.agents.get_mut(&id)
                {
                    agent.crashes = true;
                }
                let delay = host.state().ec2.delays.boot;
                self.send_ec2_event(&region, &id, Ec2EventKind::Running, delay);
                self.fail_launch(&region, &id);
                let defect = self.builds.defect_of(&image);
                if defect == Some(ImageDefect::NeverBoots) || self.faults.occurs(Fault::NeverBoots)
                {
                    continue;
                }
                if defect == Some(ImageDefect::Dies) {
                    let lives = self.builds.random.between(20..=100);
                    let lives = SignedDuration::from_secs(i64::try_from(lives).unwrap_or(0));
                    self.schedule_in(lives, Event::AgentDies(id.clone()));
                }
                let boot = SignedDuration::from_millis(
                    i64::try_from(self.random.between(17_000..=45_000)).unwrap_or(0),
                );
                self.schedule_in(boot, Event::AgentBoots(id));
            }
        }
    }

    pub(crate) fn kill_agent(&mut self, id: &InstanceId) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.alive = false;
        }
    }

    /// A random agent that is in service.
    pub(crate) fn random_agent(&mut self) -> Option<InstanceId> {
        let agents = self.agents.in_service();
        (!agents.is_empty()).then(|| self.random.pick(&agents).clone())
    }

    pub(crate) fn boot_agent(&mut self, id: InstanceId) {
        if self.agents.update(&id, &self.world) != AgentState::Reachable {
            return;
        }
        let now = self.now();
        let Some(agent) = self.agents.get_mut(&id) else {
            return;
        };
        let answer = {
            let tables = &mut self.world.database.rows().tables;
            tables.register_host(&id, "an address of the agent", &agent.launch, now)
        };
        match answer.outcome {
            AgentOutcome::Registered => {
                agent.registered = true;
                agent.last_heartbeat_at = Some(now);
                self.schedule_in(HEARTBEAT_INTERVAL, Event::Heartbeat(id));
            }
            // Its row or its address is not written yet.
            AgentOutcome::Retry => self.schedule_in(REGISTER_INTERVAL, Event::AgentBoots(id)),
            _ => self.shut_down(&id),
        }
    }

    pub(crate) fn send_heartbeat(&mut self, id: InstanceId) {
        let wait = match self.agents.update(&id, &self.world) {
            AgentState::Dead => return,
            AgentState::SilentUntil(until) => until.duration_since(self.now()),
            AgentState::Reachable => HEARTBEAT_INTERVAL,
        };
        if wait == HEARTBEAT_INTERVAL {
            let now = self.now();
            let Some(agent) = self.agents.get_mut(&id) else {
                return;
            };
            let (obeys, reports) = (agent.obeys, agent.reports_activity);
            let (answer, ends, empty) = {
                let tables = &mut self.world.database.rows().tables;
                let idle = endings::idle_seconds(tables, &id, now, reports);
                let answer = tables.heartbeat_with(&id, &agent.launch, &idle, now);
                (answer, tables.ends_of(&id), !tables.is_occupied(&id))
            };
            if answer.outcome == AgentOutcome::ShutDown {
                return self.shut_down(&id);
            }
            agent.last_heartbeat_at = Some(now);
            if answer.status == Some(InstanceStatus::Draining) && empty {
                return self.shut_down(&id);
            }
            for (slot, (_, by)) in ends {
                if obeys && by <= now {
                    self.end_session(id.clone(), slot);
                }
            }
        }
        self.schedule_in(wait, Event::Heartbeat(id));
    }

    /// The agent shuts its own machine down.
    fn shut_down(&mut self, id: &InstanceId) {
        let now = self.now();
        if let Some(agent) = self.agents.get_mut(id) {
            agent.alive = false;
            let region = agent.region.clone();
            self.world.host(&region).state().ec2.terminate(id, now);
            self.send_end_events(&region, id);
        }
    }
}
