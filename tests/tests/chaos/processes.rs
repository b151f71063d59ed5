//! The function processes of this stack only, as `/proc` shows them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The pair of sockets through which a process receives signals, and the connection to Lambda.
const OWN_SOCKETS: usize = 3;

/// One function process.
#[derive(Clone, Debug)]
pub(crate) struct FunctionProcess {
    pid: i32,
    /// In clock ticks since the machine started: a process id alone may be reused.
    started: u64,
    pub(crate) function: String,
    /// How often it has had the processor.
    turns: u64,
}

/// The origin of this stack's function processes.
#[derive(Clone, Debug)]
pub(crate) struct FunctionProcesses {
    /// The local AWS: their parent and their process group.
    aws: i32,
    /// The stack's folder, which contains their programs.
    folder: PathBuf,
    /// The prefix of the names of this stack's functions.
    prefix: String,
}

impl FunctionProcesses {
    pub(crate) fn of(stack: &local_stack::stack::Stack) -> Self {
        Self {
            aws: i32::try_from(stack.ministack().process().pid()).unwrap(),
            folder: stack.dir().path().to_owned(),
            prefix: format!("{}-", stack.env().stack_name),
        }
    }

    /// The processes that live now.
    pub(crate) fn living(&self) -> Vec<FunctionProcess> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| self.process(pid)).collect()
    }

    fn process(&self, pid: i32) -> Option<FunctionProcess> {
        let started = self.is_ours(pid)?;
        let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let name = environ
            .split(|byte| *byte == 0)
            .find_map(|entry| entry.strip_prefix(b"AWS_LAMBDA_FUNCTION_NAME="))?;
        let name = std::str::from_utf8(name).ok()?;
        Some(FunctionProcess {
            pid,
            started,
            function: name.strip_prefix(&self.prefix)?.to_owned(),
            turns: turns(pid)?,
        })
    }

    /// Its start, if it is a function process of this stack.
    fn is_ours(&self, pid: i32) -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name: state, parent, group, …; the start is field 22 of the line.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field)?.parse::<i64>().ok();
        let aws = i64::from(self.aws);
        if fields.first() == Some(&"Z") || number(1) != Some(aws) || number(2) != Some(aws) {
            return None;
        }
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let is_function = program.starts_with(&self.folder)
            && program.file_name() == Some(Path::new("bootstrap").as_os_str());
        is_function.then(|| fields.get(19)?.parse().ok()).flatten()
    }

    /// False if the process was gone before.
    pub(crate) fn signal(&self, process: &FunctionProcess, signal: Signal) -> bool {
        self.is_ours(process.pid) == Some(process.started)
            && kill(Pid::from_raw(process.pid), signal).is_ok()
    }
}

impl FunctionProcess {
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }

    /// Returns the process if it has worked since the last call: one that waits for an invocation
    /// does not use the processor at all.
    pub(crate) fn has_worked(&mut self) -> Option<Self> {
        let before = self.turns;
        self.turns = turns(self.pid).unwrap_or(before);
        (self.turns != before).then(|| self.clone())
    }

    /// Whether it has begun its first invocation: only then does it connect to anything but Lambda.
    /// The local AWS ends all processes of a function if one is killed before.
    pub(crate) fn has_started(&self) -> bool {
        let files = fs::read_dir(format!("/proc/{}/fd", self.pid));
        let files = files.into_iter().flatten().flatten();
        let files = files.filter_map(|file| fs::read_link(file.path()).ok());
        let is_socket =
            |file: &PathBuf| file.as_os_str().as_encoded_bytes().starts_with(b"socket:");
        let sockets: BTreeSet<_> = files.filter(is_socket).collect();
        sockets.len() > OWN_SOCKETS
    }
}

/// How often the first thread, which does all the work, has had the processor: the third number of
/// its `schedstat`.
fn turns(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    stat.split_ascii_whitespace().nth(2)?.parse().ok()
}
