//! What an error of AWS means. One table for all services; what it does not name is [`CallError::Unknown`].

use aws_smithy_runtime_api::{
    client::{orchestrator::HttpResponse, result::SdkError},
    http::StatusCode,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::ports::CallError;

/// Codes of errors, as the services' API references name them ("Common Errors" and each operation's).
///
/// What says that a thing is gone decides about sessions, so only codes that name the thing asked for stand here. A code
/// that speaks of a quota (`LimitExceeded`, `ConstraintViolationException`) is no throttling: waiting does not help.
const CODES: &[(CallError, &[&str])] = &[
    (
        CallError::Throttled,
        &[
            "BandwidthLimitExceeded",
            "ConcurrentModification",
            "ConcurrentModificationException",
            "PriorRequestNotComplete",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "SlowDown",
            "Throttled",
            "ThrottledException",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
            "TooManyUpdates",
        ],
    ),
    (
        CallError::Denied,
        &[
            "AccessDenied",
            "AccessDeniedException",
            "AllAccessDisabled",
            "AuthFailure",
            "AuthorizationError",
            "Forbidden",
            "IncompleteSignature",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "NotAuthorized",
            "OptInRequired",
            "RegionDisabledException",
            "SignatureDoesNotMatch",
            "UnauthorizedAccess",
            "UnauthorizedOperation",
            "UnrecognizedClientException",
        ],
    ),
    (
        CallError::Gone,
        &[
            "AccountNotFoundException",
            "ChildNotFoundException",
            "ClusterNotFoundException",
            "DoesNotExistException",
            "InvalidDocument",
            "NoSuchBucket",
            "NoSuchEntity",
            "NoSuchEntityException",
            "NoSuchKey",
            "NotFound",
            "NotFoundException",
            "ParentNotFoundException",
            "PolicyNotFoundException",
            "ResourceNotFoundException",
            "ServiceSettingNotFound",
            "TargetNotFoundException",
            "TrailNotFoundException",
        ],
    ),
];

/// Codes that say that credentials are over: new ones may help.
const EXPIRED: &[&str] = &["ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"];

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What it means.
    pub(super) error: CallError,
    /// The service's code; empty where it gave none, or gave no answer.
    pub(super) code: String,
    /// What the service says beside the code, at most 300 characters; for people only.
    pub(super) message: String,
    /// The same call may succeed soon.
    pub(super) transient: bool,
    /// How far this machine's clock is ahead of the service's, in ms, where its answer told the time and they differ by
    /// more than signatures bear ([`CLOCKS_MS_MAX`]).
    pub(super) ahead_ms: Option<i64>,
}

/// How far two clocks may differ before AWS refuses signatures, in milliseconds ("Troubleshoot signed requests for AWS
/// APIs").
const CLOCKS_MS_MAX: i64 = 300_000;

/// How far `now` is ahead of the time in a `Date` header, where that is too much.
fn ahead_ms(date: &str, now: jiff::Timestamp) -> Option<i64> {
    let told = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    Some(now.as_millisecond() - told.as_millisecond()).filter(|ms| ms.abs() > CLOCKS_MS_MAX)
}

fn side(ms: i64) -> &'static str {
    if ms > 0 { "ahead of" } else { "behind" }
}

impl Failure {
    /// What a service answered.
    pub(super) fn answered(code: &str, status: u16) -> Self {
        let named = CODES.iter().find(|(_, codes)| codes.contains(&code)).map(|(error, _)| *error);
        let error = named.unwrap_or(match (code, status) {
            (_, 429) => CallError::Throttled,
            // An answer to a HEAD request has no body to name a code in. That 404 would be an answer, too, is not
            // taken for granted: whatever stands between may give it.
            ("", 401 | 403) => CallError::Denied,
            _ => CallError::Unknown,
        });
        let transient = error == CallError::Throttled || status >= 500;
        Self { error, code: code.chars().take(80).collect(), message: String::new(), transient, ahead_ms: None }
    }

    /// No answer, or one that is not understood.
    pub(super) fn unknown(transient: bool) -> Self {
        Self { error: CallError::Unknown, code: String::new(), message: String::new(), transient, ahead_ms: None }
    }

    /// With what the answer's `Date` header says of this machine's clock.
    pub(super) fn at(self, date: Option<&str>) -> Self {
        Self { ahead_ms: date.and_then(|date| ahead_ms(date, jiff::Timestamp::now())), ..self }
    }

    /// The code, and what is wrong with the clock.
    pub(super) fn told(&self) -> String {
        let what = if self.code.is_empty() { self.error.to_string() } else { self.code.clone() };
        match self.ahead_ms {
            Some(ms) => format!("{what}; this machine's clock is {} s {} AWS's", ms.abs() / 1_000, side(ms)),
            None => what,
        }
    }

    pub(super) fn expired(&self) -> bool {
        EXPIRED.contains(&self.code.as_str())
    }

    pub(super) fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// The failure of a call about a part of what was asked for: that the part is gone says nothing about the whole.
    pub(super) fn of_part(self) -> Self {
        match self.error {
            CallError::Gone => Self { error: CallError::Unknown, ..self },
            CallError::Throttled | CallError::Denied | CallError::Unknown => self,
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self { error, code: String::new(), message: String::new(), transient: false, ahead_ms: None }
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl<E: ProvideErrorMetadata> From<SdkError<E, HttpResponse>> for Failure {
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let status = error.raw_response().map(HttpResponse::status).map(StatusCode::as_u16);
        match status {
            Some(status) => {
                let date = error.raw_response().and_then(|response| response.headers().get("date"));
                let message = error.message().unwrap_or_default().chars().take(300).collect();
                Self { message, ..Self::answered(error.code().unwrap_or_default(), status).at(date) }
            }
            None => Self::unknown(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each service's codes, as its API reference lists them, and what they must mean (I11).
    #[test]
    fn codes_of_each_service_are_sorted() {
        use CallError::{Denied, Gone, Throttled, Unknown};
        for (service, code, status, error) in [
            ("ssm", "ThrottlingException", 400, Throttled),
            ("ssm", "AccessDeniedException", 400, Denied),
            ("ssm", "DoesNotExistException", 400, Gone),
            ("ssm", "InvalidDocument", 400, Gone),
            ("ssm", "TooManyUpdates", 400, Throttled),
            ("ssm", "InternalServerError", 500, Unknown),
            ("ssm", "InvalidFilterKey", 400, Unknown),
            ("iam", "Throttling", 400, Throttled),
            ("iam", "AccessDenied", 403, Denied),
            ("iam", "NoSuchEntity", 404, Gone),
            ("iam", "LimitExceeded", 409, Unknown),
            ("iam", "ServiceFailure", 500, Unknown),
            ("sts", "AccessDenied", 403, Denied),
            ("sts", "RegionDisabledException", 403, Denied),
            ("sts", "InvalidClientTokenId", 403, Denied),
            ("sts", "ExpiredToken", 403, Unknown),
            ("sts", "ValidationError", 400, Unknown),
            ("organizations", "TooManyRequestsException", 400, Throttled),
            ("organizations", "ConcurrentModificationException", 400, Throttled),
            ("organizations", "AccessDeniedException", 400, Denied),
            ("organizations", "TargetNotFoundException", 400, Gone),
            ("organizations", "ChildNotFoundException", 400, Gone),
            ("organizations", "ConstraintViolationException", 400, Unknown),
            ("s3", "SlowDown", 503, Throttled),
            ("s3", "AccessDenied", 403, Denied),
            ("s3", "", 403, Denied),
            ("s3", "", 404, Unknown),
            ("s3", "NoSuchBucket", 404, Gone),
            ("s3", "NoSuchKey", 404, Gone),
            ("s3", "InternalError", 500, Unknown),
            ("s3", "PermanentRedirect", 301, Unknown),
            ("ec2", "RequestLimitExceeded", 503, Throttled),
            ("ec2", "UnauthorizedOperation", 403, Denied),
            ("ec2", "AuthFailure", 401, Denied),
            ("ec2", "OptInRequired", 401, Denied),
            ("ec2", "Unavailable", 503, Unknown),
            ("kms", "ThrottlingException", 400, Throttled),
            ("kms", "NotFoundException", 400, Gone),
            ("kms", "AccessDeniedException", 400, Denied),
            ("kms", "KMSInternalException", 500, Unknown),
            ("logs", "ThrottlingException", 400, Throttled),
            ("logs", "ResourceNotFoundException", 400, Gone),
            ("logs", "ServiceUnavailableException", 500, Unknown),
            ("cloudtrail", "TrailNotFoundException", 400, Gone),
            ("sns", "NotFound", 404, Gone),
            ("ecs", "ThrottlingException", 400, Throttled),
            ("ecs", "ClusterNotFoundException", 400, Gone),
            ("ecs", "ServerException", 500, Unknown),
            ("any", "", 429, Throttled),
            ("any", "SomethingNew", 400, Unknown),
        ] {
            let failure = Failure::answered(code, status);
            assert_eq!(failure.error, error, "{service}: {code} {status}");
            assert_eq!(failure.transient, error == Throttled || status >= 500, "{service}: {code} {status}");
        }
    }

    #[test]
    fn a_clock_that_is_an_hour_off_is_told() {
        let now: jiff::Timestamp = "2026-11-28T16:45:22Z".parse().unwrap();
        assert_eq!(ahead_ms("Sat, 28 Nov 2026 15:45:22 GMT", now), Some(3_600_000));
        assert_eq!(ahead_ms("Sat, 28 Nov 2026 17:45:22 GMT", now), Some(-3_600_000));
        for near in ["Sat, 28 Nov 2026 16:44:00 GMT", "Sat, 28 Nov 2026 16:49:22 GMT", "yesterday", ""] {
            assert_eq!(ahead_ms(near, now), None, "{near}");
        }
        let failure = Failure { ahead_ms: Some(-3_600_000), ..Failure::answered("SignatureDoesNotMatch", 403) };
        assert_eq!(failure.told(), "SignatureDoesNotMatch; this machine's clock is 3600 s behind AWS's");
    }

    #[test]
    fn no_code_means_two_things() {
        let mut codes: Vec<&str> = CODES.iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
        codes.extend(EXPIRED);
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn a_part_that_is_gone_says_nothing_about_the_whole() {
        assert_eq!(Failure::answered("NoSuchEntity", 404).of_part().error, CallError::Unknown);
        assert_eq!(Failure::answered("AccessDenied", 403).of_part().error, CallError::Denied);
    }

    #[test]
    fn expired_credentials_are_no_refusal() {
        for code in EXPIRED {
            let failure = Failure::answered(code, 403);
            assert!(failure.expired());
            assert_eq!(failure.error, CallError::Unknown, "{code}");
        }
        assert!(!Failure::answered("AccessDenied", 403).expired());
    }
}
