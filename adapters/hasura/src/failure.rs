//! A request that failed, and what another attempt could change.

use shared::db::DbError;

/// How far the request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It may not have been carried out: no answer, or one that says that PostgreSQL or Hasura are
    /// in trouble just now.
    Lost,
    /// Hasura or PostgreSQL refused it, and would refuse it again.
    Settled,
}

/// A failed attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: DbError,
    pub(crate) reach: Reach,
    /// What the log has beside the error: the beginning of an answer that is not Hasura's.
    pub(crate) body: Option<String>,
}

impl Failure {
    /// There is no usable answer.
    pub(crate) fn lost(operation: &'static str, reason: String) -> Self {
        Self {
            error: DbError::Unavailable { operation, reason },
            reach: Reach::Lost,
            body: None,
        }
    }

    pub(crate) fn with_body(mut self, body: String) -> Self {
        self.body = (!body.is_empty()).then_some(body);
        self
    }

    pub(crate) fn refused(operation: &'static str, code: String, message: String) -> Self {
        Self {
            error: DbError::Refused {
                operation,
                code,
                message,
            },
            reach: Reach::Settled,
            body: None,
        }
    }

    /// Logs the body, if there is one, and returns the error, which the caller logs.
    pub(crate) fn log(self, operation: &'static str) -> DbError {
        if let Some(body) = self.body {
            tracing::warn!(operation, body, error = %self.error, "unusable answer of Hasura");
        }
        self.error
    }
}
