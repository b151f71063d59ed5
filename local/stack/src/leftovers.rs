//! Finds and ends what a crashed run of the same stack left behind, and nothing else.
//!
//! A process id alone proves nothing, since ids are used again. A record also
//! holds when the process started, and the mark in a process's environment
//! names the stack's folder; only what matches is ended.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid};

use crate::process::MARK;

/// How long a leftover may take to end when asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Pause between two looks at whether they are gone.
const GONE_POLL: Duration = Duration::from_millis(20);

/// Notes which process is `pid`, so that a later run knows it again.
pub(crate) fn write_record(record: &Path, pid: Pid) -> Result<()> {
    // A child that ended already has nothing to be known again by.
    let started = Stat::of(pid).map_or(0, |stat| stat.started);
    fs::write(record, format!("{pid} {started}\n"))
        .with_context(|| format!("write {}", record.display()))
}

/// Ends what the records in `records` name and what carries the mark of the stack in `dir`.
/// Returns how many processes there were.
pub(crate) fn end(records: &Path, dir: &Path) -> usize {
    let recorded: Vec<Pid> = fs::read_dir(records)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| recorded(&entry.path()))
        .collect();
    for pid in &recorded {
        let _ = kill(*pid, Signal::SIGTERM);
    }
    wait_until(|| !recorded.iter().any(|pid| is_running(*pid)));
    for pid in recorded.iter().filter(|pid| is_running(**pid)) {
        kill_group(*pid);
    }
    let marked = end_marked(dir);
    recorded.len() + marked
}

/// Kills every process that carries the mark of the stack in `dir`, but this one.
fn end_marked(dir: &Path) -> usize {
    let mark = [MARK.as_bytes(), b"=", dir.as_os_str().as_bytes()].concat();
    let marked: Vec<Pid> = processes()
        .filter(|pid| *pid != getpid())
        .filter(|pid| {
            // Another user's process cannot be read, and cannot be ours either.
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == mark))
        })
        .collect();
    for pid in &marked {
        let _ = kill(*pid, Signal::SIGKILL);
    }
    wait_until(|| !marked.iter().any(|pid| is_running(*pid)));
    marked.len()
}

/// Kills the group that `leader` led, and waits until it is gone.
pub(crate) fn kill_group(leader: Pid) {
    let _ = killpg(leader, Signal::SIGKILL);
    wait_until(|| {
        !processes()
            .filter_map(Stat::of)
            .any(|stat| stat.group == leader && stat.runs())
    });
}

/// These are nobody's children here, so that there is nothing to wait on.
fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + GRACE;
    while !condition() && Instant::now() < deadline {
        std::thread::sleep(GONE_POLL);
    }
}

/// Whether there is such a process, and it is more than a zombie.
pub(crate) fn is_running(pid: Pid) -> bool {
    Stat::of(pid).is_some_and(|stat| stat.runs())
}

fn recorded(record: &Path) -> Option<Pid> {
    let content = fs::read_to_string(record).ok()?;
    let (pid, started) = content.trim().split_once(' ')?;
    let pid = Pid::from_raw(pid.parse().ok()?);
    let stat = Stat::of(pid)?;
    (stat.started == started.parse::<u64>().ok()? && stat.runs()).then_some(pid)
}

fn processes() -> impl Iterator<Item = Pid> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
}

/// The fields needed of `/proc/PID/stat`; see proc_pid_stat(5).
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
        // The second field is the program's name in parentheses, which may hold
        // spaces and parentheses itself.
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

    fn runs(&self) -> bool {
        self.state != 'Z'
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let line = "7 (a) b (c) S 1 8 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 2";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            (stat.state, stat.group, stat.started),
            ('S', Pid::from_raw(8), 12345)
        );
    }

    #[test]
    fn ends_what_is_recorded_or_marked_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let records = dir.path().join("run");
        fs::create_dir(&records).unwrap();
        let sleep = |mark: &Path| {
            Command::new("/bin/sleep")
                .arg("600")
                .env(MARK, mark)
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        };
        let pid = |child: &std::process::Child| Pid::from_raw(child.id().try_into().unwrap());

        let mut recorded = sleep(Path::new("/elsewhere"));
        write_record(&records.join("recorded"), pid(&recorded)).unwrap();
        let mut marked = sleep(dir.path());
        // An id that was used again: the record knows another start.
        let mut other = sleep(Path::new("/elsewhere"));
        fs::write(records.join("other"), format!("{} 1\n", other.id())).unwrap();

        assert_eq!(end(&records, dir.path()), 2);
        assert!(!recorded.wait().unwrap().success());
        assert!(!marked.wait().unwrap().success());
        assert!(is_running(pid(&other)));
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
