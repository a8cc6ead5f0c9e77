//! Sessions, the documents they are opened with, and their logs.

use std::{fmt::Write, sync::Arc};

use sessionwarden_machine::ids::{AccountId, EventTime, SessionKey};

use crate::{
    cloudtrail::json_text,
    dice::{BASE64, Dice},
};

/// The document of a session that names none: the account's preferences.
pub const DEFAULT_DOCUMENT: &str = "SSM-SessionManagerRunShell";
/// The document that forwards a port of the node.
pub const PORT_DOCUMENT: &str = "AWS-StartPortForwardingSession";
/// Documents whose sessions leave no log, with the parameters each is used with.
pub const UNLOGGED_DOCUMENTS: [(&str, &str); 6] = [
    (PORT_DOCUMENT, r#"{"portNumber":["3389"],"localPortNumber":["56789"]}"#),
    (
        "AWS-StartPortForwardingSessionToRemoteHost",
        r#"{"host":["orders.cluster-ab12.eu-central-1.rds.amazonaws.com"],"portNumber":["5432"],"localPortNumber":["15432"]}"#,
    ),
    ("AWS-StartSSHSession", r#"{"portNumber":["22"]}"#),
    ("AWS-StartInteractiveCommand", r#"{"command":["bash -l"]}"#),
    ("AWS-StartNonInteractiveCommand", r#"{"command":["cat /etc/passwd"]}"#),
    ("debug-shell", ""),
];

/// How a session ended up; the names are those of `DescribeSessions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionStatus {
    /// Somebody is on the node.
    Connected,
    /// The client is gone; the session waits to be resumed.
    Disconnected,
    /// It is over.
    Terminated,
}

impl SessionStatus {
    /// The status as AWS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "Connected",
            Self::Disconnected => "Disconnected",
            Self::Terminated => "Terminated",
        }
    }
}

/// What becomes of a session's log, as far as its agent goes. Whether what the agent writes arrives follows from the
/// policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFate {
    /// It is written within the organisation's usual delay after the end.
    #[default]
    Usual,
    /// It is written this many milliseconds after the end.
    After(i64),
    /// It is written within the usual delay, and is empty.
    Empty,
    /// It is written within the usual delay and has eight bytes.
    Small,
    /// It is written within the usual delay, and once more a second later.
    Twice,
    /// It is written within the usual delay, under another prefix of the same account.
    Misplaced,
    /// Somebody writes it from another account, by a role named like the node's; the agent writes nothing.
    Forged(AccountId),
    /// It is written within the usual delay; the stream was cut off on the host, and never is.
    Unstreamed,
    /// It is never written: the agent was killed on the host.
    Never,
}

/// What `StartSession` is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartSession {
    /// The region called.
    pub region: Arc<str>,
    /// The node.
    pub target: Arc<str>,
    /// The document; absent for the account's preferences.
    pub document: Option<Arc<str>>,
    /// The caller's reason.
    pub reason: Option<Arc<str>>,
    /// By just-in-time node access (TH11).
    pub just_in_time: bool,
    /// What will become of the log. Only sessions whose document names a place for it have one at all.
    pub log: LogFate,
}

/// What `DescribeSessions` tells of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDescription {
    /// Which session.
    pub key: SessionKey,
    /// The node.
    pub target: Arc<str>,
    /// The document's name, the default one included.
    pub document: Arc<str>,
    /// The ARN of who started it.
    pub owner: Arc<str>,
    /// The owner's reason, where one was given.
    pub reason: Option<Arc<str>>,
    /// By just-in-time node access.
    pub just_in_time: bool,
    /// When it started.
    pub started: EventTime,
    /// When it ended; absent while it lives.
    pub ended: Option<EventTime>,
    /// Its status.
    pub status: SessionStatus,
}

/// Appends the `requestParameters` of a `StartSession`.
pub fn push_start_request(out: &mut String, target: &str, document: Option<&str>, reason: Option<&str>) {
    let _ = write!(out, r#"{{"target":"{target}""#);
    if let Some(document) = document {
        let _ = write!(out, r#","documentName":"{document}""#);
        let name = document.rsplit('/').next().unwrap_or(document);
        let known = UNLOGGED_DOCUMENTS.iter().find(|(known, _)| *known == name);
        if let Some((_, parameters)) = known.filter(|(_, parameters)| !parameters.is_empty()) {
            let _ = write!(out, r#","parameters":{parameters}"#);
        }
    }
    if let Some(reason) = reason {
        let _ = write!(out, r#","reason":{}"#, json_text(reason));
    }
    out.push('}');
}

/// Appends the `requestParameters` of a `ResumeSession`, and both parts of a `TerminateSession`.
pub fn push_session_id(out: &mut String, id: &str) {
    let _ = write!(out, r#"{{"sessionId":"{id}"}}"#);
}

/// Appends the `responseElements` of a `StartSession` or `ResumeSession`.
pub fn push_session_response(out: &mut String, id: &str, region: &str, dice: &mut Dice) {
    let _ = write!(
        out,
        r#"{{"sessionId":"{id}","tokenValue":"Value hidden due to security reasons.","streamUrl":"wss://ssmmessages.{region}.amazonaws.com/v1/data-channel/{id}?role=publish_subscribe&cell-number=AAEAA"#
    );
    dice.push(out, BASE64, 107);
    out.push_str("\"}");
}
