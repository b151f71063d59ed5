//! A running child process: wait until it is ready, stop it, quote its log.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};

use super::spawn::Spawned;
use crate::proc_table;

/// How long a child may take to end after its stop signal, before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause between two readiness checks of a child.
const READY_POLL: Duration = Duration::from_millis(20);

/// How much of a log an error quotes.
const LOG_TAIL_BYTES: u64 = 2_000;

/// A running child. Dropping it stops the child.
pub struct Process {
    pub(super) name: String,
    pub(super) stop_signal: Signal,
    pub(super) log: PathBuf,
    /// The file that names this process to a later run of the stack.
    pub(super) record: PathBuf,
    pub(super) spawned: Spawned,
}

impl Process {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.spawned.pid.as_raw().unsigned_abs()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until `probe` returns true: until the program serves requests.
    ///
    /// # Errors
    /// When the program ends, or is not ready `within` the time. Both errors quote its log.
    pub async fn ready(
        &self,
        within: Duration,
        mut probe: impl AsyncFnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        while !probe().await {
            if let Some(status) = *self.spawned.exit.borrow() {
                bail!(self.describe_end(Some(status)));
            }
            if Instant::now() > deadline {
                bail!(
                    "{} is not ready after {within:?}\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }

    /// Waits until the program has ended, for whatever reason. Returns a message with its exit
    /// status and the end of its log.
    pub async fn ended(&self) -> String {
        let mut exit = self.spawned.exit.clone();
        let status = exit
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|status| *status);
        self.describe_end(status)
    }

    /// Waits until the program has ended, and stops it when that takes longer than `within`.
    pub(super) async fn finish(&mut self, within: Duration) -> Result<()> {
        let mut exit = self.spawned.exit.clone();
        let ended = tokio::time::timeout(within, exit.wait_for(Option::is_some)).await;
        let status = match ended {
            Ok(status) => *status.context("the thread that waits for the program has panicked")?,
            Err(_) => {
                self.stop();
                bail!(
                    "{} took longer than {within:?}:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
        };
        match status {
            Some(status) if status.success() => Ok(()),
            status => bail!(self.describe_end(status)),
        }
    }

    /// Stops the program and kills what is left in its process group.
    pub fn stop(&mut self) {
        if self.spawned.exit.borrow().is_none() {
            // ESRCH means that the child has just ended by itself, which is as good.
            let _ = kill(self.spawned.pid, self.stop_signal);
            let _ = self.spawned.ended.recv_timeout(STOP_TIMEOUT);
        }
        proc_table::kill_group(self.spawned.pid);
        let _ = fs::remove_file(&self.record);
    }

    /// The end of what the program printed, for messages.
    pub fn log_tail(&self) -> String {
        let tail = tail(&self.log).unwrap_or_default();
        format!("--- end of {}\n{}", self.log.display(), tail.trim_end())
    }

    fn describe_end(&self, status: Option<ExitStatus>) -> String {
        let ended = match status {
            Some(status) => format!("ended with {status}"),
            None => "ended".to_owned(),
        };
        format!("{}: {ended}\n{}", self.name, self.log_tail())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.spawned.pid)
            .finish_non_exhaustive()
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
