//! Host agents, and replicas: a process of its own for every running instance.
//!
//! The agent gets what a real one would find on its machine: the instance's id, its address and
//! its user data; nothing else of this process' environment, so that it cannot know more than
//! its role allows. When it exits with success, its machine shuts down; when it crashes, the
//! machine goes on without it; when the machine ends, so does the agent.

mod process;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::emulator::Emulator;
use crate::world::{AgentRun, Change, Happening, Instance, State};

/// How many logs of agents that have ended are kept.
const KEPT_LOGS: usize = 200;

/// In the user data of every instance that has a host agent, and of no other.
const AGENT_TOKEN: &[u8] = b"SCALING_AGENT_TOKEN";

/// How agents are started.
#[derive(Clone, Debug)]
pub struct AgentLauncher {
    pub binary: PathBuf,
    /// What runs in place of an agent where the user data holds no agent's token.
    pub replica_binary: Option<PathBuf>,
    /// Where their user data and logs go, each named by the instance's id.
    pub dir: PathBuf,
}

/// Lets time pass in the emulator, and starts and ends the agents as instances come and go. Runs
/// until it is dropped, which ends all agents.
///
/// Has to run on the thread that lives as long as the process: the kernel ends an agent with
/// the thread that started it.
pub async fn supervise(emulator: Emulator, launcher: Option<AgentLauncher>) {
    let mut agents = Agents {
        launcher,
        kill: HashMap::new(),
        tasks: JoinSet::new(),
        ended: VecDeque::new(),
    };
    loop {
        // Taken before looking, so that nothing in between is missed.
        let changed = emulator.changed();
        let (changes, wait) = emulator.with(|inner, now| {
            let wait = inner.world.next_due().map(|due| due - now);
            (inner.take_agent_changes(), wait)
        });
        for change in changes {
            agents.follow(&emulator, &change);
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            Some(ended) = agents.tasks.join_next() => {
                if let Ok(ended) = ended {
                    agents.has_ended(&emulator, ended);
                }
            }
        }
    }
}

struct Agents {
    launcher: Option<AgentLauncher>,
    /// Send a reason to kill the agent of this instance, and it will be how it ended.
    kill: HashMap<String, oneshot::Sender<&'static str>>,
    tasks: JoinSet<Ended>,
    /// Instances whose agents have ended, the oldest first.
    ended: VecDeque<String>,
}

/// An agent's process that is gone.
struct Ended {
    region: String,
    instance_id: String,
    how: End,
}

enum End {
    Exit(ExitStatus),
    /// For this reason.
    Killed(&'static str),
    /// The process could not be waited for.
    Unknown(std::io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => status.fmt(f),
            Self::Killed(reason) => f.write_str(reason),
            Self::Unknown(error) => error.fmt(f),
        }
    }
}

impl Agents {
    fn follow(&mut self, emulator: &Emulator, change: &Change) {
        match change.what {
            Happening::Is(State::Running) => self.start(emulator, change),
            Happening::Is(
                State::ShuttingDown | State::Terminated | State::Stopping | State::Stopped,
            ) => self.kill(change, "killed with its instance"),
            Happening::AgentDies => self.kill(change, "killed by a fault"),
            Happening::Is(State::Pending)
            | Happening::InterruptionWarning(_)
            | Happening::RebalanceRecommendation => {}
        }
    }

    fn kill(&mut self, change: &Change, reason: &'static str) {
        if let Some(kill) = self.kill.remove(&change.instance_id) {
            // An error says that the agent has just ended by itself.
            kill.send(reason).ok();
        }
    }

    fn start(&mut self, emulator: &Emulator, change: &Change) {
        let Some(launcher) = &self.launcher else {
            return;
        };
        let (region, id) = (change.region.clone(), change.instance_id.clone());
        let started = emulator.with(|inner, now| {
            let settings = inner.world.settings.agent.clone();
            let instance = inner.world.region_mut(&region)?.instance_mut(&id)?;
            // It may have ended in the meantime.
            if instance.state_at(now) != Some(State::Running) || instance.never_boots() {
                return None;
            }
            let child = process::spawn(launcher, instance, &settings);
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
                tracing::error!(instance = id, %error, "start agent");
                return;
            }
            Some(Ok(child)) => child,
        };
        let (kill, killed) = oneshot::channel();
        self.kill.insert(id.clone(), kill);
        self.tasks.spawn(async move {
            let how = tokio::select! {
                status = child.wait() => status.map_or_else(End::Unknown, End::Exit),
                Ok(reason) = killed => match child.kill().await {
                    Ok(()) => End::Killed(reason),
                    Err(error) => End::Unknown(error),
                },
            };
            Ended {
                region,
                instance_id: id,
                how,
            }
        });
    }

    fn has_ended(&mut self, emulator: &Emulator, ended: Ended) {
        let Ended {
            region,
            instance_id,
            how,
        } = ended;
        self.kill.remove(&instance_id);
        emulator.with(|inner, now| {
            let end = how.to_string();
            tracing::info!(instance = instance_id, end, "agent ended");
            if let Some(instance) = inner
                .world
                .region_mut(&region)
                .and_then(|r| r.instance_mut(&instance_id))
                && let Some(agent) = &mut instance.agent
            {
                agent.ended_at_ms = Some(now);
                agent.end = Some(end);
            }
            if matches!(how, End::Exit(status) if status.success()) {
                inner
                    .world
                    .shut_down_from_inside(&region, &instance_id, now);
            }
        });
        self.tidy(instance_id);
    }

    /// Removes what held the token of an ended agent, and the log of one that ended long ago.
    fn tidy(&mut self, instance_id: String) {
        let Some(launcher) = &self.launcher else {
            return;
        };
        remove(&launcher.user_data_file(&instance_id));
        self.ended.push_back(instance_id);
        if self.ended.len() > KEPT_LOGS
            && let Some(oldest) = self.ended.pop_front()
        {
            remove(&launcher.log_file(&oldest));
        }
    }
}

impl AgentLauncher {
    fn user_data_file(&self, instance_id: &str) -> PathBuf {
        self.dir.join(format!("{instance_id}.user-data"))
    }

    fn log_file(&self, instance_id: &str) -> PathBuf {
        self.dir.join(format!("{instance_id}.log"))
    }

    fn binary(&self, instance: &Instance) -> &Path {
        let user_data = Self::user_data(instance);
        let mut words = user_data.windows(AGENT_TOKEN.len());
        match &self.replica_binary {
            Some(replica) if !words.any(|word| word == AGENT_TOKEN) => replica,
            _ => &self.binary,
        }
    }

    fn user_data(instance: &Instance) -> &[u8] {
        instance.spec.user_data.as_deref().unwrap_or_default()
    }
}

fn remove(file: &Path) {
    if let Err(error) = std::fs::remove_file(file) {
        tracing::warn!(file = %file.display(), %error, "remove");
    }
}
