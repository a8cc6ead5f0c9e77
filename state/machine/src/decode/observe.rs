//! From a parsed record to an observation.

use std::borrow::Cow;

use serde_json::Value;
use sonic_rs::{JsonValueTrait, LazyValue};

use super::{
    Decoded, Ignored, Observation, Opened, Poison, SESSION_ID_CHARS_MAX, What,
    catalog::{Catalog, Only, Row, Shape},
    wire::{Fields, SessionRequest, SessionResponse, Text, Wire},
};
use crate::ids::{AccountId, EventId, EventTime, ThingKind};

/// How deep envelopes may be nested.
const DEPTH_MAX: usize = 4;

/// The name of the document that holds an account's Session Manager preferences.
pub const PREFERENCES: &str = "SSM-SessionManagerRunShell";

type Each<'e, 'a> = &'e mut dyn FnMut(Decoded<'a>);

pub(super) fn parse<'a>(text: &'a str, catalog: &Catalog, each: Each<'_, 'a>) {
    if nests_too_deeply(text.as_bytes()) {
        return each(Decoded::Poison(Poison::Malformed("nested too deeply".into())));
    }
    parse_value(text, None, catalog, each, DEPTH_MAX);
}

/// A record of a session call, parsed in one go: what [`parse`] makes of it, or `None` where only that can tell.
pub(super) fn parse_call<'a>(text: &'a str, catalog: &Catalog) -> Option<Decoded<'a>> {
    type Call<'a> = Wire<'a, Fields<SessionRequest<'a>>, Fields<SessionResponse<'a>>, serde::de::IgnoredAny>;
    if nests_too_deeply(text.as_bytes()) {
        return None;
    }
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let call: Call<'a> = sonic_rs::from_str(text).ok()?;
    let row = catalog.find(&call.event_source.as_ref()?.0, &call.event_name.as_ref()?.0)?;
    let (request, response) = (call.request.as_ref()?, call.response.as_ref()?);
    if !matches!(row.shape, Shape::Start | Shape::Resume | Shape::Terminate) || call.error_code.is_some() {
        return None;
    }
    let what = session_call(row.shape, row.name, &request.0, &response.0).ok()?;
    let observation = observation(text, &call, None, row, what).ok()?;
    Some(Decoded::Relevant(observation))
}

/// Whether brackets nest deeper than the parser's stack could bear. Records nest some ten levels deep.
fn nests_too_deeply(text: &[u8]) -> bool {
    const LEVELS_MAX: usize = 256;
    if open_brackets(text) <= LEVELS_MAX {
        return false;
    }
    let (mut level, mut at) = (0_usize, 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => level += 1,
            b'}' | b']' => level = level.saturating_sub(1),
            b'"' => at = string_end(text, at),
            _ => {}
        }
        if level > LEVELS_MAX {
            return true;
        }
    }
    false
}

fn open_brackets(text: &[u8]) -> usize {
    // In ASCII the two differ in one bit. Sums of few bytes fit a byte, which makes many of them fit a register.
    const TOGETHER: usize = 128;
    let few = |bytes: &[u8]| bytes.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum::<u8>();
    text.chunks(TOGETHER).map(|bytes| usize::from(few(bytes))).sum()
}

/// Where the string ends that begins at `at`, behind its closing quote.
fn string_end(text: &[u8], mut at: usize) -> usize {
    while let Some(hit) = memchr::memchr2(b'"', b'\\', text.get(at..).unwrap_or_default()) {
        if text[at + hit] == b'"' {
            return at + hit + 1;
        }
        at += hit + 2;
    }
    text.len()
}

fn parse_value<'a>(text: &'a str, account: Option<AccountId>, catalog: &Catalog, each: Each<'_, 'a>, depth: usize) {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    if depth == 0 {
        return each(Decoded::Poison(Poison::Malformed("nested too deeply".into())));
    }
    match text.as_bytes().first() {
        Some(b'{') => {}
        Some(b'[') => return parse_array(text, account, catalog, each, depth),
        _ => return each(Decoded::Poison(not_object(text))),
    }
    let wire: Wire<'a> = match sonic_rs::from_str(text) {
        Ok(wire) => wire,
        Err(error) => return each(Decoded::Poison(malformed(&error))),
    };
    if wire.event_name.is_some() {
        return each(observe(text, &wire, account, catalog));
    }
    let inner = [wire.detail.as_ref(), wire.records.as_ref()].into_iter().flatten().next();
    if let Some(inner) = inner.and_then(raw_str).filter(|inner| inner.starts_with(['{', '['])) {
        let account = wire.account.as_ref().and_then(|account| account.as_str()?.parse().ok()).or(account);
        return parse_value(inner, account, catalog, each, depth - 1);
    }
    let mapped = wire.aws.as_ref().and_then(raw_str).and_then(|aws| sonic_rs::get(aws, &["cloudtrail"]).ok());
    if let Some(inner) = mapped.as_ref().and_then(raw_str).filter(|inner| inner.starts_with('{')) {
        return parse_value(inner, account, catalog, each, depth - 1);
    }
    each(Decoded::Ignored(Ignored::NotCloudTrail));
}

fn parse_array<'a>(text: &'a str, account: Option<AccountId>, catalog: &Catalog, each: Each<'_, 'a>, depth: usize) {
    for element in sonic_rs::to_array_iter(text) {
        match element.as_ref().map(raw_str) {
            Ok(Some(element)) => parse_value(element, account, catalog, each, depth - 1),
            Ok(None) => each(Decoded::Poison(Poison::Malformed("a value that is not borrowed".into()))),
            Err(error) => return each(Decoded::Poison(malformed(error))),
        }
    }
}

/// The text of a lazy value, as long-lived as the input.
fn raw_str<'a>(value: &LazyValue<'a>) -> Option<&'a str> {
    match value.as_raw_cow() {
        Cow::Borrowed(text) => Some(text),
        Cow::Owned(_) => None,
    }
}

#[cold]
fn malformed(error: &sonic_rs::Error) -> Poison {
    let text = error.to_string();
    Poison::Malformed(text.lines().next().unwrap_or_default().trim_end().to_owned())
}

#[cold]
fn not_object(text: &str) -> Poison {
    match sonic_rs::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Poison::NotObject,
        Err(error) => malformed(&error),
    }
}

fn observe<'a>(text: &'a str, wire: &Wire<'a>, account: Option<AccountId>, catalog: &Catalog) -> Decoded<'a> {
    let name = wire.event_name.as_ref().map_or("", |name| &name.0);
    let source = wire.event_source.as_ref().map_or("", |source| &source.0);
    if !catalog.knows(name.as_bytes()) {
        return Decoded::Ignored(Ignored::OtherEvent);
    }
    let Some(row) = catalog.find(source, name) else {
        return Decoded::Ignored(Ignored::OtherSource);
    };
    match observe_row(text, wire, account, row) {
        Ok(Some(observation)) => Decoded::Relevant(observation),
        Ok(None) => Decoded::Ignored(Ignored::Harmless),
        Err(poison) => Decoded::Poison(poison),
    }
}

fn observe_row<'a>(
    text: &'a str,
    wire: &Wire<'a>,
    account: Option<AccountId>,
    row: Row,
) -> Result<Option<Observation<'a>>, Poison> {
    let failed = plain(wire.error_code.as_ref()).is_some();
    let what = what(wire, row, failed)?;
    what.map(|what| observation(text, wire, account, row, what)).transpose()
}

fn observation<'a, Q, R, E>(
    text: &'a str,
    wire: &Wire<'a, Q, R, E>,
    account: Option<AccountId>,
    row: Row,
    what: What<'a>,
) -> Result<Observation<'a>, Poison> {
    let name = row.name;
    let identity = wire.user_identity.as_ref();
    let account = match &wire.recipient_account_id {
        Some(text) => Some(account_of(name, "recipientAccountId", text)?),
        None => match (account, identity.and_then(|identity| identity.account_id.as_ref())) {
            (Some(account), _) => Some(account),
            (None, Some(text)) => Some(account_of(name, "userIdentity.accountId", text)?),
            (None, None) => None,
        },
    };
    let at = wire.event_time.as_ref().ok_or(Poison::Missing { name, field: "eventTime" })?;
    let at = EventTime::parse(&at.0).ok_or(Poison::Invalid { name, field: "eventTime", wanted: "a time" })?;
    let event = wire.event_id.as_ref().and_then(|id| EventId::parse(&id.0));
    let arn = identity.and_then(|identity| identity.arn.as_ref().or(identity.invoked_by.as_ref()));
    Ok(Observation {
        event: event.unwrap_or_else(|| EventId::of_content(text.as_bytes())),
        at,
        account: account.ok_or(Poison::Missing { name, field: "an account id" })?,
        region: plain(wire.aws_region.as_ref()).ok_or(Poison::Missing { name, field: "awsRegion" })?,
        name,
        threat: row.threat,
        principal_arn: plain(arn).unwrap_or_default(),
        principal_kind: plain(identity.and_then(|identity| identity.kind.as_ref())).unwrap_or_default(),
        failure: plain(wire.error_code.as_ref()),
        what,
    })
}

fn account_of(name: &'static str, field: &'static str, text: &Text<'_>) -> Result<AccountId, Poison> {
    text.0.parse().map_err(|_| Poison::Invalid { name, field, wanted: "twelve digits" })
}

/// A copy of the string that still borrows from the input where it did.
fn plain<'a>(text: Option<&Text<'a>>) -> Option<Cow<'a, str>> {
    text.map(|text| text.0.clone()).filter(|text| !text.is_empty())
}

fn what<'a>(wire: &Wire<'a>, row: Row, failed: bool) -> Result<Option<What<'a>>, Poison> {
    let name = row.name;
    match row.shape {
        Shape::Start | Shape::Resume | Shape::Terminate | Shape::ContainerExec => {
            let request: SessionRequest<'a> = fields(wire.request.as_ref(), name, "requestParameters")?;
            if failed {
                // TH4, R-W6: a failed call begins and ends nothing, and often has no parameters at all.
                let target = plain(request.target.as_ref().or(request.session_id.as_ref()).or(request.task.as_ref()));
                return Ok(Some(What::Refused { target: target.unwrap_or_default() }));
            }
            let response: SessionResponse<'a> = fields(wire.response.as_ref(), name, "responseElements")?;
            session_call(row.shape, name, &request, &response).map(Some)
        }
        Shape::Access(keys) => {
            let request = request_value(wire, name)?;
            let target = find_string(&request, keys).unwrap_or_default();
            Ok(Some(What::Access { target: target.into() }))
        }
        Shape::Change(kind, keys) => {
            let request = request_value(wire, name)?;
            if !matters(row.only, &request, failed) {
                return Ok(None);
            }
            let id = find_string(&request, keys).unwrap_or_default();
            Ok(Some(What::Change { kind, id: id.into() }))
        }
        Shape::Object => {
            let request = request_value(wire, name)?;
            let text = |key: &str| request.get(key).and_then(Value::as_str).unwrap_or_default();
            let id = format!("{}/{}", text("bucketName"), text("key"));
            let seen = matters(row.only, &request, failed);
            Ok(seen.then(|| What::Change { kind: ThingKind::LogObject, id: id.into() }))
        }
    }
}

fn session_call<'a>(
    shape: Shape,
    name: &'static str,
    request: &SessionRequest<'a>,
    response: &SessionResponse<'a>,
) -> Result<What<'a>, Poison> {
    let checked = |id: Option<&Text<'a>>, field: &'static str| -> Result<Cow<'a, str>, Poison> {
        let id = plain(id).ok_or(Poison::Missing { name, field })?;
        let too_long = id.len() > SESSION_ID_CHARS_MAX && id.chars().count() > SESSION_ID_CHARS_MAX;
        if too_long || memchr::memchr2(b'/', b'#', id.as_bytes()).is_some() {
            return Err(Poison::Invalid { name, field, wanted: "a session id" });
        }
        Ok(id)
    };
    let named = request.session_id.as_ref().or(response.session_id.as_ref());
    match shape {
        Shape::Resume => Ok(What::Resume { session: checked(named, "sessionId")? }),
        Shape::Terminate => Ok(What::Terminate { session: checked(named, "sessionId")? }),
        Shape::ContainerExec => {
            let session = response.session.as_ref().and_then(|session| session.session_id.as_ref());
            let parts = [&request.cluster, &request.task, &request.container].map(|part| plain(part.as_ref()));
            let target = parts.map(Option::unwrap_or_default).join("_");
            Ok(What::Start(Opened {
                session: checked(session, "responseElements.session.sessionId")?,
                target: format!("ecs:{target}").into(),
                document: None,
                reason: None,
                container: true,
            }))
        }
        Shape::Start | Shape::Access(_) | Shape::Change(..) | Shape::Object => Ok(What::Start(Opened {
            session: checked(response.session_id.as_ref(), "responseElements.sessionId")?,
            target: plain(request.target.as_ref()).unwrap_or_default(),
            document: plain(request.document_name.as_ref()),
            reason: plain(request.reason.as_ref()),
            container: false,
        })),
    }
}

/// The fields of an object; the defaults where it is absent, null or not an object (masked fields are strings).
fn fields<'a, T: serde::Deserialize<'a> + Default>(
    value: Option<&LazyValue<'a>>,
    name: &'static str,
    field: &'static str,
) -> Result<T, Poison> {
    let Some(text) = value.and_then(raw_str).filter(|text| text.starts_with('{')) else {
        return Ok(T::default());
    };
    sonic_rs::from_str(text).map_err(|_| Poison::Invalid { name, field, wanted: "of the documented shape" })
}

fn request_value(wire: &Wire<'_>, name: &'static str) -> Result<Value, Poison> {
    let Some(request) = &wire.request else {
        return Ok(Value::Null);
    };
    serde_json::from_str(request.as_raw_str()).map_err(|_| Poison::Invalid {
        name,
        field: "requestParameters",
        wanted: "JSON",
    })
}

/// The first string found under one of `keys`, the keys in order of preference, at any depth.
fn find_string(value: &Value, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| find_key(value, key, 0))
}

fn find_key(value: &Value, key: &str, depth: usize) -> Option<String> {
    const DEPTH_MAX: usize = 6;
    if depth > DEPTH_MAX {
        return None;
    }
    match value {
        Value::Object(fields) => fields
            .get(key)
            .and_then(first_string)
            .or_else(|| fields.values().find_map(|inner| find_key(inner, key, depth + 1))),
        Value::Array(items) => items.iter().find_map(|inner| find_key(inner, key, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// A string, the first string of a list, or EC2's `{"tag":1,"content":"…"}`.
fn first_string(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(items) => items.first().and_then(first_string),
        Value::Object(fields) => fields.get("content").or_else(|| fields.get("values")).and_then(first_string),
        Value::Null | Value::Bool(_) => None,
    }
}

fn matters(only: Only, request: &Value, failed: bool) -> bool {
    let text = |key: &str| request.get(key).and_then(Value::as_str);
    match only {
        Only::Always => true,
        Only::SessionDocument => text("documentType") == Some("Session") || text("name") == Some(PREFERENCES),
        Only::RemoteAccessPorts => !failed && opens_remote_access(request, 0),
        Only::SessionLog => text("key").is_some_and(is_session_log),
        Only::ExecuteCommand => request.get("enableExecuteCommand") == Some(&Value::Bool(true)),
        Only::HostManagement => {
            text("settingId").is_none_or(|id| id.ends_with("/default-ec2-instance-management-role"))
        }
    }
}

/// Whether any rule in the request covers port 22 or 3389 (TH32).
fn opens_remote_access(value: &Value, depth: usize) -> bool {
    const DEPTH_MAX: usize = 8;
    if depth > DEPTH_MAX {
        return false;
    }
    match value {
        Value::Object(fields) => {
            let get = |lower: &str, upper: &str| fields.get(lower).or_else(|| fields.get(upper));
            let port = |value: Option<&Value>| value.and_then(Value::as_i64);
            let every = get("ipProtocol", "IpProtocol").and_then(Value::as_str) == Some("-1");
            let covers = match (port(get("fromPort", "FromPort")), port(get("toPort", "ToPort"))) {
                (Some(-1), _) => true,
                (Some(from), Some(to)) => [22, 3389].iter().any(|port| (from..=to).contains(port)),
                _ => false,
            };
            every || covers || fields.values().any(|inner| opens_remote_access(inner, depth + 1))
        }
        Value::Array(items) => items.iter().any(|inner| opens_remote_access(inner, depth + 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether an object's key ends like the agent's `<session id>.log`: a name, a dash, and 17 or 26 id characters.
fn is_session_log(key: &str) -> bool {
    let file = key.rsplit('/').next().unwrap_or(key);
    let Some((name, id)) = file.strip_suffix(".log").and_then(|id| id.rsplit_once('-')) else {
        return false;
    };
    let older = id.len() == 17 && id.starts_with('0') && id.bytes().all(|b| b.is_ascii_hexdigit());
    let current = id.len() == 26 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    !name.is_empty() && (older || current)
}
