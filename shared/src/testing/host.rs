//! EC2, in memory: client tokens that bind their request, and errors on demand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::machine;
use crate::clock::Clock;
use crate::host::{HostError, HostErrorKind, HostHandler};
use crate::ids::{ClientToken, InstanceId};
use crate::model::{Instance, LaunchRequest, Machine, MachineState, Selector};

#[derive(Debug)]
pub struct FakeHost {
    state: Mutex<Machines>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
pub struct Machines {
    pub machines: BTreeMap<InstanceId, Machine>,
    tokens: BTreeMap<ClientToken, (LaunchRequest, Vec<InstanceId>)>,
    launched: u32,
    /// What each token was asked to launch, repeats included.
    pub launches: Vec<(ClientToken, LaunchRequest)>,
    pub terminated: Vec<InstanceId>,
    /// The next launches fail with these, before they do anything.
    pub refuse_launches: VecDeque<HostErrorKind>,
    /// The next launch is done, but its answer is lost.
    pub lose_next_launch: bool,
    pub fail_next_list: bool,
    pub refuse_terminations: Option<HostErrorKind>,
}

impl FakeHost {
    pub(super) fn with(instances: &[Instance], clock: Arc<dyn Clock>) -> Self {
        let machines = instances
            .iter()
            .map(|i| (i.id.clone(), machine(i)))
            .collect();
        Self {
            state: Mutex::new(Machines {
                machines,
                ..Machines::default()
            }),
            clock,
        }
    }

    pub fn state(&self) -> MutexGuard<'_, Machines> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_state(&self, id: &InstanceId, to: MachineState) {
        if let Some(machine) = self.state().machines.get_mut(id) {
            machine.state = to;
        }
    }
}

fn error(operation: &'static str, kind: HostErrorKind) -> HostError {
    HostError {
        kind,
        operation,
        code: format!("{kind:?}"),
        message: "as ordered".to_owned(),
    }
}

#[async_trait]
impl HostHandler for FakeHost {
    async fn list(&self) -> Result<Vec<Machine>, HostError> {
        let mut state = self.state();
        if std::mem::take(&mut state.fail_next_list) {
            return Err(error("list machines", HostErrorKind::Unclear));
        }
        Ok(state.machines.values().cloned().collect())
    }

    async fn launched_under(&self, token: &ClientToken) -> Result<Vec<Machine>, HostError> {
        let state = self.state();
        let ids = state
            .tokens
            .get(token)
            .map(|(_, ids)| ids.as_slice())
            .unwrap_or_default();
        Ok(ids
            .iter()
            .filter_map(|id| state.machines.get(id))
            .cloned()
            .collect())
    }

    async fn unknown(&self, ids: &[InstanceId]) -> Result<Vec<InstanceId>, HostError> {
        let state = self.state();
        Ok(ids
            .iter()
            .filter(|id| !state.machines.contains_key(id))
            .cloned()
            .collect())
    }

    async fn subnets(&self, selector: &Selector) -> Result<Vec<String>, HostError> {
        Ok(match selector {
            Selector::Id(id) => vec![id.clone()],
            Selector::Tag { value, .. } => vec![format!("{value}-1"), format!("{value}-2")],
        })
    }

    async fn security_groups(&self, selectors: &[Selector]) -> Result<Vec<String>, HostError> {
        Ok(selectors.iter().map(ToString::to_string).collect())
    }

    async fn launch(
        &self,
        token: &ClientToken,
        request: &LaunchRequest,
    ) -> Result<Vec<Machine>, HostError> {
        const OPERATION: &str = "launch instances";
        let mut state = self.state();
        state.launches.push((token.clone(), request.clone()));
        if let Some(kind) = state.refuse_launches.pop_front() {
            return Err(error(OPERATION, kind));
        }
        if let Some((bound, ids)) = state.tokens.get(token) {
            if bound != request {
                return Err(error(OPERATION, HostErrorKind::TokenMismatch));
            }
            let machines: Vec<_> = ids
                .iter()
                .filter_map(|id| state.machines.get(id))
                .cloned()
                .collect();
            if machines.iter().all(|machine| machine.state.is_going()) {
                return Err(error(OPERATION, HostErrorKind::AlreadyTerminated));
            }
            return Ok(machines);
        }
        let mut machines = vec![];
        for _ in 0..request.count {
            state.launched += 1;
            let tag = |key: &str| request.tags.iter().find(|(k, _)| k == key).map(|(_, v)| v);
            machines.push(Machine {
                id: format!("i-new-{:04}", state.launched).into(),
                state: MachineState::Pending,
                launched_at: self.clock.now(),
                launch_id: tag(crate::host::tags::LAUNCH).map(|id| id.as_str().into()),
                image_id: request.image_id.clone(),
                client_sha: request.client_sha.clone(),
                instance_type: request.instance_type.clone(),
                capacity: request.capacity,
            });
        }
        let ids = machines.iter().map(|machine| machine.id.clone()).collect();
        state.tokens.insert(token.clone(), (request.clone(), ids));
        state
            .machines
            .extend(machines.iter().map(|m| (m.id.clone(), m.clone())));
        if std::mem::take(&mut state.lose_next_launch) {
            return Err(error(OPERATION, HostErrorKind::Unclear));
        }
        Ok(machines)
    }

    async fn terminate(&self, ids: &[InstanceId]) -> Vec<(InstanceId, Result<(), HostError>)> {
        let mut state = self.state();
        ids.iter()
            .map(|id| {
                if let Some(kind) = state.refuse_terminations {
                    return (id.clone(), Err(error("terminate instances", kind)));
                }
                state.terminated.push(id.clone());
                if let Some(machine) = state.machines.get_mut(id) {
                    machine.state = MachineState::ShuttingDown;
                }
                (id.clone(), Ok(()))
            })
            .collect()
    }
}
