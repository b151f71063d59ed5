//! What always holds, asked of the evidence. Each check gives what is broken in words, nothing if
//! all is well; and each is shown by a test of its own to see what it is for.

pub(crate) mod launches;
pub(crate) mod live;
pub(crate) mod removals;
pub(crate) mod slots;
pub(crate) mod stores;

#[cfg(test)]
pub(crate) mod examples;
