//! DynamoDB's errors as the lock's.

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;

use shared::lock::LockError;

pub(super) fn unavailable<E, R>(operation: &'static str, error: &SdkError<E, R>) -> LockError
where
    E: std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    LockError::Unavailable {
        operation,
        reason: DisplayErrorContext(error).to_string(),
    }
}

pub(super) fn is_failed_condition<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    code(error) == Some("ConditionalCheckFailedException")
}

/// A transaction was touching the item.
pub(super) fn is_conflict<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    code(error) == Some("TransactionConflictException")
}

fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
}

/// Why a transaction was cancelled.
pub(super) enum Cancelled {
    /// Its first item, the check of the lock, failed.
    LockLost,
    /// Somebody wrote to one of its items at the same moment.
    Conflict,
    Other,
}

pub(super) fn why_cancelled<R>(error: &SdkError<TransactWriteItemsError, R>) -> Cancelled {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
        error.as_service_error()
    else {
        return Cancelled::Other;
    };
    let codes: Vec<_> = cancelled
        .cancellation_reasons()
        .iter()
        .map(|reason| reason.code().unwrap_or(""))
        .collect();
    if codes.first() == Some(&"ConditionalCheckFailed") {
        Cancelled::LockLost
    } else if codes.contains(&"TransactionConflict") {
        Cancelled::Conflict
    } else {
        Cancelled::Other
    }
}
