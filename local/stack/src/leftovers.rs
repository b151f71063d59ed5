//! Finds and ends the processes that a crashed run of the same stack left behind.
//!
//! Two things identify them: the records in the stack's folder ([`crate::proc_table`]), and the
//! variable [`STACK_DIR_VARIABLE`] in their environment. No other process is touched.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use crate::proc_table::{is_running, kill_group, processes, read_record, wait_until};

/// The variable with the stack's folder in the environment of every process of a stack.
pub const STACK_DIR_VARIABLE: &str = "LOCAL_STACK_DIR";

/// Ends the processes that the files in `records` name, and those whose environment names `dir`.
/// Returns how many there were.
pub(crate) fn end(records: &Path, dir: &Path) -> usize {
    let recorded: Vec<Pid> = fs::read_dir(records)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| read_record(&entry.path()))
        .collect();
    for pid in &recorded {
        let _ = kill(*pid, Signal::SIGTERM);
    }
    wait_until(|| !recorded.iter().any(|pid| is_running(*pid)));
    for pid in recorded.iter().filter(|pid| is_running(**pid)) {
        kill_group(*pid);
    }
    recorded.len() + kill_processes_of(dir)
}

/// Kills every process but this one whose environment names `dir`. Returns how many there were.
fn kill_processes_of(dir: &Path) -> usize {
    let variable = [
        STACK_DIR_VARIABLE.as_bytes(),
        b"=",
        dir.as_os_str().as_bytes(),
    ]
    .concat();
    let found: Vec<Pid> = processes()
        .filter(|pid| *pid != getpid())
        .filter(|pid| {
            // The environment of another user's process cannot be read; it is not the stack's.
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
                environ
                    .split(|byte| *byte == 0)
                    .any(|entry| entry == variable)
            })
        })
        .collect();
    for pid in &found {
        let _ = kill(*pid, Signal::SIGKILL);
    }
    wait_until(|| !found.iter().any(|pid| is_running(*pid)));
    found.len()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::proc_table::write_record;

    #[test]
    fn end_stops_recorded_and_marked_processes_only() {
        let dir = tempfile::tempdir().unwrap();
        let records = dir.path().join("run");
        fs::create_dir(&records).unwrap();
        let sleep = |stack_dir: &Path| {
            Command::new("/bin/sleep")
                .arg("600")
                .env(STACK_DIR_VARIABLE, stack_dir)
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        };
        let pid = |child: &std::process::Child| Pid::from_raw(child.id().try_into().unwrap());

        let mut recorded = sleep(Path::new("/elsewhere"));
        write_record(&records.join("recorded"), pid(&recorded)).unwrap();
        let mut marked = sleep(dir.path());
        // A reused id: the record has another start time.
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
