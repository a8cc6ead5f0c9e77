//! The service's errors, as the store's own.

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
};

use crate::StoreError;

/// Errors that pass by themselves, although they are not the server's fault ("Error handling with DynamoDB", and the
/// common errors of credentials, which are fetched anew).
const PASSING: [&str; 12] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestExpired",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
];

/// Sorts an error: what may work later, and what somebody has to put right.
pub(super) fn failed<E>(table: &str, error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let SdkError::ServiceError(answer) = error else {
        return StoreError::Unavailable { why: format!("table {table}: {}", DisplayErrorContext(error)) };
    };
    let code = answer.err().code().unwrap_or("an error without a code");
    let why = format!("{code}: {}", answer.err().message().unwrap_or("no message"));
    if PASSING.contains(&code) || answer.raw().status().is_server_error() {
        StoreError::Unavailable { why: format!("table {table}: {why}") }
    } else {
        refused(table, why)
    }
}

pub(super) fn refused(table: &str, why: impl Into<String>) -> StoreError {
    StoreError::Refused { table: table.to_owned(), why: why.into() }
}
