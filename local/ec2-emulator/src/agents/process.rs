//! The process of one agent: its environment, its log, and that it never outlives this one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::AgentLauncher;
use crate::settings::AgentSettings;
use crate::world::Instance;

/// How much of what an agent says is kept; the rest is read and dropped.
const LOG_LIMIT: usize = 1 << 20;

/// Starts the agent of an instance.
pub(super) fn spawn(
    launcher: &AgentLauncher,
    instance: &Instance,
    settings: &AgentSettings,
) -> io::Result<Child> {
    fs::create_dir_all(&launcher.dir)?;
    let user_data_file = launcher.user_data_file(&instance.id);
    // It holds the agent's token.
    let mut user_data = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&user_data_file)?;
    user_data.write_all(AgentLauncher::user_data(instance))?;
    let log = File::create(launcher.log_file(&instance.id))?;
    let (output, input) = io::pipe()?;

    let mut command = Command::new(launcher.binary(instance));
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
        .current_dir(&launcher.dir)
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .kill_on_drop(true);
    if let Some(max) = settings.session_max_ms {
        command.env("AGENT_SESSION_MAX_MS", max.to_string());
    }
    die_with_this_process(&mut command);
    let child = command.spawn()?;
    tokio::spawn(keep_log(pipe::Receiver::from_owned_fd(output.into())?, log));
    Ok(child)
}

/// Has the kernel kill the child when this process ends, however it ends.
fn die_with_this_process(command: &mut Command) {
    let parent = Pid::this();
    let before_exec = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // It may have ended before the line above: then nobody will send the signal.
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

async fn keep_log(mut output: pipe::Receiver, mut log: File) {
    let mut room = LOG_LIMIT;
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        let kept = count.min(room);
        room -= kept;
        if let Err(error) = log.write_all(&buffer[..kept]) {
            tracing::warn!(%error, "write an agent's log");
            return;
        }
    }
}
