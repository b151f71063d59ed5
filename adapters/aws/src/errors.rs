//! What a failed call says. The SDK's own text ends with the Debug output of its types, which hides
//! the cause from whoever reads it.

use std::error::Error;

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// The service's code and message, or why there is no answer of the service.
pub fn describe<E, R>(error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata,
    SdkError<E, R>: Error,
{
    match error.as_service_error() {
        Some(service) => {
            let code = service.code().unwrap_or("no code");
            let message = service.message().unwrap_or("no message");
            format!("{message} ({code})")
        }
        None => with_causes(error),
    }
}

/// The error and its causes: the SDK's first text is only "dispatch failure".
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_types::error::ErrorMetadata;

    use super::*;

    #[test]
    fn error_of_the_service_has_its_code_and_message() {
        let denied = ErrorMetadata::builder()
            .code("AccessDeniedException")
            .message("User is not authorized to perform: dynamodb:GetItem")
            .build();
        let error: SdkError<ErrorMetadata, ()> = SdkError::service_error(denied, ());
        assert_eq!(
            describe(&error),
            "User is not authorized to perform: dynamodb:GetItem (AccessDeniedException)"
        );
    }

    #[test]
    fn error_without_an_answer_has_its_causes_and_no_type_names() {
        let refused = std::io::Error::other("connection refused");
        let error: SdkError<ErrorMetadata, ()> =
            SdkError::dispatch_failure(ConnectorError::io(refused.into()));
        let text = describe(&error);
        assert_eq!(text, "dispatch failure: io error: connection refused");
        let error: SdkError<ErrorMetadata, ()> = SdkError::timeout_error("no answer within 8 s");
        assert!(describe(&error).ends_with("no answer within 8 s"));
    }
}
