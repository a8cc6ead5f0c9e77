//! Events for Amazon EventBridge.

use std::sync::Arc;

use serde::Deserialize;

use super::{
    AwsOrganization, Means,
    errors::Failure,
    limits::Place,
    settings::Api,
    signed::{self, EVENTS},
};
use crate::ports::CallError;

/// Codes of an entry that will be refused again ("`PutEventsResultEntry`", Amazon EventBridge API reference).
const FINAL: [&str; 4] =
    ["InvalidArgument", "MalformedDetail", "NotAuthorizedForSourceException", "ValidationException"];

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutEvent<'a> {
    /// Who says it; not `aws.` anything.
    pub source: &'a str,
    /// What kind of thing it says, at most 128 characters.
    pub detail_type: &'a str,
    /// A JSON object. With the other two it may have 256 KiB ("Calculating `PutEvents` event entry size").
    pub detail: &'a str,
}

/// Why an event is not on its bus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.told())]
pub struct PutEventError(Failure);

impl PutEventError {
    /// What it means.
    pub fn error(&self) -> CallError {
        self.0.error
    }

    /// Whether the same event would be refused again.
    pub fn is_final(&self) -> bool {
        FINAL.contains(&self.0.code.as_str())
    }
}

/// What `PutEvents` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    failed_entry_count: u64,
    entries: Vec<Entry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    error_code: Option<String>,
}

impl Answer {
    /// The call may succeed although its one entry was refused.
    fn check(self) -> Result<(), PutEventError> {
        let code = self.entries.into_iter().find_map(|entry| entry.error_code);
        match (self.failed_entry_count, code) {
            (0, None) => Ok(()),
            (_, code) => Err(PutEventError(Failure::answered(&code.unwrap_or_default(), 200))),
        }
    }
}

impl AwsOrganization {
    /// Puts one event on a bus, by its name in the own account and region, or by its ARN.
    ///
    /// # Errors
    /// The event is not on the bus, as far as is known.
    pub async fn put_event(&self, bus: &str, event: PutEvent<'_>) -> Result<(), PutEventError> {
        let region = bus.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2)).filter(|region| !region.is_empty());
        let place: Place = (self.own, region.map_or_else(|| Arc::clone(&self.region), Arc::from));
        let input = serde_json::json!({ "Entries": [{
            "EventBusName": bus, "Source": event.source, "DetailType": event.detail_type, "Detail": event.detail,
        }] });
        let send = |means: &Means| signed::json::<Answer>(&EVENTS, means.clone(), "PutEvents", input.clone());
        self.call(&place, Api::Events, "PutEvents", send).await.map_err(PutEventError)?.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> Result<(), PutEventError> {
        serde_json::from_str::<Answer>(text).unwrap().check()
    }

    // I11: an answer that says nothing of a failure in its status may say it of its entry.
    #[test]
    fn an_entry_can_fail_in_a_call_that_succeeds() {
        assert_eq!(answered(r#"{"FailedEntryCount":0,"Entries":[{"EventId":"1"}]}"#), Ok(()));
        for (code, error, last) in [
            ("ThrottlingException", CallError::Throttled, false),
            ("InternalFailure", CallError::Unknown, false),
            ("AccessDeniedException", CallError::Denied, false),
            ("ResourceNotFoundException", CallError::Gone, false),
            ("MalformedDetail", CallError::Unknown, true),
        ] {
            let entry = format!(r#"{{"FailedEntryCount":1,"Entries":[{{"ErrorCode":"{code}","ErrorMessage":"m"}}]}}"#);
            let failed = answered(&entry).unwrap_err();
            assert_eq!((failed.error(), failed.is_final(), failed.to_string()), (error, last, code.to_owned()));
        }
        let silent = answered(r#"{"FailedEntryCount":1,"Entries":[{}]}"#).unwrap_err();
        assert_eq!((silent.error(), silent.is_final()), (CallError::Unknown, false));
    }
}
