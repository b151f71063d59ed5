//! EC2, in memory: client tokens that bind their request, machines whose states follow the clock,
//! listings that lag, and faults that a test sets.

mod addresses;
mod associations;
mod machines;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use async_trait::async_trait;
use shared::clock::Clock;
use shared::host::{
    AccountRegions, HostError, HostErrorKind, HostHandler, HostHandlers, Reassociation,
};
use shared::ids::{AddressId, ClientToken, ImageId, InstanceId, LaunchId, RegionName};
use shared::model::{ExternalAddress, Instance, LaunchRequest, Machine, MachineState};
use shared::settings::{AddressTag, Selector};

pub use addresses::{Addresses, FakeAddress};
pub use machines::{Binding, Delays, FakeMachine, Machines, TokenEnds, address_of};

use crate::machine;

/// One region's EC2.
#[derive(Debug)]
pub struct FakeHost {
    state: Mutex<HostState>,
    clock: Arc<dyn Clock>,
}

/// The machines, with the requests that were made and the faults that a test sets.
#[derive(Debug, Default)]
pub struct HostState {
    pub ec2: Machines,
    /// Images that do not exist in this region; all others do.
    pub unknown_images: BTreeSet<ImageId>,
    /// All launch requests with their tokens, repeated ones included.
    pub launches: Vec<(ClientToken, LaunchRequest)>,
    /// All ids that were requested to be terminated, repeated ones included.
    pub terminated: Vec<InstanceId>,
    /// The next launches fail with these errors, before they have an effect.
    pub refuse_launches: VecDeque<HostErrorKind>,
    /// The next launch takes effect, but its answer is lost.
    pub lose_next_launch: bool,
    /// A launch lets others begin before it has its effect.
    pub slow_launches: bool,
    /// How many slow launches are in progress, and the highest number so far.
    pub launching: usize,
    pub most_launching: usize,
    pub fail_next_list: bool,
    /// Terminations fail with this error, before they have an effect.
    pub refuse_terminations: Option<HostErrorKind>,
    /// The next terminations take effect, but their answer is lost.
    pub lose_next_termination: bool,
    /// Listing addresses fails with this error.
    pub refuse_address_lists: Option<HostErrorKind>,
    /// The next moves of an address fail with these errors, before they have an effect.
    pub refuse_associations: VecDeque<HostErrorKind>,
    /// Machines that cannot have an address.
    pub no_address_for: BTreeSet<InstanceId>,
    /// The next move of an address takes effect, but its answer is lost.
    pub lose_next_association: bool,
    /// Every call fails because of too many requests, before it has an effect.
    pub throttled: bool,
}

impl FakeHost {
    /// A region without machines.
    pub fn new(region: &RegionName, clock: Arc<dyn Clock>) -> Self {
        let state = HostState {
            ec2: Machines::of(region),
            ..HostState::default()
        };
        Self {
            state: Mutex::new(state),
            clock,
        }
    }

    /// A region with the machines of these instances.
    pub(super) fn with(region: &RegionName, instances: &[Instance], clock: Arc<dyn Clock>) -> Self {
        let host = Self::new(region, clock);
        for instance in instances {
            host.state().ec2.add(machine(instance));
        }
        host
    }

    pub fn state(&self) -> MutexGuard<'_, HostState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_state(&self, id: &InstanceId, to: MachineState) {
        self.state().ec2.set_state(id, to, self.clock.now());
    }

    /// Lets other launches begin, and counts those that are in progress meanwhile.
    async fn wait_for_other_launches(&self) {
        if !self.state().slow_launches {
            return;
        }
        {
            let mut state = self.state();
            state.launching += 1;
            state.most_launching = state.most_launching.max(state.launching);
        }
        yield_once().await;
        self.state().launching -= 1;
    }

    fn call(&self, operation: &'static str) -> Result<MutexGuard<'_, HostState>, HostError> {
        let state = self.state();
        if state.throttled {
            return Err(error(operation, HostErrorKind::Unclear));
        }
        Ok(state)
    }
}

/// Lets other futures of the same task run once.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn error(operation: &'static str, kind: HostErrorKind) -> HostError {
    HostError {
        kind,
        operation,
        code: format!("{kind:?}"),
        message: "the test has set this error".to_owned(),
    }
}

#[async_trait]
impl HostHandler for FakeHost {
    async fn list(&self) -> Result<Vec<Machine>, HostError> {
        const OPERATION: &str = "list machines";
        let mut state = self.call(OPERATION)?;
        if std::mem::take(&mut state.fail_next_list) {
            return Err(error(OPERATION, HostErrorKind::Unclear));
        }
        Ok(state.ec2.list(self.clock.now()))
    }

    async fn launched_under(&self, launch: &LaunchId) -> Result<Vec<Machine>, HostError> {
        let state = self.call("look up a launch")?;
        Ok(state.ec2.launched_under(launch, self.clock.now()))
    }

    async fn gone(&self, ids: &[InstanceId]) -> Result<Vec<InstanceId>, HostError> {
        let state = self.call("look up machines")?;
        let now = self.clock.now();
        let is_gone = |id: &&InstanceId| {
            let state = state.ec2.look_up(id, now);
            state.is_none_or(|state| state == MachineState::Terminated)
        };
        Ok(ids.iter().filter(is_gone).cloned().collect())
    }

    async fn has_image(&self, image: &ImageId) -> Result<bool, HostError> {
        let state = self.call("look up an image")?;
        Ok(!state.unknown_images.contains(image))
    }

    async fn subnets(&self, selector: &Selector) -> Result<Vec<String>, HostError> {
        drop(self.call("look up subnets")?);
        Ok(match selector {
            Selector::Id(id) => vec![id.clone()],
            Selector::Tag { value, .. } => vec![format!("{value}-1"), format!("{value}-2")],
        })
    }

    async fn security_groups(&self, selectors: &[Selector]) -> Result<Vec<String>, HostError> {
        drop(self.call("look up security groups")?);
        Ok(selectors.iter().map(ToString::to_string).collect())
    }

    async fn launch(
        &self,
        token: &ClientToken,
        request: &LaunchRequest,
    ) -> Result<Vec<Machine>, HostError> {
        const OPERATION: &str = "launch instances";
        self.wait_for_other_launches().await;
        let mut state = self.call(OPERATION)?;
        state.launches.push((token.clone(), request.clone()));
        if let Some(kind) = state.refuse_launches.pop_front() {
            return Err(error(OPERATION, kind));
        }
        let machines = state
            .ec2
            .launch(token, request, self.clock.now())
            .map_err(|kind| error(OPERATION, kind))?;
        if std::mem::take(&mut state.lose_next_launch) {
            return Err(error(OPERATION, HostErrorKind::Unclear));
        }
        Ok(machines)
    }

    async fn terminate(&self, ids: &[InstanceId]) -> Vec<(InstanceId, Result<(), HostError>)> {
        const OPERATION: &str = "terminate instances";
        let all = |answer: Result<(), HostError>| {
            let answers = ids.iter().map(|id| (id.clone(), answer.clone()));
            answers.collect::<Vec<_>>()
        };
        let mut state = match self.call(OPERATION) {
            Ok(state) => state,
            Err(throttled) => return all(Err(throttled)),
        };
        if let Some(kind) = state.refuse_terminations {
            return all(Err(error(OPERATION, kind)));
        }
        for id in ids {
            state.terminated.push(id.clone());
            state.ec2.terminate(id, self.clock.now());
        }
        if std::mem::take(&mut state.lose_next_termination) {
            return all(Err(error(OPERATION, HostErrorKind::Unclear)));
        }
        all(Ok(()))
    }

    async fn addresses(&self, tag: &AddressTag) -> Result<Vec<ExternalAddress>, HostError> {
        const OPERATION: &str = "list addresses";
        let state = self.call(OPERATION)?;
        match state.refuse_address_lists {
            Some(kind) => Err(error(OPERATION, kind)),
            None => Ok(state.ec2.addresses(tag, self.clock.now())),
        }
    }

    async fn associate(
        &self,
        address: &AddressId,
        to: &InstanceId,
        allowed: Reassociation,
    ) -> Result<(), HostError> {
        const OPERATION: &str = "associate an address";
        let mut state = self.call(OPERATION)?;
        if let Some(kind) = state.refuse_associations.pop_front() {
            return Err(error(OPERATION, kind));
        }
        if state.no_address_for.contains(to) {
            return Err(error(OPERATION, HostErrorKind::Invalid));
        }
        let now = self.clock.now();
        let done = state.ec2.associate(address, to, allowed, now);
        done.map_err(|kind| error(OPERATION, kind))?;
        if std::mem::take(&mut state.lose_next_association) {
            return Err(error(OPERATION, HostErrorKind::Unclear));
        }
        Ok(())
    }
}

/// Every region's EC2, created when it is first used.
#[derive(Debug)]
pub struct FakeHosts {
    regions: Mutex<BTreeMap<RegionName, Arc<FakeHost>>>,
    clock: Arc<dyn Clock>,
}

impl FakeHosts {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            regions: Mutex::default(),
            clock,
        }
    }

    pub fn of(&self, region: &RegionName) -> Arc<FakeHost> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions
            .entry(region.clone())
            .or_insert_with(|| Arc::new(FakeHost::new(region, self.clock.clone())))
            .clone()
    }

    pub(super) fn insert(&self, region: RegionName, host: Arc<FakeHost>) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.insert(region, host);
    }
}

/// The account has every region that was used.
#[async_trait]
impl AccountRegions for FakeHosts {
    async fn enabled_regions(&self) -> Result<Vec<RegionName>, HostError> {
        let regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(regions.keys().cloned().collect())
    }
}

impl HostHandlers for FakeHosts {
    fn in_region(&self, region: &RegionName) -> Arc<dyn HostHandler> {
        self.of(region)
    }
}
