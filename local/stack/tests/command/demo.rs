//! `local-stack demo`.

use std::process::Command;

use local_stack::options::StackChoice;
use nix::sys::signal::Signal;

use crate::{Running, leaves_nothing, marked};

#[test]
fn ctrl_c_in_the_middle_of_a_day_ends_everything() {
    let stack = StackChoice::named("demo-stopped");
    // If what is waited for never comes, the day ends all the same.
    let mut demo = Running::start(&["demo", "--minutes", "1", "--leave", "--name", &stack.name]);
    demo.printed("token:");
    // Users, passes, and a machine that is about to be taken.
    demo.printed("EC2 warns");
    assert!(!marked(&stack.dir()).is_empty());

    demo.signal(Signal::SIGINT);
    demo.printed("nothing is left running");
    assert!(demo.child.wait().unwrap().success());
    leaves_nothing(&stack);
}

#[test]
fn a_day_that_cannot_be_played_is_refused_by_name() {
    for wrong in [
        ["--minutes", "0"],
        ["--minutes", "soon"],
        ["--users", "19"],
        ["--seed", "monday"],
        ["--name", "../elsewhere"],
    ] {
        let refused = Command::new(env!("CARGO_BIN_EXE_local-stack"))
            .arg("demo")
            .args(wrong)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(wrong[0]), "{said}");
    }
}
