//! DynamoDB's errors as errors of the ports.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use shared::lock::{Lease, LockError};

pub(crate) fn unavailable<E, R>(operation: &'static str, error: &SdkError<E, R>) -> LockError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    LockError::Unavailable {
        operation,
        reason: aws_settings::describe(error),
    }
}

/// The SDK could not build a request, because a field is missing.
pub(crate) fn incomplete_request(
    operation: &'static str,
    error: &dyn std::error::Error,
) -> LockError {
    LockError::Unavailable {
        operation,
        reason: error.to_string(),
    }
}

pub(crate) fn is_failed_condition<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    code(error) == Some("ConditionalCheckFailedException")
}

/// Whether a transaction was touching the item.
pub(crate) fn is_conflict<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    code(error) == Some("TransactionConflictException")
}

fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
}

/// Why a write of a lock's holder failed.
pub(crate) enum WriteError {
    LockLost,
    /// Another write touched the same item at the same moment. Nothing was written.
    Conflict(LockError),
    Other(LockError),
}

impl WriteError {
    /// The error of a single update whose condition is that the lock is held.
    pub(crate) fn of_update<E, R>(operation: &'static str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        if is_failed_condition(error) {
            Self::LockLost
        } else if is_conflict(error) {
            Self::Conflict(unavailable(operation, error))
        } else {
            Self::Other(unavailable(operation, error))
        }
    }

    /// The error of a transaction whose first item is the check of the lock.
    pub(crate) fn of_transaction<R>(
        operation: &'static str,
        error: &SdkError<TransactWriteItemsError, R>,
    ) -> Self
    where
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let other = unavailable(operation, error);
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        else {
            return Self::Other(other);
        };
        let codes: Vec<_> = cancelled
            .cancellation_reasons()
            .iter()
            .map(|reason| reason.code().unwrap_or(""))
            .collect();
        if codes.first() == Some(&"ConditionalCheckFailed") {
            Self::LockLost
        } else if codes.contains(&"TransactionConflict") {
            Self::Conflict(other)
        } else {
            Self::Other(other)
        }
    }

    pub(crate) fn under(self, lease: &Lease) -> LockError {
        match self {
            Self::LockLost => LockError::Lost {
                region: lease.region.clone(),
                version: lease.version,
            },
            Self::Conflict(error) | Self::Other(error) => error,
        }
    }
}
