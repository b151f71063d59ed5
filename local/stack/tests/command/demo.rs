//! `local-stack demo`.

use std::process::Command;

use local_stack::options::StackChoice;
use nix::sys::signal::Signal;

use crate::{RunningCommand, assert_nothing_left, processes_of};

#[test]
fn ctrl_c_during_the_day_stops_everything() {
    let stack = StackChoice::named("demo-stopped");
    // With --leave, the command ends with the day even if an expected line is never printed.
    let mut demo =
        RunningCommand::start(&["demo", "--minutes", "2", "--leave", "--name", &stack.name]);
    demo.wait_for("token:");
    // By now there are users, passes, and an instance that is about to be terminated.
    demo.wait_for("EC2 warns");
    assert!(!processes_of(&stack.dir()).is_empty());

    demo.signal(Signal::SIGINT);
    demo.wait_for("no process is left running");
    assert!(demo.child.wait().unwrap().success());
    assert_nothing_left(&stack);
}

#[test]
fn invalid_option_is_rejected_by_name() {
    for wrong in [
        ["--minutes", "0"],
        ["--minutes", "soon"],
        ["--users", "19"],
        ["--seed", "monday"],
        ["--name", "../elsewhere"],
    ] {
        let rejected = Command::new(env!("CARGO_BIN_EXE_local-stack"))
            .arg("demo")
            .args(wrong)
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&rejected.stderr);
        assert_eq!(rejected.status.code(), Some(2), "{message}");
        assert!(message.contains(wrong[0]), "{message}");
    }
}
