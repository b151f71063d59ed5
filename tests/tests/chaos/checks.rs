//! The invariants that need what only this test knows: the pauses of holders, and the whole
//! DynamoDB table. The others are in `testing::invariants`.

pub(crate) mod live;
pub(crate) mod stores;
