//! Host agents and replicas: one process for every running instance.
//!
//! An agent gets what a real one finds on its machine: the instance's id, addresses and user data.
//! It does not inherit this process' environment, because that may hold secrets that an agent must
//! not have. If an agent exits with success, its instance shuts down. If it crashes, the instance
//! keeps running. If the instance ends, the agent is killed.

mod launcher;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::Path;
use std::process::ExitStatus;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub use launcher::AgentLauncher;

use crate::emulator::Emulator;
use crate::world::{AgentRun, Change, ChangeKind, State};

/// How many logs of ended agents are kept.
const MAX_ENDED_LOGS: usize = 200;

/// Advances the emulator as time passes, and starts and kills agents as instances start and end.
/// Runs until the future is dropped, which kills all agents.
///
/// It must run on a thread that lives as long as the process: the kernel kills an agent together
/// with the thread that started it.
pub async fn supervise(emulator: Emulator, launcher: Option<AgentLauncher>) {
    let mut agents = Agents {
        launcher,
        kill: HashMap::new(),
        tasks: JoinSet::new(),
        ended: VecDeque::new(),
    };
    loop {
        // Created before the state is read, so that no change in between is missed.
        let changed = emulator.instances_changed();
        let (changes, wait) = emulator.with(|state, now| {
            let wait = state.world.next_due().map(|due| due - now);
            (state.take_agent_changes(), wait)
        });
        for change in changes {
            agents.handle(&emulator, &change);
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            Some(ended) = agents.tasks.join_next() => {
                if let Ok(ended) = ended {
                    agents.record_end(&emulator, ended);
                }
            }
        }
    }
}

struct Agents {
    launcher: Option<AgentLauncher>,
    /// By instance id. Sending a reason kills the agent, and becomes the recorded end.
    kill: HashMap<String, oneshot::Sender<&'static str>>,
    tasks: JoinSet<Ended>,
    /// The ids of instances whose agents have ended and whose logs are kept; the oldest first.
    ended: VecDeque<String>,
}

/// An agent's process that has ended.
struct Ended {
    region: String,
    instance_id: String,
    end: AgentEnd,
}

enum AgentEnd {
    Exit(ExitStatus),
    /// With the reason.
    Killed(&'static str),
    /// The process could not be waited for.
    Unknown(std::io::Error),
}

impl fmt::Display for AgentEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => status.fmt(f),
            Self::Killed(reason) => f.write_str(reason),
            Self::Unknown(error) => error.fmt(f),
        }
    }
}

impl Agents {
    fn handle(&mut self, emulator: &Emulator, change: &Change) {
        match change.kind {
            ChangeKind::StateChanged(State::Running) => self.start(emulator, change),
            ChangeKind::StateChanged(
                State::ShuttingDown | State::Terminated | State::Stopping | State::Stopped,
            ) => self.kill(change, "killed with its instance"),
            ChangeKind::AgentKilled => self.kill(change, "killed by a fault"),
            ChangeKind::StateChanged(State::Pending)
            | ChangeKind::InterruptionWarning(_)
            | ChangeKind::RebalanceRecommendation => {}
        }
    }

    fn kill(&mut self, change: &Change, reason: &'static str) {
        if let Some(kill) = self.kill.remove(&change.instance_id) {
            // An error means that the agent has just ended without being killed.
            kill.send(reason).ok();
        }
    }

    fn start(&mut self, emulator: &Emulator, change: &Change) {
        let Some(launcher) = &self.launcher else {
            return;
        };
        let (region, id) = (change.region.clone(), change.instance_id.clone());
        let started = emulator.with(|state, now| {
            let settings = state.world.settings.agent.clone();
            let instance = state.world.region_mut(&region)?.instance_mut(&id)?;
            // The instance may have left the state `running` since the change.
            if instance.state_at(now) != Some(State::Running) || instance.never_boots() {
                return None;
            }
            let child = launcher.spawn(instance, &settings);
            if let Ok(child) = &child {
                instance.agent = Some(AgentRun {
                    pid: child.id().unwrap_or_default(),
                    started_at_ms: now,
                    ended_at_ms: None,
                    end: None,
                });
            }
            Some(child)
        });
        let mut child = match started {
            None => return,
            Some(Err(error)) => {
                tracing::error!(instance = id, %error, "agent start failed");
                return;
            }
            Some(Ok(child)) => child,
        };
        let (kill, killed) = oneshot::channel();
        self.kill.insert(id.clone(), kill);
        self.tasks.spawn(async move {
            let end = tokio::select! {
                status = child.wait() => status.map_or_else(AgentEnd::Unknown, AgentEnd::Exit),
                Ok(reason) = killed => match child.kill().await {
                    Ok(()) => AgentEnd::Killed(reason),
                    Err(error) => AgentEnd::Unknown(error),
                },
            };
            Ended {
                region,
                instance_id: id,
                end,
            }
        });
    }

    fn record_end(&mut self, emulator: &Emulator, ended: Ended) {
        let Ended {
            region,
            instance_id,
            end,
        } = ended;
        self.kill.remove(&instance_id);
        emulator.with(|state, now| {
            tracing::info!(instance = instance_id, reason = %end, "agent ended");
            if let Some(instance) = state
                .world
                .region_mut(&region)
                .and_then(|r| r.instance_mut(&instance_id))
                && let Some(agent) = &mut instance.agent
            {
                agent.ended_at_ms = Some(now);
                agent.end = Some(end.to_string());
            }
            if matches!(end, AgentEnd::Exit(status) if status.success()) {
                state
                    .world
                    .shut_down_by_instance(&region, &instance_id, now);
            }
        });
        self.clean_up(instance_id);
    }

    /// Removes the user data of an ended agent, which has its token, and the oldest log if there are
    /// too many.
    fn clean_up(&mut self, instance_id: String) {
        let Some(launcher) = &self.launcher else {
            return;
        };
        remove(&launcher.user_data_file(&instance_id));
        self.ended.push_back(instance_id);
        if self.ended.len() > MAX_ENDED_LOGS
            && let Some(oldest) = self.ended.pop_front()
        {
            remove(&launcher.log_file(&oldest));
        }
    }
}

fn remove(file: &Path) {
    if let Err(error) = std::fs::remove_file(file) {
        tracing::warn!(file = %file.display(), %error, "file removal failed");
    }
}
