//! Which failed requests the SDK must not retry.

use aws_sdk_ec2::config::interceptors::InterceptorContext;
use aws_sdk_ec2::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::operation::run_instances::RunInstancesError;
use shared::host::HostErrorKind;

use crate::error_codes::classify;

/// Forbids retries of launches for lack of capacity. EC2 answers it with status 5xx, which the SDK
/// would retry. A retry at once only costs requests; the next launch choice may succeed.
#[derive(Debug)]
pub(super) struct NoRetryForCapacity;

impl ClassifyRetry for NoRetryForCapacity {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let code = context
            .output_or_error()
            .and_then(|answer| answer.err())
            .and_then(|error| error.as_operation_error())
            .and_then(|error| error.downcast_ref::<RunInstancesError>())
            .and_then(|error| error.code());
        match code {
            Some(code) => match classify(code, true) {
                HostErrorKind::Capacity | HostErrorKind::NotOffered => RetryAction::RetryForbidden,
                _ => RetryAction::NoActionIndicated,
            },
            None => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "no retry for capacity"
    }
}
