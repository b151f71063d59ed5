//! One region's machines. A launch or termination stores the machine's future states with their
//! times, so that the state at any time can be looked up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use jiff::{SignedDuration, Timestamp};
use shared::host::HostErrorKind;
use shared::ids::{ClientToken, InstanceId, LaunchId, RegionName};
use shared::model::{LaunchRequest, Machine, MachineState, StateReason};

use super::addresses::Addresses;

/// EC2's delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// From `pending` to `running`.
    pub boot: SignedDuration,
    /// From `shutting-down` to `terminated`.
    pub shut_down: SignedDuration,
    /// From `terminated` until the machine loses its tags, so that it is not listed any more.
    pub untag: SignedDuration,
    /// From `terminated` until the machine's id is unknown.
    pub forget: SignedDuration,
    /// How far listings lag, those of one launch included.
    pub listing_lag: SignedDuration,
    /// How far look-ups by id lag.
    pub lookup_lag: SignedDuration,
    /// How far listings of addresses lag.
    pub address_lag: SignedDuration,
}

impl Default for Delays {
    /// Nothing lags; machines boot and shut down in 16 seconds. EC2 forgets an id in about an hour,
    /// and documents no time for the tags.
    fn default() -> Self {
        Self {
            boot: SignedDuration::from_secs(16),
            shut_down: SignedDuration::from_secs(16),
            untag: SignedDuration::from_mins(10),
            forget: SignedDuration::from_hours(1),
            listing_lag: SignedDuration::ZERO,
            lookup_lag: SignedDuration::ZERO,
            address_lag: SignedDuration::ZERO,
        }
    }
}

/// When the launch of a client token counts as terminated, so that the token is answered with an
/// error. EC2 does not document which of the two holds for a launch of several machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenEnds {
    /// When its last machine is terminated.
    #[default]
    WithAll,
    /// When its first machine is terminated, even if others run.
    WithAny,
}

/// A machine with its states over time.
#[derive(Clone, Debug)]
pub struct FakeMachine {
    /// The machine as it was launched. Its state is in `states`.
    launched: Machine,
    /// The states, each with its beginning, in order, future ones included.
    states: Vec<(Timestamp, MachineState)>,
}

impl FakeMachine {
    /// The state at a time; none before the launch. A terminated machine keeps its state for ever.
    pub fn state_at(&self, at: Timestamp) -> Option<MachineState> {
        let past = self.states.partition_point(|(since, _)| *since <= at);
        Some(self.states[past.checked_sub(1)?].1)
    }

    /// Whether the machine runs or will.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.state_at(now).is_some_and(|state| !state.is_going())
    }

    /// The machine as EC2 showed it at a time; none before the launch, and none when it has been
    /// terminated for `kept`.
    fn seen_at(&self, at: Timestamp, kept: SignedDuration) -> Option<Machine> {
        let (since, last) = self.states.last()?;
        if *last == MachineState::Terminated && *since + kept <= at {
            return None;
        }
        let state = self.state_at(at)?;
        let state_reason = self.launched.state_reason.clone();
        // EC2 assigns public addresses after the launch.
        let has_public = state == MachineState::Running;
        Some(Machine {
            state,
            state_reason: state_reason.filter(|_| state.is_down()),
            public_address: self.launched.address.filter(|_| has_public).map(public_of),
            ..self.launched.clone()
        })
    }

    /// Replaces the future states.
    fn set_states(
        &mut self,
        states: impl IntoIterator<Item = (Timestamp, MachineState)>,
        now: Timestamp,
    ) {
        self.states.retain(|(since, _)| *since <= now);
        self.states.extend(states);
    }
}

/// The use of a client token.
#[derive(Clone, Debug)]
pub struct Binding {
    pub request: LaunchRequest,
    /// Empty while there is no capacity.
    pub ids: Vec<InstanceId>,
}

/// A region's machines, client tokens and capacity.
#[derive(Clone, Debug, Default)]
pub struct Machines {
    /// All machines that were ever launched.
    pub machines: BTreeMap<InstanceId, FakeMachine>,
    /// By token and subnet: EC2 binds a token in each zone separately, and here every subnet is in
    /// a zone of its own.
    pub tokens: BTreeMap<(ClientToken, String), Binding>,
    /// By type and subnet: how many machines may exist at a time. There is no limit for pairs that
    /// are not in the map.
    pub room: BTreeMap<(String, String), u32>,
    /// The next launch that succeeds gets at most this many machines.
    pub at_most_next: Option<u32>,
    pub delays: Delays,
    pub token_ends: TokenEnds,
    pub external: Addresses,
    /// Part of each new machine's id, which makes ids unique across regions.
    region: String,
    made: u32,
}

impl Machines {
    /// A region without machines, lag or limits of capacity.
    pub fn of(region: &RegionName) -> Self {
        Self {
            region: region.to_string(),
            ..Self::default()
        }
    }

    /// Adds a machine in its state.
    pub fn add(&mut self, machine: Machine) {
        let row = FakeMachine {
            states: vec![(machine.launched_at, machine.state)],
            launched: machine,
        };
        self.machines.insert(row.launched.id.clone(), row);
    }

    /// `DescribeInstances` filtered by the stack's tag. It lags, and it does not find machines that
    /// have lost their tags.
    pub fn list(&self, now: Timestamp) -> Vec<Machine> {
        let at = now - self.delays.listing_lag;
        let seen = |row: &FakeMachine| row.seen_at(at, self.delays.untag);
        self.machines.values().filter_map(seen).collect()
    }

    /// `DescribeInstances` filtered by the launch's tag. It lags as any listing.
    pub fn launched_under(&self, launch: &LaunchId, now: Timestamp) -> Vec<Machine> {
        let mut listed = self.list(now);
        listed.retain(|machine| machine.launch_id.as_ref() == Some(launch));
        listed
    }

    /// The machine's state as `DescribeInstances` by id finds it; none if EC2 does not know the id.
    pub fn look_up(&self, id: &InstanceId, now: Timestamp) -> Option<MachineState> {
        let at = now - self.delays.lookup_lag;
        let seen = self.machines.get(id)?.seen_at(at, self.delays.forget)?;
        Some(seen.state)
    }

    /// `RunInstances` with `MinCount` 1: launches as many machines as there is capacity for, once
    /// per token.
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
        match self.room.get(&pool) {
            None => u32::MAX,
            Some(room) => room.saturating_sub(self.count_in(&pool, now)),
        }
    }

    /// The live machines of a type in a subnet.
    pub fn count_in(&self, (instance_type, subnet): &(String, String), now: Timestamp) -> u32 {
        let is_there = |row: &&FakeMachine| {
            row.is_live(now)
                && row.launched.instance_type == *instance_type
                && row.launched.subnet_id.as_ref() == Some(subnet)
        };
        let there = self.machines.values().filter(is_there).count();
        u32::try_from(there).unwrap_or(u32::MAX)
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
            subnet_id: Some(request.subnet_id.clone()),
            spot: request.spot,
            capacity: request.capacity,
            address: Some(address_of(self.made)),
            public_address: None,
            state_reason: None,
        };
        let row = FakeMachine {
            launched: launched.clone(),
            states: vec![
                (now, MachineState::Pending),
                (now + self.delays.boot, MachineState::Running),
            ],
        };
        self.machines.insert(launched.id.clone(), row);
        launched
    }

    /// `TerminateInstances` for one id, or an instance that shuts itself down. A machine that
    /// look-ups by id do not find yet is not terminated.
    pub fn terminate(&mut self, id: &InstanceId, now: Timestamp) {
        if self.look_up(id, now).is_none() {
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
            row.set_states(states, now);
        }
    }

    /// EC2 ends a machine by itself, for a reason with this code.
    pub fn fail(&mut self, id: &InstanceId, code: &str, now: Timestamp) {
        self.terminate(id, now);
        if let Some(row) = self.machines.get_mut(id) {
            row.launched.state_reason = Some(StateReason {
                code: code.to_owned(),
                message: format!("{code}: simulated"),
            });
        }
    }

    /// Sets a machine's state, whichever state it has.
    pub fn set_state(&mut self, id: &InstanceId, to: MachineState, now: Timestamp) {
        if let Some(row) = self.machines.get_mut(id) {
            row.set_states([(now, to)], now);
        }
    }

    /// Drops machines whose ids EC2 has forgotten, with their tokens, for runs that last weeks. Nothing
    /// finds them any more, but a token that is used again would launch again.
    pub fn drop_forgotten(&mut self, now: Timestamp) {
        let kept = self.delays.forget + self.delays.listing_lag + self.delays.lookup_lag;
        let is_forgotten = |row: &FakeMachine| {
            row.states.last().is_some_and(|(since, last)| {
                *last == MachineState::Terminated && *since + kept <= now
            })
        };
        let before = self.machines.len();
        self.machines.retain(|_, row| !is_forgotten(row));
        if self.machines.len() < before {
            let machines = &self.machines;
            self.tokens
                .retain(|_, binding| binding.ids.iter().any(|id| machines.contains_key(id)));
        }
    }

    /// The machines that run or will.
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = &InstanceId> {
        let is_live = move |(_, row): &(&InstanceId, &FakeMachine)| row.is_live(now);
        self.machines.iter().filter(is_live).map(|(id, _)| id)
    }
}

/// The private address of the nth machine.
pub fn address_of(nth: u32) -> IpAddr {
    Ipv4Addr::from_bits(u32::from_be_bytes([10, 0, 0, 0]) + nth).into()
}

/// The public address of the machine with this private one.
fn public_of(private: IpAddr) -> IpAddr {
    match private {
        IpAddr::V4(private) => {
            let [_, b, c, d] = private.octets();
            Ipv4Addr::new(203, b, c, d).into()
        }
        IpAddr::V6(private) => private.into(),
    }
}
