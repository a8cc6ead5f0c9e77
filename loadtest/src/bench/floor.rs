//! The least that any program has to do for the same answer: the floors that `replay` is measured against.

use std::{borrow::Cow, collections::HashMap, io, path::Path};

use foldhash::fast::FixedState;
use memchr::memmem::Finder;
use serde::Deserialize;

use super::lines::each_line;

/// The needle of the cheap floor.
const NEEDLE: &str = "ssm.amazonaws.com";

/// The fields of a session call that the answer is made of, borrowed from the line.
#[derive(Debug, Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "eventName")]
    name: Cow<'a, str>,
    #[serde(borrow, rename = "eventSource")]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "eventTime")]
    time: Cow<'a, str>,
    #[serde(borrow, rename = "eventID")]
    #[expect(dead_code, reason = "the floor parses what the answer needs, and decides nothing with it")]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "awsRegion")]
    #[expect(dead_code, reason = "as above")]
    region: Cow<'a, str>,
    #[serde(borrow, rename = "recipientAccountId")]
    #[expect(dead_code, reason = "as above")]
    account: Cow<'a, str>,
    #[serde(borrow, rename = "userIdentity")]
    #[expect(dead_code, reason = "as above")]
    caller: Caller<'a>,
    #[serde(borrow, rename = "requestParameters", default)]
    request: Option<Parameters<'a>>,
    #[serde(borrow, rename = "responseElements", default)]
    response: Option<Parameters<'a>>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "as above")]
struct Caller<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    arn: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
struct Parameters<'a> {
    #[serde(borrow, rename = "sessionId", default)]
    session: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    target: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "documentName", default)]
    document: Option<Cow<'a, str>>,
}

/// What a floor keeps of one session.
#[derive(Debug, Default)]
struct Life {
    started: Option<Box<str>>,
    ended: bool,
    target: Option<Box<str>>,
    document: Option<Box<str>>,
}

/// What a floor found; to be compared with the truth, so that no floor is fast by being wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Lines.
    pub(super) events: u64,
    /// Lines parsed.
    pub(super) parsed: u64,
    /// Distinct sessions.
    pub(super) sessions: u64,
    /// Sessions that started and did not end.
    pub(super) open: u64,
}

/// What is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Floor {
    /// Lines that hold the needle, found by memmem.
    Needle,
    /// Every line.
    All,
}

/// Reads the file and keeps its sessions in a hash map.
///
/// # Errors
/// The file cannot be read.
pub(super) fn run(path: &Path, floor: Floor) -> io::Result<Found> {
    let needle = Finder::new(NEEDLE);
    let mut sessions: HashMap<Box<str>, Life, FixedState> = HashMap::default();
    let mut found = Found::default();
    each_line(path, |line| {
        found.events += 1;
        if floor == Floor::All || needle.find(line).is_some() {
            found.parsed += 1;
            take(line, &mut sessions);
        }
    })?;
    found.sessions = sessions.len() as u64;
    found.open = sessions.values().filter(|life| life.started.is_some() && !life.ended).count() as u64;
    Ok(found)
}

fn take(line: &[u8], sessions: &mut HashMap<Box<str>, Life, FixedState>) {
    let Ok(event) = sonic_rs::from_slice::<Event<'_>>(line) else {
        return;
    };
    if event.source != NEEDLE {
        return;
    }
    let (request, response) = (event.request, event.response);
    let answered = response.and_then(|response| response.session);
    match &*event.name {
        "StartSession" => {
            let (Some(session), Some(request)) = (answered, request) else { return };
            let life = sessions.entry(session.into()).or_default();
            life.started = Some(event.time.into());
            life.target = request.target.map(Into::into);
            life.document = request.document.map(Into::into);
        }
        "ResumeSession" | "TerminateSession" => {
            let asked = request.and_then(|request| request.session);
            let Some(session) = asked.or(answered) else { return };
            let life = match sessions.get_mut(&*session) {
                Some(life) => life,
                None => sessions.entry(session.into()).or_default(),
            };
            life.ended |= event.name == "TerminateSession";
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn both_floors_find_the_same_sessions() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let call = |name: &str, request: &str, response: &str| {
            format!(
                r#"{{"eventName":"{name}","eventSource":"ssm.amazonaws.com","eventTime":"t","eventID":"e","awsRegion":"r","recipientAccountId":"1","userIdentity":{{"type":"IAMUser"}},"requestParameters":{request},"responseElements":{response}}}"#
            )
        };
        for line in [
            call("StartSession", r#"{"target":"i-1"}"#, r#"{"sessionId":"ann-1"}"#),
            call("StartSession", r#"{"target":"i-2"}"#, r#"{"sessionId":"bob-2"}"#),
            call("TerminateSession", r#"{"sessionId":"ann-1"}"#, r#"{"sessionId":"ann-1"}"#),
            call("ResumeSession", r#"{"sessionId":"eve-3"}"#, "null"),
            r#"{"eventName":"GetObject","eventSource":"s3.amazonaws.com","eventTime":"t"}"#.to_owned(),
            "no JSON".to_owned(),
        ] {
            writeln!(file, "{line}").unwrap();
        }
        let needle = run(file.path(), Floor::Needle).unwrap();
        assert_eq!(needle, Found { events: 6, parsed: 4, sessions: 3, open: 1 });
        assert_eq!(run(file.path(), Floor::All).unwrap(), Found { parsed: 6, ..needle });
    }
}
