//! What a notification says, to a person and to a program.

use std::{fmt::Write, sync::Arc};

use serde_json::{Value, json};
use sessionwarden_machine::{
    effect::{Finding, IncidentNote, Mode, Remedy, RemedyKind, RemedyResult, Report, Severity},
    ids::{AccountId, EffectId, SessionKey},
};

/// How long a subject is at most, in ASCII characters: less than 100 ("Publish", Amazon SNS API reference).
pub const SUBJECT_CHARS_MAX: usize = 99;
/// How long a body is at most, in bytes: 256 KiB ("Publish"), of which the attributes take a little.
pub const BODY_BYTES_MAX: usize = 250 * 1_024;
/// How long one value is in a sentence, in characters.
const VALUE_CHARS_MAX: usize = 300;
/// How long an attribute's value is, in bytes.
const ATTRIBUTE_BYTES_MAX: usize = 256;
/// How long an id is in an attribute or a header, in bytes.
pub(super) const ID_BYTES_MAX: usize = 4 * ATTRIBUTE_BYTES_MAX;

/// A notification.
///
/// The body is sentences, one in a line, then an empty line, then one JSON object up to the end. No sentence contains a
/// line break, whatever the names in it were made to look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The id of what it is about, for readers that must not act twice.
    pub id: EffectId,
    /// Printable ASCII, at most [`SUBJECT_CHARS_MAX`] characters.
    pub subject: String,
    /// At most [`BODY_BYTES_MAX`] bytes.
    pub body: String,
    /// The object at the end of the body, whole, whatever its size.
    pub object: Value,
    /// `finding`, `incident`, `remedy` or `digest`.
    pub kind: &'static str,
    /// How bad.
    pub severity: Severity,
    /// The control, or the incident's cause, or the remedy's kind.
    pub control: Arc<str>,
    /// The controls of the findings behind it, in no order.
    pub causes: Vec<Arc<str>>,
    /// The account; absent in a digest about several.
    pub account: Option<AccountId>,
    /// The region; empty for an account as a whole.
    pub region: Arc<str>,
}

impl Message {
    /// The message about a report (R-G10, R-G11); `None` for what nobody is told one by one: session calls.
    pub fn of(report: &Report) -> Option<Self> {
        match report {
            Report::Finding(finding) => Some(of_finding(finding, report)),
            Report::Incident(incident) => Some(of_incident(incident, report)),
            Report::Remedy(remedy) => Some(of_remedy(remedy, report)),
            Report::Activity(_) => None,
        }
    }

    /// Attributes for filter policies, none of them empty: `severity`, `control`, `account` and `region` where it has one,
    /// `kind`, and the effect's `id`.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        let account = self.account.map(|account| account.to_string()).unwrap_or_default();
        let mut named = vec![
            ("severity", name_of(self.severity).to_owned()),
            ("control", one_line(&self.control, ATTRIBUTE_BYTES_MAX)),
            ("account", account),
            ("region", one_line(&self.region, ATTRIBUTE_BYTES_MAX)),
            ("kind", self.kind.to_owned()),
            ("id", one_line(&self.id.0, ID_BYTES_MAX)),
        ];
        named.retain(|(_, value)| !value.is_empty());
        named
    }

    /// Every control that it is about: its own, and those of the findings behind it.
    pub fn controls(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.control).chain(self.causes.iter().map(|cause| &**cause))
    }

    /// The message for a program: one JSON object in one line, of at most [`BODY_BYTES_MAX`] bytes. It is the object of
    /// the body with the attributes and the subject beside it. One that would be larger says how much it leaves out, in
    /// `omitted_bytes`.
    pub fn json(&self) -> String {
        let head = json!({
            "sessionwarden": 1, "kind": self.kind, "id": self.id, "severity": self.severity, "subject": self.subject,
            "control": one_line(&self.control, ATTRIBUTE_BYTES_MAX), "account": self.account,
            "region": one_line(&self.region, ATTRIBUTE_BYTES_MAX),
        });
        let mut whole = self.object.clone();
        if let (Some(whole), Value::Object(head)) = (whole.as_object_mut(), &head) {
            whole.extend(head.clone());
        }
        let text = whole.to_string();
        if text.len() <= BODY_BYTES_MAX {
            return text;
        }
        let mut short = head;
        short["id"] = one_line(&self.id.0, ID_BYTES_MAX).into();
        short["omitted_bytes"] = text.len().into();
        short.to_string()
    }

    /// Makes a body of sentences and an object.
    pub(super) fn body_of(sentences: &[String], object: &Value) -> String {
        let mut body = String::new();
        for sentence in sentences {
            let _ = writeln!(body, "{}", one_line(sentence, 2_000));
        }
        let block = format!("{object:#}");
        if body.len() + block.len() < BODY_BYTES_MAX {
            let _ = write!(body, "\n{block}\n");
        } else {
            let short = json!({ "sessionwarden": 1, "id": object["id"], "omitted_bytes": block.len() });
            let _ = write!(body, "\n{short:#}\n");
        }
        body
    }
}

/// A severity's name, as the policies write it.
pub(super) fn name_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

/// A subject: what, how bad and where, in ASCII.
pub(super) fn subject(severity: Severity, what: &str, place: &str) -> String {
    let ascii = |text: &str| -> String {
        text.chars().map(|one| if one.is_ascii_graphic() || one == ' ' { one } else { '?' }).collect()
    };
    let head = format!("[{}] ", name_of(severity).to_uppercase());
    let place = ascii(&place.chars().take(50).collect::<String>());
    let rest = SUBJECT_CHARS_MAX.saturating_sub(head.len() + place.len() + 2);
    let what: String = ascii(&what.chars().take(rest).collect::<String>());
    format!("{head}{}: {place}", what.trim().trim_end_matches('.'))
}

/// The text without line breaks or other control characters, cut after `bytes_max` bytes.
fn one_line(text: &str, bytes_max: usize) -> String {
    let cut = &text[..text.floor_char_boundary(bytes_max)];
    // Line and paragraph separators end a line for some readers.
    let line = |one: char| if one.is_control() || matches!(one, '\u{2028}' | '\u{2029}') { ' ' } else { one };
    cut.chars().map(line).collect()
}

fn short(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn place(account: AccountId, region: &str) -> String {
    if region.is_empty() { account.to_string() } else { format!("{account} {region}") }
}

fn place_sentence(account: AccountId, region: &str) -> String {
    if region.is_empty() {
        format!("Account {account}.")
    } else {
        format!("Account {account}, region {}.", short(region))
    }
}

fn session_sentence(session: Option<&SessionKey>) -> Option<String> {
    session.map(|session| format!("Session {}.", short(&session.id)))
}

fn object(report: &Report, kind: &str) -> Value {
    // A report has no map with keys that JSON cannot have, so that this always is one.
    let content = serde_json::to_value(report).unwrap_or_default();
    json!({ "sessionwarden": 1, "kind": kind, "id": report.id(), "report": content })
}

/// The controls of findings: an id ends with its control's.
fn controls_of(findings: &[EffectId]) -> Vec<Arc<str>> {
    findings.iter().filter_map(|finding| finding.0.rsplit('/').next()).map(Arc::from).collect()
}

fn of_finding(finding: &Finding, report: &Report) -> Message {
    let mut sentences = vec![
        format!("{} ({}).", short(finding.title.trim_end_matches('.')), short(&finding.control)),
        place_sentence(finding.account, &finding.region),
    ];
    sentences.extend(session_sentence(finding.session.as_ref()));
    if !finding.principal.arn.is_empty() {
        sentences.push(format!("By {}.", short(&finding.principal.arn)));
    }
    if !finding.target.is_empty() {
        sentences.push(format!("On {}.", short(&finding.target)));
    }
    sentences.push(format!("Since {}.", finding.since));
    let noted = finding.evidence.iter().take(10);
    sentences.extend(noted.map(|note| format!("Evidence: {} is {} ({}).", note.name, short(&note.value), note.source)));
    if finding.mode == Mode::Observe {
        sentences.push("Observe mode: nothing is done about it.".to_owned());
    }
    let object = object(report, "finding");
    Message {
        id: finding.id.clone(),
        subject: subject(finding.severity, &finding.title, &place(finding.account, &finding.region)),
        body: Message::body_of(&sentences, &object),
        object,
        kind: "finding",
        severity: finding.severity,
        control: Arc::clone(&finding.control),
        causes: Vec::new(),
        account: Some(finding.account),
        region: Arc::clone(&finding.region),
    }
}

fn of_incident(incident: &IncidentNote, report: &Report) -> Message {
    let title = incident.title.trim_end_matches('.');
    let mut sentences = vec![
        format!("Incident: {} ({}).", short(title), short(&incident.cause)),
        place_sentence(incident.account, &incident.region),
    ];
    sentences.extend(session_sentence(incident.session.as_ref()));
    sentences.push(match incident.resolved {
        Some(at) => format!("Opened {}, resolved {at}.", incident.opened),
        None => format!("Open since {}.", incident.opened),
    });
    let noted = incident.evidence.iter().take(10);
    sentences.extend(noted.map(|note| format!("Evidence: {} is {} ({}).", note.name, short(&note.value), note.source)));
    let what = if incident.resolved.is_some() { format!("Resolved: {title}") } else { title.to_owned() };
    let object = object(report, "incident");
    Message {
        id: incident.id.clone(),
        subject: subject(incident.severity, &what, &place(incident.account, &incident.region)),
        body: Message::body_of(&sentences, &object),
        object,
        kind: "incident",
        severity: incident.severity,
        control: Arc::clone(&incident.cause),
        causes: controls_of(&incident.findings),
        account: Some(incident.account),
        region: Arc::clone(&incident.region),
    }
}

fn of_remedy(remedy: &Remedy, report: &Report) -> Message {
    let (control, what) = match remedy.kind {
        RemedyKind::Terminate => ("terminate", "Ending a session"),
        RemedyKind::Quarantine => ("quarantine", "Locking an account"),
        RemedyKind::Release => ("release", "Unlocking an account"),
        RemedyKind::Restore => ("restore", "Putting a change back"),
    };
    let (severity, result) = match &remedy.result {
        RemedyResult::Planned => (Severity::Info, "planned, not done".to_owned()),
        RemedyResult::Unneeded => (Severity::Info, "not needed any more".to_owned()),
        // A locked account stops people at their work.
        RemedyResult::Done if remedy.kind == RemedyKind::Quarantine => (Severity::High, "done".to_owned()),
        RemedyResult::Done => (Severity::Info, "done".to_owned()),
        RemedyResult::Failed(why) => (Severity::High, format!("failed ({})", short(why))),
        RemedyResult::Refused(why) => (Severity::Medium, format!("refused ({})", short(why))),
    };
    let mut sentences = vec![
        format!("{what}: {result}."),
        format!("Reason: {}.", short(remedy.reason.trim_end_matches('.'))),
        place_sentence(remedy.account, &remedy.region),
    ];
    sentences.extend(session_sentence(remedy.session.as_ref()));
    if remedy.session.is_none() && !remedy.target.is_empty() {
        sentences.push(format!("On {}.", short(&remedy.target)));
    }
    sentences.push(format!("Decided {}.", remedy.at));
    let object = object(report, "remedy");
    Message {
        id: remedy.id.clone(),
        subject: subject(severity, &format!("{what}: {result}"), &place(remedy.account, &remedy.region)),
        body: Message::body_of(&sentences, &object),
        object,
        kind: "remedy",
        severity,
        control: control.into(),
        causes: controls_of(&remedy.findings),
        account: Some(remedy.account),
        region: Arc::clone(&remedy.region),
    }
}

#[cfg(test)]
mod tests;
