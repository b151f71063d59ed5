//! Starts a child that the kernel signals when this process dies.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getpid, getppid};
use tokio::sync::watch;

/// A child that was started, and two ways to learn that it has ended.
pub(super) struct Spawned {
    pub(super) pid: Pid,
    /// `None` while the child runs. For asynchronous code.
    pub(super) exit: watch::Receiver<Option<ExitStatus>>,
    /// Nothing is ever sent: the channel closes when the child has ended. For blocking code, such
    /// as a drop.
    pub(super) ended: mpsc::Receiver<()>,
}

/// Starts `command` from a thread that lives until the child has ended.
///
/// The signal of [`prepare_child`] is sent when the *thread* that spawned the child ends.
/// The thread of a test or of a runtime may end long before its process does.
///
/// # Errors
/// When the thread or the program cannot be started.
pub(super) fn spawn(mut command: Command) -> Result<Spawned> {
    let (started_tx, started_rx) = mpsc::channel::<std::io::Result<u32>>();
    let (exit_tx, exit) = watch::channel(None);
    let (ended_tx, ended) = mpsc::channel::<()>();
    std::thread::Builder::new()
        .name("child".to_owned())
        .spawn(move || {
            let _ended_tx = ended_tx;
            let child = command.spawn();
            // The command holds the log open, which only the child needs.
            drop(command);
            match child {
                Ok(mut child) => {
                    let _ = started_tx.send(Ok(child.id()));
                    exit_tx.send_replace(Some(wait(&mut child)));
                }
                Err(error) => {
                    let _ = started_tx.send(Err(error));
                }
            }
        })?;
    let pid = started_rx
        .recv()
        .context("the thread that starts the program has panicked")??;
    Ok(Spawned {
        pid: Pid::from_raw(i32::try_from(pid)?),
        exit,
        ended,
    })
}

/// `Child::wait` fails only for a child that somebody else has waited for; it has ended then.
fn wait(child: &mut Child) -> ExitStatus {
    child.wait().unwrap_or_default()
}

/// Makes the kernel send `signal` to the child when this process dies, however it dies. The files that
/// the child creates are private: they have users' tokens and the functions' secrets.
#[allow(unsafe_code)]
pub(super) fn prepare_child(command: &mut Command, signal: Signal) {
    let parent = getpid();
    let in_child = move || {
        umask(Mode::S_IRWXG | Mode::S_IRWXO);
        nix::sys::prctl::set_pdeathsig(signal)?;
        if getppid() != parent {
            return Err(std::io::Error::other(
                "the parent died before its child was ready",
            ));
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe functions may
    // be called: umask, prctl and getppid are plain system calls, and memory is allocated only for the
    // error that ends the child.
    unsafe {
        command.pre_exec(in_child);
    }
}
