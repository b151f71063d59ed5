//! The function processes of this stack, and of nothing else, as `/proc` shows them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The pair through which a process hears of signals, and the way to Lambda.
const OWN_SOCKETS: usize = 3;

/// One function's process.
#[derive(Clone, Debug)]
pub(crate) struct Prey {
    pid: i32,
    /// In clock ticks since the machine started: a process id alone may be used again.
    started: u64,
    pub(crate) function: String,
    /// How often it has had the processor.
    turns: u64,
}

/// Where this stack's function processes come from.
#[derive(Clone, Debug)]
pub(crate) struct Herd {
    /// The local AWS: their parent, and their process group.
    aws: i32,
    /// The stack's folder, in which their programs are.
    folder: PathBuf,
    /// What the names of this stack's functions begin with.
    prefix: String,
}

impl Herd {
    pub(crate) fn of(stack: &local_stack::stack::Stack) -> Self {
        Self {
            aws: i32::try_from(stack.ministack().process().pid()).unwrap(),
            folder: stack.dir().path().to_owned(),
            prefix: format!("{}-", stack.env().stack_name),
        }
    }

    /// Those that live now.
    pub(crate) fn living(&self) -> Vec<Prey> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| self.prey(pid)).collect()
    }

    fn prey(&self, pid: i32) -> Option<Prey> {
        let started = self.is_ours(pid)?;
        let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let name = environ
            .split(|byte| *byte == 0)
            .find_map(|entry| entry.strip_prefix(b"AWS_LAMBDA_FUNCTION_NAME="))?;
        let name = std::str::from_utf8(name).ok()?;
        Some(Prey {
            pid,
            started,
            function: name.strip_prefix(&self.prefix)?.to_owned(),
            turns: turns(pid)?,
        })
    }

    /// When it started, if it is a function's process of this stack.
    fn is_ours(&self, pid: i32) -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name: state, parent, group, …; the start is field 22 of the line.
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

    /// False if it was gone before.
    pub(crate) fn signal(&self, prey: &Prey, signal: Signal) -> bool {
        self.is_ours(prey.pid) == Some(prey.started)
            && kill(Pid::from_raw(prey.pid), signal).is_ok()
    }
}

impl Prey {
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }

    /// It, if it has worked since this was last asked: one that waits for an invocation does not
    /// have the processor at all.
    pub(crate) fn has_worked(&mut self) -> Option<Self> {
        let before = self.turns;
        self.turns = turns(self.pid).unwrap_or(before);
        (self.turns != before).then(|| self.clone())
    }

    /// Whether it has begun its first invocation: only then does it talk to anybody but Lambda.
    /// The local AWS takes it amiss if one is killed before, and ends all others of the function.
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

/// How often the first thread, in which all work is done, was given the processor: the third
/// number of its `schedstat`.
fn turns(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    stat.split_ascii_whitespace().nth(2)?.parse().ok()
}
