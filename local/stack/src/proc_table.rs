//! The machine's processes as `/proc` shows them, and the records that identify a stack's children
//! to a later run.
//!
//! A process id alone identifies nothing, because ids are reused. A record therefore also holds
//! when the process started.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long to wait for processes to end after a signal.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two checks of whether they have ended.
const END_POLL: Duration = Duration::from_millis(20);

/// Writes the id of a process and its start time to `record`.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_record(record: &Path, pid: Pid) -> Result<()> {
    // A child that has already ended needs no start time: no process will match 0.
    let started = Stat::of(pid).map_or(0, |stat| stat.started);
    fs::write(record, format!("{pid} {started}\n"))
        .with_context(|| format!("write {}", record.display()))
}

/// The process that `record` names, if that very process still runs.
pub(crate) fn read_record(record: &Path) -> Option<Pid> {
    let content = fs::read_to_string(record).ok()?;
    let (pid, started) = content.trim().split_once(' ')?;
    let pid = Pid::from_raw(pid.parse().ok()?);
    let stat = Stat::of(pid)?;
    (stat.started == started.parse::<u64>().ok()? && stat.is_running()).then_some(pid)
}

/// Kills the process group of `leader`, and waits until all its processes have ended.
pub(crate) fn kill_group(leader: Pid) {
    let _ = killpg(leader, Signal::SIGKILL);
    wait_until(|| {
        !processes()
            .filter_map(Stat::of)
            .any(|stat| stat.group == leader && stat.is_running())
    });
}

/// Polls, because these processes need not be children of this one, which could be waited for.
pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + END_TIMEOUT;
    while !condition() && Instant::now() < deadline {
        std::thread::sleep(END_POLL);
    }
}

/// Whether the process exists and is not a zombie.
pub(crate) fn is_running(pid: Pid) -> bool {
    Stat::of(pid).is_some_and(|stat| stat.is_running())
}

/// The ids of all processes of the machine.
pub(crate) fn processes() -> impl Iterator<Item = Pid> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
}

/// The needed fields of `/proc/PID/stat`; see proc_pid_stat(5).
struct Stat {
    state: char,
    group: Pid,
    /// In clock ticks after the machine started.
    started: u64,
}

impl Stat {
    fn of(pid: Pid) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may itself contain spaces
        // and parentheses.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        // The state is field 3 of the line, the group 5, the start 22.
        let group = Pid::from_raw(fields.nth(1)?.parse().ok()?);
        let started = fields.nth(16)?.parse().ok()?;
        Some(Self {
            state,
            group,
            started,
        })
    }

    fn is_running(&self) -> bool {
        self.state != 'Z'
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_name_with_parentheses_is_parsed() {
        let line = "7 (a) b (c) S 1 8 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 2";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            (stat.state, stat.group, stat.started),
            ('S', Pid::from_raw(8), 12345)
        );
    }
}
