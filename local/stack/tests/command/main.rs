//! The commands `up` and `demo` as a person uses them: they start, are killed, start again, and
//! leave nothing behind after Ctrl-C.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod demo;
mod up;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use local_stack::leftovers::STACK_DIR_VARIABLE;
use local_stack::options::StackChoice;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running `local-stack` command.
struct RunningCommand {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl RunningCommand {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_local-stack"))
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Reads the output up to a line with `text`. Panics with the whole output if there is none.
    fn wait_for(&mut self, text: &str) {
        let mut seen = String::new();
        while !seen.contains(text) {
            let read = self.output.read_line(&mut seen).unwrap();
            assert!(read > 0, "{text:?} was not printed; the output is:\n{seen}");
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }
}

/// The names of the processes that belong to the stack in `dir`.
fn processes_of(dir: &Path) -> Vec<String> {
    let variable = format!("{STACK_DIR_VARIABLE}={}", dir.display());
    let mut names = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let environ = fs::read(process.path().join("environ")).unwrap_or_default();
        if environ
            .split(|byte| *byte == 0)
            .any(|entry| entry == variable.as_bytes())
        {
            names.push(fs::read_to_string(process.path().join("comm")).unwrap_or_default());
        }
    }
    names
}

/// A stopped stack leaves no process and no data.
fn assert_nothing_left(stack: &StackChoice) {
    assert_eq!(processes_of(&stack.dir()), Vec::<String>::new());
    assert!(!stack.env_path().exists());
    let mut left: Vec<_> = fs::read_dir(stack.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort_unstable();
    assert_eq!(left, ["keys", "lock", "logs"]);
}
