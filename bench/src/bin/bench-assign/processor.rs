//! The time that processes have spent on a processor.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Of all threads of all of them, so far.
pub(crate) fn time(processes: &[u32]) -> Result<Duration> {
    let mut nanos = 0;
    for process in processes {
        let tasks = format!("/proc/{process}/task");
        for task in fs::read_dir(&tasks).with_context(|| format!("read {tasks}"))? {
            // A thread may have ended since it was listed.
            let schedstat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            // "time running in ns, time waiting in ns, time slices"
            let running = schedstat.split_whitespace().next().unwrap_or("0");
            nanos += running.parse::<u64>().context("parse schedstat")?;
        }
    }
    Ok(Duration::from_nanos(nanos))
}
