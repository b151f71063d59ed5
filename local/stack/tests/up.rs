//! `local-stack up` as a person uses it: it starts, it is killed, it starts again,
//! and Ctrl-C leaves nothing behind.

// Helpers of tests may unwrap as tests may; clippy knows that of tests alone.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use local_stack::env_file::StackEnv;
use local_stack::options::StackChoice;
use local_stack::process::MARK;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

struct Up {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Up {
    /// Without an instance to wait for: other tests watch those.
    fn start(stack: &StackChoice) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_local-stack"))
            .args([
                "up",
                "--target-free",
                "0",
                "--schedule",
                "off",
                "--name",
                &stack.name,
            ])
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

#[test]
fn starts_again_after_a_crash_and_leaves_nothing_behind() {
    let stack = StackChoice::named("up-test");

    let mut crashed = Up::start(&stack);
    crashed.printed("Ctrl-C ends everything");
    let before = StackEnv::read(&stack.env_path()).unwrap();
    crashed.signal(Signal::SIGKILL);
    crashed.child.wait().unwrap();

    let mut second = Up::start(&stack);
    second.printed("EC2 events forwarded from eu-west-1, us-west-1, us-west-2");
    second.printed("Ctrl-C ends everything");
    let after = StackEnv::read(&stack.env_path()).unwrap();
    assert_ne!(before.hasura_admin_secret, after.hasura_admin_secret);
    assert!(!marked(&stack.dir()).is_empty());

    second.signal(Signal::SIGINT);
    second.printed("nothing is left running");
    assert!(second.child.wait().unwrap().success());
    assert_eq!(marked(&stack.dir()), Vec::<String>::new());
    assert!(!stack.env_path().exists());
    let mut left: Vec<_> = fs::read_dir(stack.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort_unstable();
    assert_eq!(left, ["keys", "lock", "logs"]);
}
