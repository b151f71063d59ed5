//! Database events on the local stack: captured with the change, and delivered by Hasura's rules,
//! also with injected faults.

mod capture;
mod crashes;
mod delivery;
mod delivery_rules;
mod faults;
mod webhook;
