//! Child processes that never outlive the stack.
//!
//! Each child leads a process group of its own, so that a Ctrl-C in the terminal reaches only
//! `local-stack`, which then stops its children in order. Three mechanisms clean up after a crash:
//!
//! - the kernel signals a child when its parent dies (`spawn`);
//! - a record in the stack's folder names each child (`crate::proc_table`);
//! - a variable in the environment of each child names the stack (`crate::leftovers`).
//!
//! [`Program`] describes what to start, [`Process`] is what runs.

mod child;
mod program;
mod spawn;

pub use self::child::Process;
pub use self::program::Program;
