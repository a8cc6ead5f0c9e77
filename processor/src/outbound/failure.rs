//! What an error of SQS, SNS or CloudWatch means; what is not named is [`CallError::Unknown`].

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::ports::CallError;

/// What a service's code means, as the API references of Amazon SQS, Amazon SNS and Amazon CloudWatch name them
/// ("Common Errors" and each operation's), and the HTTP status where it gives none.
pub(super) fn meaning(code: &str, status: u16) -> CallError {
    // SQS names some of its codes with a prefix, depending on the protocol.
    match code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code) {
        "RequestThrottled"
        | "Throttled"
        | "ThrottledException"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "KmsThrottled"
        | "KMSThrottling"
        | "OverLimit" => CallError::Throttled,
        "AccessDenied"
        | "AccessDeniedException"
        | "AuthorizationError"
        | "InvalidClientTokenId"
        | "InvalidSecurity"
        | "KmsAccessDenied"
        | "KMSAccessDenied"
        | "MissingAuthenticationToken"
        | "NotAuthorized"
        | "OptInRequired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => CallError::Denied,
        "QueueDoesNotExist" | "NonExistentQueue" | "NotFound" | "NotFoundException" => CallError::Gone,
        _ if status == 429 => CallError::Throttled,
        _ => CallError::Unknown,
    }
}

/// What a failed call means. Logs the service's code, never its message.
pub(super) fn failed<E: ProvideErrorMetadata>(call: &'static str, error: &SdkError<E, HttpResponse>) -> CallError {
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    let code = error.code().unwrap_or_default();
    let meaning = meaning(code, status);
    tracing::debug!(call, code, status, error = %meaning, "a call failed");
    meaning
}

#[cfg(test)]
mod tests {
    use super::*;

    // I11
    #[test]
    fn codes_of_each_service_are_sorted() {
        use CallError::{Denied, Gone, Throttled, Unknown};
        for (service, code, status, wanted) in [
            ("sqs", "AWS.SimpleQueueService.NonExistentQueue", 400, Gone),
            ("sqs", "QueueDoesNotExist", 400, Gone),
            ("sqs", "RequestThrottled", 403, Throttled),
            ("sqs", "KmsThrottled", 400, Throttled),
            ("sqs", "KmsAccessDenied", 400, Denied),
            ("sqs", "AccessDenied", 403, Denied),
            ("sqs", "AWS.SimpleQueueService.OverLimit", 403, Throttled),
            ("sqs", "ReceiptHandleIsInvalid", 400, Unknown),
            ("sns", "NotFound", 404, Gone),
            ("sns", "AuthorizationError", 403, Denied),
            ("sns", "Throttled", 429, Throttled),
            ("sns", "KMSAccessDenied", 400, Denied),
            ("sns", "InvalidParameter", 400, Unknown),
            ("sns", "ExpiredToken", 403, Unknown),
            ("sns", "InternalError", 500, Unknown),
            ("cloudwatch", "Throttling", 400, Throttled),
            ("cloudwatch", "AccessDenied", 403, Denied),
            ("cloudwatch", "InternalServiceFault", 500, Unknown),
            ("cloudwatch", "InvalidParameterValue", 400, Unknown),
            ("any", "", 429, Throttled),
            ("any", "", 404, Unknown),
        ] {
            assert_eq!(meaning(code, status), wanted, "{service}: {code} {status}");
        }
    }
}
