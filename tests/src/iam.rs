//! What the deployed functions may do at AWS, and what they asked it for.
//!
//! The local AWS enforces the roles' policies for its own services, and records each call. The EC2
//! emulator enforces nothing, but has the calls in its ledger. So the policies are read from the local
//! AWS, as they were deployed, and evaluated here for the calls of both.

pub mod calls;
pub mod ec2;
pub mod policy;
pub mod roles;
