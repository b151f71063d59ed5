//! What the SDK may not ask again by itself.

use aws_sdk_ec2::config::interceptors::InterceptorContext;
use aws_sdk_ec2::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::operation::run_instances::RunInstancesError;

use crate::error_codes::classify;
use shared::host::HostErrorKind;

/// EC2 says "insufficient capacity" with status 500, which the SDK takes for a fault that will
/// pass. Asking again at once only costs requests: the next launch choice is what may help.
#[derive(Debug)]
pub(super) struct CapacityIsAnAnswer;

impl ClassifyRetry for CapacityIsAnAnswer {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let code = context
            .output_or_error()
            .and_then(|answer| answer.err())
            .and_then(|error| error.as_operation_error())
            .and_then(|error| error.downcast_ref::<RunInstancesError>())
            .and_then(|error| error.code());
        match code {
            Some(code) if classify(code, false) == HostErrorKind::Capacity => {
                RetryAction::RetryForbidden
            }
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "capacity is an answer"
    }
}
