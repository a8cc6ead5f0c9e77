//! CloudTrail records as they come over the wire: only the fields that decide anything, borrowed from the input.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use sonic_rs::LazyValue;

/// A string that borrows from the input unless it holds an escape.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// One JSON object that may be a record, an envelope around one, or a file of many: with the call's request and response
/// unparsed, or parsed as `Q` and `R`; with what is around records unparsed, or taken as `E`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wire<'a, Q = LazyValue<'a>, R = LazyValue<'a>, E = LazyValue<'a>> {
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
    #[serde(rename = "requestParameters")]
    pub(super) request: Option<Q>,
    #[serde(rename = "responseElements")]
    pub(super) response: Option<R>,
    // An EventBridge envelope.
    pub(super) detail: Option<E>,
    pub(super) account: Option<E>,
    // A CloudTrail file.
    #[serde(rename = "Records")]
    pub(super) records: Option<E>,
    // OpenSearch's CloudTrail mapping.
    pub(super) aws: Option<E>,
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

/// The fields of an object; where there is none (masked fields are strings), their defaults.
#[derive(Debug, Default)]
pub(super) struct Fields<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Fields<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldsVisitor(PhantomData))
    }
}

struct FieldsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for FieldsVisitor<T> {
    type Value = Fields<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, a string or null")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Fields)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Fields::default())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Fields::default())
    }
}
