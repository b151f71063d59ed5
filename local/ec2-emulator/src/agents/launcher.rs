//! Starts the process of one agent, with its files and its environment.
//!
//! The process cannot outlive the emulator, however the emulator ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::settings::AgentSettings;
use crate::world::Instance;

/// How many bytes of an agent's output are kept. The rest is read and dropped.
const LOG_LIMIT: usize = 1 << 20;

/// The variable that the user data of an instance has if and only if it runs a host agent.
const AGENT_TOKEN: &[u8] = b"SCALING_AGENT_TOKEN";

/// The programs of the agents, and where their files go.
#[derive(Clone, Debug)]
pub struct AgentLauncher {
    /// The host agent's program.
    pub binary: PathBuf,
    /// The program for instances whose user data has no agent token; `binary` if absent.
    pub replica_binary: Option<PathBuf>,
    /// The directory of user data and logs. Their names start with the instance's id.
    pub dir: PathBuf,
}

impl AgentLauncher {
    /// Writes the user data and starts the process.
    pub(super) fn spawn(&self, instance: &Instance, settings: &AgentSettings) -> io::Result<Child> {
        fs::create_dir_all(&self.dir)?;
        let user_data_file = self.user_data_file(&instance.id);
        // Readable by the owner only, because it has the agent's token.
        let mut user_data = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&user_data_file)?;
        user_data.write_all(user_data_of(instance))?;
        let log = File::create(self.log_file(&instance.id))?;
        let (output, input) = io::pipe()?;

        let mut command = Command::new(self.binary_for(instance));
        command
            .env_clear()
            .env("INSTANCE_ID", &instance.id)
            .env("INSTANCE_IP", instance.public_ip.to_string())
            .env("INSTANCE_PRIVATE_IP", instance.private_ip.to_string())
            .env("USER_DATA_FILE", &user_data_file)
            .env("AGENT_BOOT_MS", settings.boot_ms.to_string())
            .env("AGENT_CONNECT_MS", settings.connect_ms.to_string())
            .env("AGENT_SESSION_MS", settings.session_ms.to_string())
            .env("AGENT_HEARTBEAT_MS", settings.heartbeat_ms.to_string())
            .env("AGENT_POLL_MS", settings.poll_ms.to_string())
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(input.try_clone()?)
            .stderr(input)
            .kill_on_drop(true);
        if let Some(max) = settings.session_max_ms {
            command.env("AGENT_SESSION_MAX_MS", max.to_string());
        }
        kill_with_this_process(&mut command);
        let child = command.spawn()?;
        let output = pipe::Receiver::from_owned_fd(output.into())?;
        tokio::spawn(write_log(output, log, instance.id.clone()));
        Ok(child)
    }

    pub(super) fn user_data_file(&self, instance_id: &str) -> PathBuf {
        self.dir.join(format!("{instance_id}.user-data"))
    }

    pub(super) fn log_file(&self, instance_id: &str) -> PathBuf {
        self.dir.join(format!("{instance_id}.log"))
    }

    fn binary_for(&self, instance: &Instance) -> &Path {
        let mut windows = user_data_of(instance).windows(AGENT_TOKEN.len());
        match &self.replica_binary {
            Some(replica) if !windows.any(|window| window == AGENT_TOKEN) => replica,
            _ => &self.binary,
        }
    }
}

fn user_data_of(instance: &Instance) -> &[u8] {
    instance.spec.user_data.as_deref().unwrap_or_default()
}

/// Makes the kernel kill the child when this process ends, even by SIGKILL.
fn kill_with_this_process(command: &mut Command) {
    let parent = Pid::this();
    let before_exec = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // If the parent ended before the line above, the kernel will not send the signal.
        if getppid() == parent {
            Ok(())
        } else {
            Err(io::Error::other("the emulator has ended"))
        }
    };
    #[expect(
        unsafe_code,
        reason = "there is no safe way to run code between fork and exec"
    )]
    // SAFETY: the closure makes two system calls, both safe in a signal handler, and allocates
    // nothing unless the child is about to fail.
    unsafe {
        command.pre_exec(before_exec);
    }
}

async fn write_log(mut output: pipe::Receiver, mut log: File, instance_id: String) {
    let mut remaining = LOG_LIMIT;
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        let kept = count.min(remaining);
        remaining -= kept;
        if let Err(error) = log.write_all(&buffer[..kept]) {
            tracing::warn!(instance = instance_id, %error, "agent log write failed");
            return;
        }
    }
}
