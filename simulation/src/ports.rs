//! The ports of a simulated process: each call waits at a yield point before its effect, and at
//! another one after it. A method that is added to a port has to be added here, or nothing
//! compiles.

mod database;
mod ec2;
mod intercept;
mod outside;
mod table;

pub use intercept::{CallContext, Intercepted};
pub use outside::SkewedClock;
