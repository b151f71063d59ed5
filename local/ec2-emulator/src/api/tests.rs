//! EC2's behaviour, tested action by action through the router.

mod addresses;
mod call_faults;
mod filters;
mod instance_faults;
mod instance_types;
mod launch;
mod launch_failures;
mod listing;
mod offers;
mod protocol;
mod regions;
mod spot;
mod terminate;
mod tokens;
