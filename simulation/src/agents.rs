//! The host agents: the user's own programs on the machines. They are not under test; what they
//! do to the database is, so they ask it what the real one asks, in single steps.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use shared::ids::{InstanceId, LaunchId, RegionName};

use crate::world::World;

/// One machine's agent.
#[derive(Clone, Debug)]
pub struct Agent {
    pub region: RegionName,
    pub launch: LaunchId,
    pub registered: bool,
    pub alive: bool,
    /// When the database last heard it.
    pub heard_at: Option<Timestamp>,
    /// It lives, and reaches nobody until then.
    pub silent_until: Option<Timestamp>,
    /// Slots with a connected user.
    pub sessions: BTreeSet<String>,
}

/// Whether an agent acts now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Nothing,
    Later(Timestamp),
    Now,
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
            heard_at: None,
            silent_until: None,
            sessions: BTreeSet::new(),
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

    /// Those that registered and live, by id.
    pub fn in_service(&self) -> Vec<InstanceId> {
        let serves = |(_, agent): &(&InstanceId, &Agent)| agent.alive && agent.registered;
        self.of
            .iter()
            .filter(serves)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// How long the database has not heard a living agent; none for a dead one, and for one
    /// that was never heard.
    pub fn silence(&self, id: &InstanceId, now: Timestamp) -> Option<SignedDuration> {
        let agent = self.of.get(id).filter(|agent| agent.alive)?;
        Some(now.duration_since(agent.heard_at?))
    }

    /// A machine of a region that runs without an agent.
    pub fn silent_in(&self, region: &RegionName, world: &World) -> Option<&InstanceId> {
        let host = world.host(region);
        let state = host.state();
        let mut live = state.ec2.live(world.now());
        live.find_map(|id| {
            let (id, agent) = self.of.get_key_value(id)?;
            (!agent.alive || !agent.registered).then_some(id)
        })
    }

    /// An agent dies with its machine.
    pub fn says(&mut self, id: &InstanceId, world: &World) -> Says {
        let now = world.now();
        let Some(agent) = self.of.get_mut(id).filter(|agent| agent.alive) else {
            return Says::Nothing;
        };
        let host = world.host(&agent.region);
        let state = host.state();
        let machine = state.ec2.machines.get(id);
        if !machine.is_some_and(|machine| machine.is_live(now)) {
            agent.alive = false;
            return Says::Nothing;
        }
        match agent.silent_until {
            Some(until) if until > now => Says::Later(until),
            _ => Says::Now,
        }
    }
}
