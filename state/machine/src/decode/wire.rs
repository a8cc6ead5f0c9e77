//! CloudTrail records as they come over the wire: only the fields that decide anything, borrowed from the input.

use std::borrow::Cow;

use serde::Deserialize;
use sonic_rs::LazyValue;

/// A string that borrows from the input unless it holds an escape.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// One JSON object that may be a record, an envelope around one, or a file of many.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wire<'a> {
    #[serde(borrow, rename = "eventName")]
    pub(super) event_name: Option<Text<'a>>,
    #[serde(borrow, rename = "eventSource")]
    pub(super) event_source: Option<Text<'a>>,
    #[serde(borrow, rename = "eventID")]
    pub(super) event_id: Option<Text<'a>>,
    #[serde(borrow, rename = "eventTime")]
    pub(super) event_time: Option<Text<'a>>,
    #[serde(borrow, rename = "awsRegion")]
    pub(super) aws_region: Option<Text<'a>>,
    #[serde(borrow, rename = "recipientAccountId")]
    pub(super) recipient_account_id: Option<Text<'a>>,
    #[serde(borrow, rename = "errorCode")]
    pub(super) error_code: Option<Text<'a>>,
    #[serde(borrow, rename = "userIdentity")]
    pub(super) user_identity: Option<Identity<'a>>,
    #[serde(borrow, rename = "requestParameters")]
    pub(super) request: Option<LazyValue<'a>>,
    #[serde(borrow, rename = "responseElements")]
    pub(super) response: Option<LazyValue<'a>>,
    // An EventBridge envelope.
    #[serde(borrow)]
    pub(super) detail: Option<LazyValue<'a>>,
    #[serde(borrow)]
    pub(super) account: Option<LazyValue<'a>>,
    // A CloudTrail file.
    #[serde(borrow, rename = "Records")]
    pub(super) records: Option<LazyValue<'a>>,
    // OpenSearch's CloudTrail mapping.
    #[serde(borrow)]
    pub(super) aws: Option<LazyValue<'a>>,
}

/// Who called.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Identity<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) arn: Option<Text<'a>>,
    #[serde(borrow, rename = "accountId")]
    pub(super) account_id: Option<Text<'a>>,
    #[serde(borrow, rename = "invokedBy")]
    pub(super) invoked_by: Option<Text<'a>>,
}

/// `requestParameters` of the session calls.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SessionRequest<'a> {
    #[serde(borrow, rename = "sessionId")]
    pub(super) session_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) target: Option<Text<'a>>,
    #[serde(borrow, rename = "documentName")]
    pub(super) document_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) reason: Option<Text<'a>>,
    // ecs:ExecuteCommand
    #[serde(borrow)]
    pub(super) cluster: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) task: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) container: Option<Text<'a>>,
}

/// `responseElements` of the session calls.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SessionResponse<'a> {
    #[serde(borrow, rename = "sessionId")]
    pub(super) session_id: Option<Text<'a>>,
    // ecs:ExecuteCommand
    #[serde(borrow)]
    pub(super) session: Option<ExecSession<'a>>,
}

/// `responseElements.session` of `ecs:ExecuteCommand`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ExecSession<'a> {
    #[serde(borrow, rename = "sessionId")]
    pub(super) session_id: Option<Text<'a>>,
}
