//! `local-stack up`.

use local_stack::env_file::StackEnv;
use local_stack::options::StackChoice;
use nix::sys::signal::Signal;

use crate::{Running, leaves_nothing, marked};

/// Without an instance to wait for: other tests watch those.
fn start(stack: &StackChoice) -> Running {
    Running::start(&[
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
fn starts_again_after_a_crash_and_leaves_nothing_behind() {
    let stack = StackChoice::named("up-test");

    let mut crashed = start(&stack);
    crashed.printed("Ctrl-C ends everything");
    let before = StackEnv::read(&stack.env_path()).unwrap();
    crashed.signal(Signal::SIGKILL);
    crashed.child.wait().unwrap();

    let mut second = start(&stack);
    second.printed("EC2 events forwarded from eu-west-1, us-west-1, us-west-2");
    second.printed("Ctrl-C ends everything");
    let after = StackEnv::read(&stack.env_path()).unwrap();
    assert_ne!(before.hasura_admin_secret, after.hasura_admin_secret);
    assert!(!marked(&stack.dir()).is_empty());

    second.signal(Signal::SIGINT);
    second.printed("nothing is left running");
    assert!(second.child.wait().unwrap().success());
    leaves_nothing(&stack);
}
