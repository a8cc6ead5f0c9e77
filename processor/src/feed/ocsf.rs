//! A report as one OCSF 1.8.0 record.
//!
//! The conversion is pure: the same report makes the same bytes, on any machine and at any time.
//! Attributes and enumerations: <https://schema.ocsf.io/1.8.0/>.

use std::{collections::BTreeSet, io, io::Write};

use sessionwarden_machine::{
    effect::{
        Activity, ActivityKind, EvidenceNote, Finding, IncidentNote, Mode, Principal, Remedy, RemedyKind, RemedyResult,
        Report, Severity,
    },
    ids::{AccountId, EventId, SessionKey},
};

use super::{
    attack,
    event::{
        Account, Actor, Analytic, Api, ApiResponse, Cloud, Enrichment, Event, Evidence, EvidenceData, FindingInfo,
        Metadata, Named, Observable, Policy, Product, Remediation, Resource, Unmapped, User,
    },
};

/// The version of OCSF that every record follows.
pub const OCSF_VERSION: &str = "1.8.0";

const SSM: &str = "ssm.amazonaws.com";

/// Writes one record and a line feed.
///
/// # Errors
/// Whatever `out` answers.
pub fn write_line(report: &Report, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &event(report))?;
    out.write_all(b"\n")
}

/// One record without the line feed.
pub fn line(report: &Report) -> String {
    serde_json::to_string(&event(report)).expect("structures of strings and numbers always serialise")
}

/// The record's `metadata.uid`, by which readers recognise a repeated record.
///
/// It is the effect's id. An incident that is over, and a remedy that was not carried out, append their state
/// (`#resolved`, `#planned`, `#failed`, `#refused`): the effect is the same, what is told about it is not, and a reader
/// that drops repeated ids must not lose it.
pub fn record_uid(report: &Report) -> String {
    let id = report.id();
    match report {
        Report::Incident(incident) if incident.resolved.is_some() => {
            format!("{}#resolved", id.0.strip_suffix("/resolved").unwrap_or(&id.0))
        }
        Report::Finding(_) | Report::Activity(_) | Report::Incident(_) => id.to_string(),
        Report::Remedy(remedy) => match remedy.result {
            RemedyResult::Done | RemedyResult::Unneeded => id.to_string(),
            RemedyResult::Planned => format!("{id}#planned"),
            RemedyResult::Failed(_) => format!("{id}#failed"),
            RemedyResult::Refused(_) => format!("{id}#refused"),
        },
    }
}

fn event(report: &Report) -> Event<'_> {
    let mut event = match report {
        Report::Finding(finding) => detection(finding),
        Report::Incident(incident) => self::incident(incident),
        Report::Remedy(remedy) => remediation(remedy),
        Report::Activity(activity) => api_activity(activity),
    };
    event.type_uid = event.class_uid * 100 + event.activity_id;
    event.metadata.uid = record_uid(report);
    event
}

fn detection(finding: &Finding) -> Event<'_> {
    let severity = severity(finding.severity);
    let mut attacks = Vec::new();
    for technique in &finding.techniques {
        attack::push(&mut attacks, technique);
    }
    let sources: BTreeSet<&str> = finding.evidence.iter().filter_map(|note| some(&note.source)).collect();
    Event {
        time: finding.since.0,
        category_uid: 2,
        class_uid: 2004,
        class_name: "Detection Finding",
        activity_id: 1,
        activity_name: "Create",
        severity_id: severity.0,
        severity: severity.1,
        status_id: 1,
        status: "New",
        message: some(&finding.title),
        metadata: metadata(&["cloud", "host", "security_control"], finding.session.as_ref(), finding.event),
        cloud: cloud(finding.account, &finding.region),
        is_alert: Some(finding.severity > Severity::Info),
        // Doubt never makes a finding: evidence that is unknown is neither compliance nor violation.
        confidence_id: Some(3),
        confidence: Some("High"),
        action_id: Some(3),
        action: Some("Observed"),
        disposition_id: Some(15),
        disposition: Some("Detected"),
        policy: some(&finding.control).map(|name| Policy {
            name,
            version: some(&finding.policy),
            is_applied: finding.mode == Mode::Enforce,
        }),
        finding_info: Some(FindingInfo {
            uid: &finding.id.0,
            title: some(&finding.title),
            analytic: analytic(&finding.control, &finding.policy),
            attacks,
            data_sources: sources.into_iter().collect(),
            first_seen_time: Some(finding.since.0),
        }),
        evidences: finding
            .evidence
            .iter()
            .map(|note| Evidence { name: some(&note.name), data: evidence_data(note) })
            .collect(),
        actor: actor(&finding.principal),
        resources: target(&finding.target).into_iter().chain(finding.session.as_ref().and_then(session)).collect(),
        unmapped: Some(Unmapped {
            mode: Some(mode(finding.mode)),
            requirements: finding.requirements.iter().map(AsRef::as_ref).collect(),
            ..Unmapped::default()
        }),
        ..Event::default()
    }
}

fn incident(incident: &IncidentNote) -> Event<'_> {
    let severity = severity(incident.severity);
    let (activity, status) = match incident.resolved {
        None => ((1, "Create"), (1, "New")),
        Some(_) => ((3, "Close"), (4, "Resolved")),
    };
    let mut findings: Vec<_> = incident
        .findings
        .iter()
        .map(|id| FindingInfo { uid: &id.0, analytic: analytic(&incident.cause, ""), ..FindingInfo::default() })
        .collect();
    if findings.is_empty() {
        findings.push(FindingInfo {
            uid: &incident.id.0,
            title: some(&incident.title),
            analytic: analytic(&incident.cause, ""),
            first_seen_time: Some(incident.opened.0),
            ..FindingInfo::default()
        });
    }
    Event {
        time: incident.resolved.unwrap_or(incident.opened).0,
        category_uid: 2,
        class_uid: 2005,
        class_name: "Incident Finding",
        activity_id: activity.0,
        activity_name: activity.1,
        severity_id: severity.0,
        severity: severity.1,
        status_id: status.0,
        status: status.1,
        message: some(&incident.title),
        metadata: metadata(&["cloud", "security_control"], incident.session.as_ref(), None),
        cloud: cloud(incident.account, &incident.region),
        start_time: Some(incident.opened.0),
        end_time: incident.resolved.map(|at| at.0),
        is_alert: Some(incident.severity > Severity::Info && incident.resolved.is_none()),
        desc: some(&incident.title),
        // The class demands an assignee; the incident is nobody's yet.
        assignee_group: Some(Named { name: "unassigned" }),
        finding_info_list: findings,
        // The class has no `evidences`.
        enrichments: incident.evidence.iter().map(enrichment).collect(),
        observables: incident
            .session
            .iter()
            .map(|session| observable("metadata.correlation_uid", session.to_string()))
            .collect(),
        unmapped: some(&incident.cause).map(|cause| Unmapped { cause: Some(cause), ..Unmapped::default() }),
        ..Event::default()
    }
}

fn remediation(remedy: &Remedy) -> Event<'_> {
    let (activity, name) = match remedy.kind {
        RemedyKind::Terminate => ((2, "Evict"), "terminate"),
        RemedyKind::Quarantine => ((1, "Isolate"), "quarantine"),
        RemedyKind::Release => ((3, "Restore"), "release"),
        RemedyKind::Restore => ((3, "Restore"), "restore"),
    };
    let Outcome { severity, status, code, detail, action, disposition } = outcome(remedy);
    Event {
        time: remedy.at.0,
        category_uid: 7,
        class_uid: 7001,
        class_name: "Remediation Activity",
        activity_id: activity.0,
        activity_name: activity.1,
        severity_id: severity.0,
        severity: severity.1,
        status_id: status.0,
        status: status.1,
        status_code: Some(code),
        status_detail: detail.and_then(some),
        message: some(&remedy.reason),
        metadata: metadata(&["cloud", "security_control"], remedy.session.as_ref(), None),
        cloud: cloud(remedy.account, &remedy.region),
        action_id: Some(action.0),
        action: Some(action.1),
        disposition_id: Some(disposition.0),
        disposition: Some(disposition.1),
        api: remedy_api(remedy),
        command_uid: Some(&remedy.id.0),
        remediation: some(&remedy.reason).map(|desc| Remediation { desc }),
        observables: some(&remedy.target)
            .map(|target| observable("unmapped.target", target.to_owned()))
            .into_iter()
            .collect(),
        unmapped: Some(Unmapped {
            remedy: Some(name),
            target: some(&remedy.target),
            findings: remedy.findings.iter().map(|id| id.0.as_ref()).collect(),
            ..Unmapped::default()
        }),
        ..Event::default()
    }
}

/// An enumeration's number and its caption.
type Label = (u32, &'static str);

struct Outcome<'a> {
    severity: Label,
    status: Label,
    code: &'static str,
    detail: Option<&'a str>,
    action: Label,
    disposition: Label,
}

fn outcome(remedy: &Remedy) -> Outcome<'_> {
    const OBSERVED: Label = (3, "Observed");
    let (action, disposition) = match remedy.kind {
        RemedyKind::Terminate => ((2, "Denied"), (6, "Dropped")),
        RemedyKind::Quarantine => ((2, "Denied"), (3, "Quarantined")),
        RemedyKind::Release => ((1, "Allowed"), (9, "Restored")),
        RemedyKind::Restore => ((4, "Modified"), (11, "Corrected")),
    };
    let nothing_done = Outcome {
        severity: severity(Severity::Info),
        status: (1, "Success"),
        code: "unneeded",
        detail: Some("The target was already as wanted."),
        action: OBSERVED,
        disposition: (16, "No Action"),
    };
    match &remedy.result {
        RemedyResult::Done => Outcome { code: "done", detail: None, action, disposition, ..nothing_done },
        RemedyResult::Unneeded => nothing_done,
        RemedyResult::Planned => Outcome {
            status: (99, "Planned"),
            code: "planned",
            detail: Some("Nothing was called: this is what would have been done."),
            ..nothing_done
        },
        RemedyResult::Failed(why) => Outcome {
            severity: severity(Severity::High),
            status: (2, "Failure"),
            code: "failed",
            detail: Some(why),
            disposition: (27, "Error"),
            ..nothing_done
        },
        RemedyResult::Refused(rule) => Outcome {
            severity: severity(Severity::Medium),
            status: (99, "Refused"),
            code: "refused",
            detail: Some(rule),
            disposition: (25, "Rejected"),
            ..nothing_done
        },
    }
}

/// The call that was made; absent where none was, and for restores, whose call depends on the thing.
fn remedy_api(remedy: &Remedy) -> Option<Api<'_>> {
    let response = match &remedy.result {
        RemedyResult::Done => None,
        RemedyResult::Failed(why) => some(why).map(|error_message| ApiResponse { error_message }),
        RemedyResult::Planned | RemedyResult::Unneeded | RemedyResult::Refused(_) => return None,
    };
    let (operation, service) = match remedy.kind {
        RemedyKind::Terminate => ("TerminateSession", SSM),
        RemedyKind::Quarantine => ("AttachPolicy", "organizations.amazonaws.com"),
        RemedyKind::Release => ("DetachPolicy", "organizations.amazonaws.com"),
        RemedyKind::Restore => return None,
    };
    Some(Api { operation, service: Named { name: service }, response })
}

fn api_activity(activity: &Activity) -> Event<'_> {
    let (label, operation, service) = match activity.kind {
        ActivityKind::Start if activity.session.id.starts_with("ecs-execute-command-") => {
            ((1, "Create"), "ExecuteCommand", "ecs.amazonaws.com")
        }
        ActivityKind::Start => ((1, "Create"), "StartSession", SSM),
        ActivityKind::Resume => ((3, "Update"), "ResumeSession", SSM),
        ActivityKind::End if activity.event.is_none() => ((4, "Delete"), "DescribeSessions", SSM),
        ActivityKind::End => ((4, "Delete"), "TerminateSession", SSM),
    };
    let severity = severity(Severity::Info);
    let document = some(&activity.document).map(|uid| Resource {
        uid,
        kind: Some("AWS::SSM::Document"),
        role_id: 4,
        role: "Related",
    });
    Event {
        time: activity.at.0,
        category_uid: 6,
        class_uid: 6003,
        class_name: "API Activity",
        activity_id: label.0,
        activity_name: label.1,
        severity_id: severity.0,
        severity: severity.1,
        status_id: 1,
        status: "Success",
        metadata: metadata(&["cloud", "host"], Some(&activity.session), activity.event),
        cloud: cloud(activity.session.account, &activity.session.region),
        // The class demands an actor and a source, which an end seen in DescribeSessions does not tell.
        actor: actor(&activity.principal).or(Some(Actor { user: user("unknown", None, "") })),
        src_endpoint: Some(Named { name: "unknown" }),
        api: Some(Api { operation, service: Named { name: service }, response: None }),
        resources: target(&activity.target).into_iter().chain(session(&activity.session)).chain(document).collect(),
        ..Event::default()
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn severity(severity: Severity) -> Label {
    match severity {
        Severity::Info => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

fn metadata(
    profiles: &'static [&'static str],
    session: Option<&SessionKey>,
    event: Option<EventId>,
) -> Metadata<'static> {
    Metadata {
        version: OCSF_VERSION,
        uid: String::new(),
        correlation_uid: session.map(ToString::to_string),
        original_event_uid: event.map(|id| id.to_string()),
        profiles,
        product: Product { name: "Sessionwarden", vendor_name: "Sessionwarden", version: env!("CARGO_PKG_VERSION") },
    }
}

fn cloud(account: AccountId, region: &str) -> Cloud<'_> {
    Cloud { provider: "AWS", account: aws_account(account.to_string()), region: some(region) }
}

fn aws_account(uid: String) -> Account {
    Account { uid, type_id: 10, kind: "AWS Account" }
}

fn analytic<'a>(control: &'a str, policy: &'a str) -> Option<Analytic<'a>> {
    some(control).map(|uid| Analytic { uid, type_id: 1, kind: "Rule", version: some(policy) })
}

fn evidence_data(note: &EvidenceNote) -> EvidenceData<'_> {
    EvidenceData { value: &note.value, source: &note.source, at: note.at.to_string() }
}

fn enrichment(note: &EvidenceNote) -> Enrichment<'_> {
    Enrichment {
        name: some(&note.name).unwrap_or("evidence"),
        value: some(&note.value).unwrap_or("unknown"),
        data: evidence_data(note),
        provider: some(&note.source),
        created_time: note.at.0,
        kind: "evidence",
    }
}

fn actor(principal: &Principal) -> Option<Actor<'_>> {
    let name = principal.arn.rsplit(['/', ':']).next().and_then(some).or_else(|| some(&principal.kind));
    name.or_else(|| some(&principal.arn)).map(|name| Actor { user: user(name, some(&principal.arn), &principal.kind) })
}

fn user<'a>(name: &'a str, arn: Option<&'a str>, kind: &'a str) -> User<'a> {
    let (type_id, kind) = match kind {
        "" => (0, "Unknown"),
        "IAMUser" => (1, "User"),
        "Root" => (2, "Admin"),
        "AWSService" => (4, "Service"),
        other => (99, other),
    };
    let account = arn.and_then(|arn| arn.split(':').nth(4)).and_then(|digits| digits.parse::<AccountId>().ok());
    User { name, uid: arn, type_id, kind, account: account.map(|account| aws_account(account.to_string())) }
}

fn target(id: &str) -> Option<Resource<'_>> {
    let kind = match id {
        _ if id.starts_with("i-") => Some("AWS::EC2::Instance"),
        _ if id.starts_with("mi-") => Some("AWS::SSM::ManagedInstance"),
        _ => None,
    };
    some(id).map(|uid| Resource { uid, kind, role_id: 1, role: "Target" })
}

fn session(session: &SessionKey) -> Option<Resource<'_>> {
    some(&session.id).map(|uid| Resource { uid, kind: Some("AWS::SSM::Session"), role_id: 4, role: "Related" })
}

fn observable(name: &'static str, value: String) -> Observable {
    Observable { name, type_id: 10, kind: "Resource UID", value }
}
