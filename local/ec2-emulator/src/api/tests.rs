//! The semantics of EC2, action by action, through the router.

mod addresses;
mod call_faults;
mod instance_faults;
mod launching;
mod listing;
mod protocol;
mod spot;
mod terminating;
mod tokens;
