//! `local-stack up`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use local_stack::env_file::StackEnv;
use local_stack::options::StackChoice;
use nix::sys::signal::Signal;

use crate::{RunningCommand, assert_nothing_left, processes_of};

/// Starts `up` without instances to wait for. Other tests cover those.
fn start(stack: &StackChoice) -> RunningCommand {
    RunningCommand::start(&[
        "up",
        "--target-free",
        "0",
        "--schedule",
        "off",
        "--name",
        &stack.name,
    ])
}

/// Nobody else may read what has a secret: the env file, and the folders of components.
fn assert_private(folder: &Path) {
    let mut checked = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mode = entry.metadata().unwrap().permissions().mode();
        // The lock has the id of a process.
        assert!(name == "lock" || mode & 0o077 == 0, "{name}: {mode:o}");
        checked.insert(name);
    }
    assert!(checked.contains("env") && checked.contains("postgres-passwords"));
}

#[test]
fn up_starts_again_after_a_crash_and_leaves_nothing_behind() {
    let stack = StackChoice::named("up-test");

    let mut crashed = start(&stack);
    crashed.wait_for("Ctrl-C stops everything");
    let before = StackEnv::read(&stack.env_path()).unwrap();
    crashed.signal(Signal::SIGKILL);
    crashed.child.wait().unwrap();

    let mut second = start(&stack);
    second.wait_for("forward EC2 events from eu-west-1, us-west-1, us-west-2");
    second.wait_for("Ctrl-C stops everything");
    let after = StackEnv::read(&stack.env_path()).unwrap();
    assert_ne!(before.hasura_admin_secret, after.hasura_admin_secret);
    assert!(!processes_of(&stack.dir()).is_empty());
    assert_private(&stack.dir());

    second.signal(Signal::SIGINT);
    second.wait_for("no process is left running");
    assert!(second.child.wait().unwrap().success());
    assert_nothing_left(&stack);
}
