//! The semantics of EC2, action by action, through the router.

mod launching;
mod listing;
mod protocol;
mod terminating;
mod tokens;
