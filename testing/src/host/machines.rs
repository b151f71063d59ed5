//! One region's machines. The state of each is a function of time: a launch and a termination
//! write down the states to come with their moments, and looking is looking them up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use jiff::{SignedDuration, Timestamp};

use super::Addresses;
use shared::host::HostErrorKind;
use shared::ids::{ClientToken, InstanceId, RegionName};
use shared::model::{LaunchRequest, Machine, MachineState};

/// How long EC2 takes for things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// From `pending` to `running`.
    pub boot: SignedDuration,
    /// From `shutting-down` to `terminated`.
    pub shut_down: SignedDuration,
    /// From `terminated` until the machine is not listed any more.
    pub forget: SignedDuration,
    /// Listings, also those by client token, show what was so long ago.
    pub listing_lag: SignedDuration,
    /// So do questions by id.
    pub lookup_lag: SignedDuration,
    /// Lists of addresses show who carried them so long ago.
    pub address_lag: SignedDuration,
}

impl Default for Delays {
    /// Nothing lags; machines boot and shut down in 16 seconds.
    fn default() -> Self {
        Self {
            boot: SignedDuration::from_secs(16),
            shut_down: SignedDuration::from_secs(16),
            forget: SignedDuration::from_hours(1),
            listing_lag: SignedDuration::ZERO,
            lookup_lag: SignedDuration::ZERO,
            address_lag: SignedDuration::ZERO,
        }
    }
}

/// When a client token's launch counts as terminated, after which it answers an error. EC2 does
/// not say which of the two it is for a launch of several machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenEnds {
    /// With the last of its machines.
    #[default]
    WithAll,
    /// With the first of them, while others live on.
    WithAny,
}

/// A machine, and what became of it.
#[derive(Clone, Debug)]
pub struct FakeMachine {
    /// As it was launched; its state is in `states`.
    launched: Machine,
    pub subnet_id: Option<String>,
    /// States and when they begin, in order, those to come included.
    states: Vec<(Timestamp, MachineState)>,
}

impl FakeMachine {
    /// None before its launch; a terminated one stays so for ever here.
    pub fn state_at(&self, at: Timestamp) -> Option<MachineState> {
        let past = self.states.partition_point(|(since, _)| *since <= at);
        Some(self.states[past.checked_sub(1)?].1)
    }

    /// Runs, or is about to.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.state_at(now).is_some_and(|state| !state.is_going())
    }

    /// As it was at a time.
    fn seen_at(&self, at: Timestamp, forget: SignedDuration) -> Option<Machine> {
        let (since, last) = self.states.last()?;
        if *last == MachineState::Terminated && *since + forget <= at {
            return None;
        }
        Some(Machine {
            state: self.state_at(at)?,
            ..self.launched.clone()
        })
    }

    /// What was to come is replaced.
    fn turn(
        &mut self,
        states: impl IntoIterator<Item = (Timestamp, MachineState)>,
        now: Timestamp,
    ) {
        self.states.retain(|(since, _)| *since <= now);
        self.states.extend(states);
    }
}

/// What a client token was used for.
#[derive(Clone, Debug)]
pub struct Binding {
    pub request: LaunchRequest,
    /// Empty as long as there was no capacity.
    pub ids: Vec<InstanceId>,
}

/// A region's machines, client tokens and room.
#[derive(Clone, Debug, Default)]
pub struct Machines {
    /// All that ever were.
    pub machines: BTreeMap<InstanceId, FakeMachine>,
    /// By token and subnet: EC2 binds a token per zone, and every subnet here is in a zone of
    /// its own.
    pub tokens: BTreeMap<(ClientToken, String), Binding>,
    /// How many machines of a type have room in a subnet at a time; without bound where nothing
    /// is said.
    pub room: BTreeMap<(String, String), u32>,
    /// The next launch that succeeds gets this many machines at most.
    pub at_most_next: Option<u32>,
    pub delays: Delays,
    pub token_ends: TokenEnds,
    pub external: Addresses,
    /// Part of each new machine's id: ids are unique across regions.
    region: String,
    made: u32,
}

impl Machines {
    /// A region without machines, where nothing lags and there is room for all.
    pub fn of(region: &RegionName) -> Self {
        Self {
            region: region.to_string(),
            ..Self::default()
        }
    }

    /// A machine that is there, in the state that it says.
    pub fn add(&mut self, machine: Machine) {
        let row = FakeMachine {
            states: vec![(machine.launched_at, machine.state)],
            subnet_id: None,
            launched: machine,
        };
        self.machines.insert(row.launched.id.clone(), row);
    }

    /// `DescribeInstances` for all: what was there when the listing was made, which lags.
    pub fn list(&self, now: Timestamp) -> Vec<Machine> {
        let at = now - self.delays.listing_lag;
        let seen = |row: &FakeMachine| row.seen_at(at, self.delays.forget);
        self.machines.values().filter_map(seen).collect()
    }

    /// `DescribeInstances` filtered by client token, which lags as any listing.
    pub fn launched_under(&self, token: &ClientToken, now: Timestamp) -> Vec<Machine> {
        let at = now - self.delays.listing_lag;
        self.tokens
            .iter()
            .filter(|((of, _), _)| of == token)
            .flat_map(|(_, binding)| &binding.ids)
            .filter_map(|id| self.machines.get(id)?.seen_at(at, self.delays.forget))
            .collect()
    }

    /// Whether `DescribeInstances` by id finds it.
    pub fn knows(&self, id: &InstanceId, now: Timestamp) -> bool {
        let at = now - self.delays.lookup_lag;
        let row = self.machines.get(id);
        row.is_some_and(|row| row.seen_at(at, self.delays.forget).is_some())
    }

    /// `RunInstances` with `MinCount` 1: as many as there is room for, once per token.
    ///
    /// # Errors
    /// `TokenMismatch`, `AlreadyTerminated`, `Capacity`.
    pub fn launch(
        &mut self,
        token: &ClientToken,
        request: &LaunchRequest,
        now: Timestamp,
    ) -> Result<Vec<Machine>, HostErrorKind> {
        let key = (token.clone(), request.subnet_id.clone());
        let binding = self.tokens.entry(key.clone()).or_insert_with(|| Binding {
            request: request.clone(),
            ids: vec![],
        });
        if binding.request != *request {
            return Err(HostErrorKind::TokenMismatch);
        }
        if !binding.ids.is_empty() {
            let ids = binding.ids.clone();
            return self.launched_before(&ids, now);
        }
        let bound = self.at_most_next.unwrap_or(u32::MAX);
        let count = request.count.min(self.room_left(request, now)).min(bound);
        if count == 0 {
            return Err(HostErrorKind::Capacity);
        }
        self.at_most_next = None;
        let machines: Vec<_> = (0..count).map(|_| self.make(request, now)).collect();
        if let Some(binding) = self.tokens.get_mut(&key) {
            binding.ids = machines.iter().map(|machine| machine.id.clone()).collect();
        }
        Ok(machines)
    }

    fn launched_before(
        &self,
        ids: &[InstanceId],
        now: Timestamp,
    ) -> Result<Vec<Machine>, HostErrorKind> {
        let rows = || ids.iter().filter_map(|id| self.machines.get(id));
        let is_over = |row: &FakeMachine| row.state_at(now) == Some(MachineState::Terminated);
        let ended = match self.token_ends {
            TokenEnds::WithAll => rows().all(is_over),
            TokenEnds::WithAny => rows().any(is_over),
        };
        if ended {
            return Err(HostErrorKind::AlreadyTerminated);
        }
        let seen = |row: &FakeMachine| row.seen_at(now, self.delays.forget);
        Ok(rows().filter_map(seen).collect())
    }

    fn room_left(&self, request: &LaunchRequest, now: Timestamp) -> u32 {
        let pool = (request.instance_type.clone(), request.subnet_id.clone());
        let Some(room) = self.room.get(&pool) else {
            return u32::MAX;
        };
        let is_there = |row: &&FakeMachine| {
            row.is_live(now)
                && row.launched.instance_type == request.instance_type
                && row.subnet_id.as_ref() == Some(&request.subnet_id)
        };
        let there = self.machines.values().filter(is_there).count();
        room.saturating_sub(u32::try_from(there).unwrap_or(u32::MAX))
    }

    fn make(&mut self, request: &LaunchRequest, now: Timestamp) -> Machine {
        self.made += 1;
        let launch = request
            .tags
            .iter()
            .find(|(key, _)| key == shared::host::tags::LAUNCH);
        let launched = Machine {
            id: format!("i-{}-{:04}", self.region, self.made).into(),
            state: MachineState::Pending,
            launched_at: now,
            launch_id: launch.map(|(_, id)| id.as_str().into()),
            image_id: request.image_id.clone(),
            client_sha: request.client_sha.clone(),
            instance_type: request.instance_type.clone(),
            capacity: request.capacity,
            address: Some(address_of(self.made)),
        };
        let row = FakeMachine {
            launched: launched.clone(),
            subnet_id: Some(request.subnet_id.clone()),
            states: vec![
                (now, MachineState::Pending),
                (now + self.delays.boot, MachineState::Running),
            ],
        };
        self.machines.insert(launched.id.clone(), row);
        launched
    }

    /// `TerminateInstances` for one id, and what an instance does that shuts itself down. One
    /// that questions by id do not know yet is answered as gone, and goes on.
    pub fn terminate(&mut self, id: &InstanceId, now: Timestamp) {
        if !self.knows(id, now) {
            return;
        }
        let ended = now + self.delays.shut_down;
        if let Some(row) = self.machines.get_mut(id)
            && row.is_live(now)
        {
            let states = [
                (now, MachineState::ShuttingDown),
                (ended, MachineState::Terminated),
            ];
            row.turn(states, now);
        }
    }

    /// Puts a machine into a state, whatever it was in.
    pub fn set_state(&mut self, id: &InstanceId, to: MachineState, now: Timestamp) {
        if let Some(row) = self.machines.get_mut(id) {
            row.turn([(now, to)], now);
        }
    }

    /// Those that run or are about to.
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = &InstanceId> {
        let is_live = move |(_, row): &(&InstanceId, &FakeMachine)| row.is_live(now);
        self.machines.iter().filter(is_live).map(|(id, _)| id)
    }
}

/// The address of the machine that was made as the nth.
pub fn address_of(nth: u32) -> IpAddr {
    Ipv4Addr::from_bits(u32::from_be_bytes([10, 0, 0, 0]) + nth).into()
}
