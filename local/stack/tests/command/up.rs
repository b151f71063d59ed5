//! `local-stack up`.

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

    second.signal(Signal::SIGINT);
    second.wait_for("no process is left running");
    assert!(second.child.wait().unwrap().success());
    assert_nothing_left(&stack);
}
