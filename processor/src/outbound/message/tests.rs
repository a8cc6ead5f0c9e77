use std::collections::BTreeSet;

use proptest::prelude::*;
use sessionwarden_machine::{
    effect::{Activity, ActivityKind, EvidenceNote, Principal},
    ids::EventTime,
};

use super::*;

fn finding(title: &str, target: &str, region: &str) -> Finding {
    Finding {
        id: EffectId("finding/1/document".into()),
        control: "document".into(),
        title: title.into(),
        severity: Severity::High,
        requirements: BTreeSet::new(),
        techniques: BTreeSet::new(),
        policy: "abc".into(),
        account: AccountId::new(111_122_223_333).unwrap(),
        region: region.into(),
        session: None,
        target: target.into(),
        principal: Principal { arn: target.into(), kind: "AssumedRole".into() },
        since: EventTime(1_795_000_000_000),
        event: None,
        evidence: vec![EvidenceNote {
            name: "document".into(),
            value: target.into(),
            source: "cloudtrail".into(),
            at: EventTime(1_795_000_000_000),
        }],
        mode: Mode::Observe,
    }
}

fn message(finding: Finding) -> Message {
    Message::of(&Report::Finding(Box::new(finding))).unwrap()
}

fn block(message: &Message) -> Value {
    let (_, block) = message.body.split_once("\n\n").expect("an empty line");
    serde_json::from_str(block).expect("one JSON value")
}

// R-G10 R-G11: the whole finding and its reason.
#[test]
fn a_finding_is_told_to_people_and_to_programs() {
    let told = message(finding("Session without the approved document.", "i-0123456789abcdef0", "eu-west-1"));
    assert_eq!(told.subject, "[HIGH] Session without the approved document: 111122223333 eu-west-1");
    let sentences: Vec<&str> = told.body.split_once("\n\n").unwrap().0.lines().collect();
    assert_eq!(
        sentences,
        [
            "Session without the approved document (document).",
            "Account 111122223333, region eu-west-1.",
            "By i-0123456789abcdef0.",
            "On i-0123456789abcdef0.",
            "Since 2026-11-18T11:06:40Z.",
            "Evidence: document is i-0123456789abcdef0 (cloudtrail).",
            "Observe mode: nothing is done about it.",
        ]
    );
    let block = block(&told);
    assert_eq!(block["sessionwarden"], 1);
    assert_eq!(block["id"], "finding/1/document");
    let wanted = serde_json::to_value(Report::Finding(Box::new(finding(
        "Session without the approved document.",
        "i-0123456789abcdef0",
        "eu-west-1",
    ))));
    assert_eq!(block["report"], wanted.unwrap());
    let attributes = [
        ("severity", "high"),
        ("control", "document"),
        ("account", "111122223333"),
        ("region", "eu-west-1"),
        ("kind", "finding"),
        ("id", "finding/1/document"),
    ];
    assert_eq!(told.attributes(), attributes.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn remedies_and_incidents_are_told_and_session_calls_are_not() {
    let remedy = |kind, result| {
        let remedy = Remedy {
            id: EffectId("remedy/1".into()),
            kind,
            result,
            reason: "ten sessions in five minutes".into(),
            account: AccountId::new(1).unwrap(),
            region: "".into(),
            session: None,
            target: "000000000001".into(),
            at: EventTime(0),
            findings: Vec::new(),
        };
        Message::of(&Report::Remedy(Box::new(remedy))).unwrap()
    };
    let locked = remedy(RemedyKind::Quarantine, RemedyResult::Done);
    assert_eq!((locked.severity, &*locked.control), (Severity::High, "quarantine"));
    assert_eq!(locked.subject, "[HIGH] Locking an account: done: 000000000001");
    assert!(locked.attributes().iter().all(|(name, value)| *name != "region" && !value.is_empty()));
    let failed = remedy(RemedyKind::Terminate, RemedyResult::Failed("access denied".into()));
    assert!(
        failed.body.starts_with("Ending a session: failed (access denied).\nReason: ten sessions in five minutes.\n")
    );
    assert_eq!(remedy(RemedyKind::Terminate, RemedyResult::Planned).severity, Severity::Info);

    let mut incident = IncidentNote {
        id: EffectId("incident/1".into()),
        title: "No log arrived".into(),
        cause: "log-missing".into(),
        severity: Severity::Critical,
        account: AccountId::new(1).unwrap(),
        region: "eu-west-1".into(),
        session: None,
        opened: EventTime(0),
        resolved: None,
        evidence: Vec::new(),
        findings: Vec::new(),
    };
    let open = Message::of(&Report::Incident(Box::new(incident.clone()))).unwrap();
    assert_eq!(open.subject, "[CRITICAL] No log arrived: 000000000001 eu-west-1");
    incident.resolved = Some(EventTime(1_000));
    let resolved = Message::of(&Report::Incident(Box::new(incident))).unwrap();
    assert_eq!(resolved.subject, "[CRITICAL] Resolved: No log arrived: 000000000001 eu-west-1");

    let activity = Activity {
        id: EffectId("activity/1".into()),
        kind: ActivityKind::Start,
        session: SessionKey { account: AccountId::new(1).unwrap(), region: "r".into(), id: "s".into() },
        principal: Principal { arn: "".into(), kind: "".into() },
        target: "".into(),
        document: "".into(),
        at: EventTime(0),
        event: None,
    };
    assert_eq!(Message::of(&Report::Activity(Box::new(activity))), None);
}

#[test]
fn a_body_that_would_be_too_large_says_how_much_it_leaves_out() {
    let mut large = finding("t", "x", "r");
    large.evidence =
        vec![
            EvidenceNote { name: "n".into(), value: "v".repeat(1_000).into(), source: "s".into(), at: EventTime(0) };
            300
        ];
    let told = message(large);
    assert!(told.body.len() < 10_000);
    let block = block(&told);
    assert!(block["omitted_bytes"].as_u64().unwrap() > 300_000);
    assert_eq!(block["id"], "finding/1/document");
}

proptest! {
    /// Whatever a name is made to look like: one line for each sentence, one JSON value, an ASCII subject.
    #[test]
    fn names_cannot_forge_a_message(
        title in "(\\PC|[\n\r\t{}\u{2028}\u{85}]){0,400}", target in "(\\PC|[\n\r\"{}\u{2029}\u{0}]){1,400}", region in "[^\n]{0,300}",
    ) {
        let told = message(finding(&title, &target, &region));
        prop_assert!(told.subject.len() <= SUBJECT_CHARS_MAX, "{}", told.subject);
        prop_assert!(told.subject.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
        prop_assert!(told.subject.starts_with("[HIGH] "));
        prop_assert!(told.body.len() <= BODY_BYTES_MAX);
        let (sentences, _) = told.body.split_once("\n\n").unwrap();
        prop_assert_eq!(sentences.lines().count(), 7);
        prop_assert!(!sentences.contains(|one: char| one.is_control() && one != '\n'));
        prop_assert_eq!(&block(&told)["report"]["finding"]["target"], &Value::from(target));
        for (_, value) in told.attributes() {
            prop_assert!(!value.is_empty() && value.len() <= 1_024 && !value.contains(char::is_control));
        }
    }
}

// What a program gets says everything that the attributes say, and fits whatever takes 256 KiB.
#[test]
fn the_object_for_programs_is_one_line_and_bounded() {
    let told = message(finding("t", "i-0123456789abcdef0", "eu-west-1"));
    let text = told.json();
    assert_eq!(text.lines().count(), 1);
    let object: Value = serde_json::from_str(&text).unwrap();
    for (name, value) in told.attributes() {
        assert_eq!(object[name], value, "{name}");
    }
    assert_eq!((&object["sessionwarden"], &object["subject"]), (&json!(1), &Value::from(told.subject.clone())));
    assert_eq!(object["report"], block(&told)["report"]);

    let mut large = finding("t", &"ü".repeat(200_000), "r");
    large.id = EffectId("i".repeat(300_000).into());
    let text = message(large).json();
    assert!(text.len() < 3_000, "{}", text.len());
    let object: Value = serde_json::from_str(&text).unwrap();
    assert!(object["omitted_bytes"].as_u64().unwrap() > 300_000);
    assert_eq!(object["kind"], "finding");
}

#[test]
fn a_remedy_names_the_controls_behind_it() {
    let remedy = Remedy {
        id: EffectId("terminate/1".into()),
        kind: RemedyKind::Terminate,
        result: RemedyResult::Done,
        reason: "why".into(),
        account: AccountId::new(1).unwrap(),
        region: "".into(),
        session: None,
        target: "".into(),
        at: EventTime(0),
        findings: vec![EffectId("finding/session#1/SW-DOC-02".into()), EffectId("finding/session#1/SW-ROLE-01".into())],
    };
    let told = Message::of(&Report::Remedy(Box::new(remedy))).unwrap();
    assert_eq!(told.controls().collect::<Vec<_>>(), ["terminate", "SW-DOC-02", "SW-ROLE-01"]);
}
