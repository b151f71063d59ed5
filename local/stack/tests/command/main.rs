//! The commands as a person uses them: they start, are killed, start again, and Ctrl-C leaves
//! nothing behind.
// Helpers of tests may unwrap as tests may; clippy knows that of tests alone.
#![allow(clippy::unwrap_used)]

mod demo;
mod up;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use local_stack::options::StackChoice;
use local_stack::process::MARK;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A command that runs.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_local-stack"))
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Reads what is printed up to a line with `text`; the rest is in the panic if there is none.
    fn printed(&mut self, text: &str) {
        let mut seen = String::new();
        while !seen.contains(text) {
            let read = self.output.read_line(&mut seen).unwrap();
            assert!(read > 0, "{text:?} was not printed, but:\n{seen}");
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }
}

/// The names of the processes that carry the mark of the stack in `dir`.
fn marked(dir: &Path) -> Vec<String> {
    let mark = format!("{MARK}={}", dir.display());
    let mut names = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let environ = fs::read(process.path().join("environ")).unwrap_or_default();
        if environ
            .split(|byte| *byte == 0)
            .any(|entry| entry == mark.as_bytes())
        {
            names.push(fs::read_to_string(process.path().join("comm")).unwrap_or_default());
        }
    }
    names
}

/// What a stack that has ended leaves: nothing that runs, and no data.
fn leaves_nothing(stack: &StackChoice) {
    assert_eq!(marked(&stack.dir()), Vec::<String>::new());
    assert!(!stack.env_path().exists());
    let mut left: Vec<_> = fs::read_dir(stack.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort_unstable();
    assert_eq!(left, ["keys", "lock", "logs"]);
}
