//! The host agents: the programs on the machines. They are not under test themselves. They make the
//! same calls to the database as the real ones, one call at a time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use shared::ids::{InstanceId, LaunchId, RegionName};

use crate::world::World;

/// The agent of one machine.
#[derive(Clone, Debug)]
pub struct Agent {
    pub region: RegionName,
    pub launch: LaunchId,
    pub registered: bool,
    pub alive: bool,
    /// When the database last got a heartbeat.
    pub last_heartbeat_at: Option<Timestamp>,
    /// Until then, the agent runs and cannot reach the database.
    pub silent_until: Option<Timestamp>,
    /// Its sessions end at once.
    pub crashes: bool,
    /// The slots with a connected user.
    pub sessions: BTreeSet<String>,
    /// It ends the sessions that are to end. Agents of earlier releases do not.
    pub obeys: bool,
    /// It says for how long users have been idle.
    pub reports_activity: bool,
}

/// Whether an agent can act now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    Dead,
    SilentUntil(Timestamp),
    Reachable,
}

#[derive(Debug, Default)]
pub struct Agents {
    of: BTreeMap<InstanceId, Agent>,
}

impl Agents {
    pub fn add(&mut self, id: InstanceId, region: RegionName, launch: LaunchId) {
        let agent = Agent {
            region,
            launch,
            registered: false,
            alive: true,
            last_heartbeat_at: None,
            silent_until: None,
            crashes: false,
            sessions: BTreeSet::new(),
            obeys: true,
            reports_activity: false,
        };
        self.of.insert(id, agent);
    }

    pub fn knows(&self, id: &InstanceId) -> bool {
        self.of.contains_key(id)
    }

    pub fn get_mut(&mut self, id: &InstanceId) -> Option<&mut Agent> {
        self.of.get_mut(id)
    }

    pub fn get(&self, id: &InstanceId) -> Option<&Agent> {
        self.of.get(id)
    }

    /// The agents that have registered and are alive, by id.
    pub fn in_service(&self) -> Vec<InstanceId> {
        let serves = |(_, agent): &(&InstanceId, &Agent)| agent.alive && agent.registered;
        self.of
            .iter()
            .filter(serves)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// How long the database has had no heartbeat of a living agent. None for a dead agent, and for
    /// one that has sent no heartbeat.
    pub fn silence(&self, id: &InstanceId, now: Timestamp) -> Option<SignedDuration> {
        let agent = self.of.get(id).filter(|agent| agent.alive)?;
        Some(now.duration_since(agent.last_heartbeat_at?))
    }

    /// A running machine of a region whose agent is dead or has not registered.
    pub fn silent_in(&self, region: &RegionName, world: &World) -> Option<&InstanceId> {
        let host = world.host(region);
        let state = host.state();
        let mut live = state.ec2.live(world.now());
        live.find_map(|id| {
            let (id, agent) = self.of.get_key_value(id)?;
            (!agent.alive || !agent.registered).then_some(id)
        })
    }

    /// Updates an agent (it dies with its machine), and returns whether it can act.
    pub fn update(&mut self, id: &InstanceId, world: &World) -> AgentState {
        let now = world.now();
        let Some(agent) = self.of.get_mut(id).filter(|agent| agent.alive) else {
            return AgentState::Dead;
        };
        let host = world.host(&agent.region);
        let state = host.state();
        let machine = state.ec2.machines.get(id);
        if !machine.is_some_and(|machine| machine.is_live(now)) {
            agent.alive = false;
            return AgentState::Dead;
        }
        match agent.silent_until {
            Some(until) if until > now => AgentState::SilentUntil(until),
            _ => AgentState::Reachable,
        }
    }
}
