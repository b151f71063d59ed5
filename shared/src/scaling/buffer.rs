//! The buffer: each image that is kept ready has enough free slots, and not a whole instance more.
//!
//! [`fill()`] launches what is missing; [`shrink()`] drains what is surplus, retired or expiring.

mod fill;
mod shrink;

pub(super) use fill::fill;
pub(super) use shrink::shrink;
