//! Every report that the product can make: by enumeration, and at random.

use std::{collections::BTreeSet, sync::Arc};

use proptest::{collection::vec, option, prelude::*, sample::select};
use sessionwarden_machine::{
    effect::{
        Activity, ActivityKind, EvidenceNote, Finding, IncidentNote, Mode, Principal, Remedy, RemedyKind, RemedyResult,
        Report, Severity,
    },
    ids::{AccountId, EffectId, EventId, EventTime, SessionKey},
};

pub(crate) const SEVERITIES: [Severity; 5] =
    [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
pub(crate) const MODES: [Mode; 2] = [Mode::Observe, Mode::Enforce];
pub(crate) const KINDS: [RemedyKind; 4] =
    [RemedyKind::Terminate, RemedyKind::Quarantine, RemedyKind::Release, RemedyKind::Restore];
pub(crate) const CALLS: [ActivityKind; 3] = [ActivityKind::Start, ActivityKind::Resume, ActivityKind::End];
const PRINCIPALS: [&str; 8] =
    ["IAMUser", "AssumedRole", "Root", "AWSService", "AWSAccount", "FederatedUser", "Role", ""];

pub(crate) fn results() -> [RemedyResult; 5] {
    [
        RemedyResult::Planned,
        RemedyResult::Done,
        RemedyResult::Unneeded,
        RemedyResult::Failed("ThrottlingException: Rate exceeded".into()),
        RemedyResult::Refused("cap: 3 concurrent quarantines".into()),
    ]
}

fn id(text: &str) -> EffectId {
    EffectId(text.into())
}

fn account() -> AccountId {
    AccountId::new(111_122_223_333).unwrap()
}

fn key(id: &str) -> SessionKey {
    SessionKey { account: account(), region: "eu-central-1".into(), id: id.into() }
}

fn evidence() -> Vec<EvidenceNote> {
    vec![
        EvidenceNote {
            name: "document".into(),
            value: "AWS-StartPortForwardingSession, a port document".into(),
            source: "cloudtrail".into(),
            at: EventTime(1_722_514_758_000),
        },
        EvidenceNote {
            name: "log-writable".into(),
            value: "no: an explicit deny in policy \"lock\"".into(),
            source: "posture".into(),
            at: EventTime(1_722_514_758_250),
        },
    ]
}

pub(crate) fn finding() -> Finding {
    Finding {
        id: id("session#111122223333/eu-central-1/alice-0a1b2c3d4e5f60718/no-port-documents/1"),
        control: "no-port-documents".into(),
        title: "A session must not forward ports".into(),
        severity: Severity::High,
        requirements: ["R-G3".into(), "TH2".into()].into(),
        techniques: ["T1021.007".into(), "T1078.004".into(), "T1572".into()].into(),
        policy: "9f86d081884c7d65".into(),
        account: account(),
        region: "eu-central-1".into(),
        session: Some(key("alice-0a1b2c3d4e5f60718")),
        target: "i-0123456789abcdef0".into(),
        principal: Principal {
            arn: "arn:aws:sts::111122223333:assumed-role/Operator/alice".into(),
            kind: "AssumedRole".into(),
        },
        since: EventTime(1_722_514_758_000),
        event: EventId::parse("f8f0460c-476b-42b7-9cfb-cd6345e2aad1"),
        evidence: evidence(),
        mode: Mode::Enforce,
    }
}

pub(crate) fn incident() -> IncidentNote {
    IncidentNote {
        id: id("incident#log-missing/alice-0a1b2c3d4e5f60718"),
        title: "The session's log did not arrive".into(),
        cause: "log-missing".into(),
        severity: Severity::Critical,
        account: account(),
        region: "eu-central-1".into(),
        session: Some(key("alice-0a1b2c3d4e5f60718")),
        opened: EventTime(1_722_514_758_000),
        resolved: Some(EventTime(1_722_514_999_000)),
        evidence: evidence(),
        findings: vec![id("finding-1"), id("finding-2")],
    }
}

pub(crate) fn remedy() -> Remedy {
    Remedy {
        id: id("terminate/111122223333/eu-central-1/alice-0a1b2c3d4e5f60718"),
        kind: RemedyKind::Terminate,
        result: RemedyResult::Planned,
        reason: "Control no-port-documents is violated".into(),
        account: account(),
        region: "eu-central-1".into(),
        session: Some(key("alice-0a1b2c3d4e5f60718")),
        target: "alice-0a1b2c3d4e5f60718".into(),
        at: EventTime(1_722_514_759_000),
        findings: vec![id("finding-1")],
    }
}

pub(crate) fn activity() -> Activity {
    Activity {
        id: id("activity/f8f0460c-476b-42b7-9cfb-cd6345e2aad1"),
        kind: ActivityKind::Start,
        session: key("alice-0a1b2c3d4e5f60718"),
        principal: finding().principal,
        target: "mi-0123456789abcdef0".into(),
        document: "SSM-SessionManagerRunShell".into(),
        at: EventTime(1_722_514_758_000),
        event: EventId::parse("f8f0460c-476b-42b7-9cfb-cd6345e2aad1"),
    }
}

/// Whether field `n` of a combination is there.
fn has(combination: u32, n: u32) -> bool {
    combination & 1 << n != 0
}

fn blank(text: &mut Arc<str>) {
    *text = "".into();
}

/// Every combination of present and absent fields with every value of every enumeration.
pub(crate) fn every_combination() -> Vec<Report> {
    let mut all = Vec::new();
    for c in 0..1 << 12 {
        let (severity, mode) = (SEVERITIES[c as usize % 5], MODES[c as usize / 5 % 2]);
        all.push(Report::Finding(Box::new(thin_finding(c, Finding { severity, mode, ..finding() }))));
    }
    for (severity, c) in SEVERITIES.into_iter().flat_map(|severity| (0..1 << 7).map(move |c| (severity, c))) {
        all.push(Report::Incident(Box::new(thin_incident(c, IncidentNote { severity, ..incident() }))));
    }
    for (kind, result) in KINDS.into_iter().flat_map(|kind| results().map(move |result| (kind, result))) {
        for c in 0..1 << 6 {
            let full = Remedy { kind, result: result.clone(), ..remedy() };
            all.push(Report::Remedy(Box::new(thin_remedy(c, full))));
        }
    }
    for (kind, principal) in CALLS.into_iter().flat_map(|kind| PRINCIPALS.map(move |principal| (kind, principal))) {
        for c in 0..1 << 6 {
            all.push(Report::Activity(Box::new(thin_activity(c, principal, Activity { kind, ..activity() }))));
        }
    }
    all
}

fn thin_finding(c: u32, mut finding: Finding) -> Finding {
    finding.session = finding.session.filter(|_| has(c, 0));
    finding.event = finding.event.filter(|_| has(c, 1));
    let texts = [
        &mut finding.principal.arn,
        &mut finding.principal.kind,
        &mut finding.target,
        &mut finding.title,
        &mut finding.control,
        &mut finding.policy,
        &mut finding.region,
    ];
    for (text, n) in texts.into_iter().zip(2..) {
        if !has(c, n) {
            blank(text);
        }
    }
    if !has(c, 9) {
        finding.evidence.clear();
    }
    if !has(c, 10) {
        finding.techniques.clear();
    }
    if !has(c, 11) {
        finding.requirements.clear();
    }
    finding
}

fn thin_incident(c: u32, mut incident: IncidentNote) -> IncidentNote {
    incident.session = incident.session.filter(|_| has(c, 0));
    incident.resolved = incident.resolved.filter(|_| has(c, 1));
    for (text, n) in [&mut incident.title, &mut incident.cause, &mut incident.region].into_iter().zip(2..) {
        if !has(c, n) {
            blank(text);
        }
    }
    if !has(c, 5) {
        incident.evidence.clear();
    }
    if !has(c, 6) {
        incident.findings.clear();
    }
    incident
}

fn thin_remedy(c: u32, mut remedy: Remedy) -> Remedy {
    remedy.session = remedy.session.filter(|_| has(c, 0));
    for (text, n) in [&mut remedy.reason, &mut remedy.region, &mut remedy.target].into_iter().zip(1..) {
        if !has(c, n) {
            blank(text);
        }
    }
    if !has(c, 4) {
        remedy.findings.clear();
    }
    if let RemedyResult::Failed(why) | RemedyResult::Refused(why) = &mut remedy.result
        && !has(c, 5)
    {
        blank(why);
    }
    remedy
}

fn thin_activity(c: u32, principal: &str, mut activity: Activity) -> Activity {
    activity.principal.kind = principal.into();
    if has(c, 0) {
        activity.session.id = "ecs-execute-command-0a1b2c3d4e5f60718".into();
    }
    activity.event = activity.event.filter(|_| has(c, 1));
    let texts =
        [&mut activity.session.region, &mut activity.principal.arn, &mut activity.target, &mut activity.document];
    for (text, n) in texts.into_iter().zip(2..) {
        if !has(c, n) {
            blank(text);
        }
    }
    activity
}

/// Text from outside: nothing, something ordinary, anything.
fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        Just(String::new()),
        select(vec![
            "i-0123456789abcdef0".to_owned(),
            "arn:aws:iam::000000000042:root".to_owned(),
            "arn:aws:sts::111122223333:assumed-role/Operator/".to_owned(),
            ":".to_owned(),
            "T1021".to_owned(),
            ".001".to_owned(),
        ]),
        any::<String>(),
    ]
    .prop_map(Into::into)
}

fn effect_id() -> impl Strategy<Value = EffectId> {
    "\\PC{1,40}".prop_map(|text| EffectId(text.into()))
}

fn time() -> impl Strategy<Value = EventTime> {
    any::<i64>().prop_map(EventTime)
}

fn an_account() -> impl Strategy<Value = AccountId> {
    (0..=999_999_999_999_u64).prop_map(|number| AccountId::new(number).unwrap())
}

fn session() -> impl Strategy<Value = SessionKey> {
    (an_account(), text(), text()).prop_map(|(account, region, id)| SessionKey { account, region, id })
}

fn notes() -> impl Strategy<Value = Vec<EvidenceNote>> {
    let note = (text(), text(), text(), time());
    vec(note.prop_map(|(name, value, source, at)| EvidenceNote { name, value, source, at }), 0..4)
}

fn texts() -> impl Strategy<Value = BTreeSet<Arc<str>>> {
    prop::collection::btree_set(text(), 0..4)
}

fn principal() -> impl Strategy<Value = Principal> {
    (text(), prop_oneof![select(PRINCIPALS.to_vec()).prop_map(Arc::from), text()])
        .prop_map(|(arn, kind)| Principal { arn, kind })
}

fn any_finding() -> impl Strategy<Value = Report> {
    let control = (effect_id(), text(), text(), text(), texts(), texts());
    let place = (an_account(), text(), option::of(session()), text(), principal());
    let rest = (time(), option::of(any::<u128>()), notes(), select(&SEVERITIES[..]), select(&MODES[..]));
    (control, place, rest).prop_map(
        |(
            (id, control, title, policy, requirements, techniques),
            (account, region, session, target, principal),
            (since, event, evidence, severity, mode),
        )| {
            Report::Finding(Box::new(Finding {
                id,
                control,
                title,
                severity,
                requirements,
                techniques,
                policy,
                account,
                region,
                session,
                target,
                principal,
                since,
                event: event.map(EventId),
                evidence,
                mode,
            }))
        },
    )
}

fn any_incident() -> impl Strategy<Value = Report> {
    let cause = (effect_id(), text(), text(), select(&SEVERITIES[..]), vec(effect_id(), 0..4));
    let place = (an_account(), text(), option::of(session()), time(), option::of(time()), notes());
    (cause, place).prop_map(
        |((id, title, cause, severity, findings), (account, region, session, opened, resolved, evidence))| {
            Report::Incident(Box::new(IncidentNote {
                id,
                title,
                cause,
                severity,
                account,
                region,
                session,
                opened,
                resolved,
                evidence,
                findings,
            }))
        },
    )
}

fn any_remedy() -> impl Strategy<Value = Report> {
    let result = prop_oneof![
        select(results().to_vec()),
        text().prop_map(RemedyResult::Failed),
        text().prop_map(RemedyResult::Refused),
    ];
    let what = (effect_id(), select(&KINDS[..]), result, text(), vec(effect_id(), 0..4));
    let place = (an_account(), text(), option::of(session()), text(), time());
    (what, place).prop_map(|((id, kind, result, reason, findings), (account, region, session, target, at))| {
        Report::Remedy(Box::new(Remedy { id, kind, result, reason, account, region, session, target, at, findings }))
    })
}

fn any_activity() -> impl Strategy<Value = Report> {
    let what = (effect_id(), select(&CALLS[..]), session(), principal());
    (what, text(), text(), time(), option::of(any::<u128>())).prop_map(
        |((id, kind, session, principal), target, document, at, event)| {
            let event = event.map(EventId);
            Report::Activity(Box::new(Activity { id, kind, session, principal, target, document, at, event }))
        },
    )
}

pub(crate) fn any_report() -> impl Strategy<Value = Report> {
    prop_oneof![any_finding(), any_incident(), any_remedy(), any_activity()]
}
