//! EC2's behaviour, tested action by action through the router.

mod addresses;
mod call_faults;
mod instance_faults;
mod launch;
mod listing;
mod protocol;
mod spot;
mod terminate;
mod tokens;
