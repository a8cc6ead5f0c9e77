use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    decode::{Decoded, Decoder},
    effect::Mode,
    ids::ThingKind as K,
    session::tests::support::{ACCOUNT, Desk, at, ids, now, with_waivers},
};

mod cases;

/// A record as CloudTrail writes it, decoded.
fn observe<T>(
    (source, name): (&str, &str),
    request: &Value,
    error: Option<&str>,
    id: u64,
    read: impl FnOnce(&Observation<'_>) -> T,
) -> T {
    let mut record = json!({
        "eventVersion": "1.09", "eventSource": format!("{source}.amazonaws.com"), "eventName": name,
        "eventTime": at(id as i64).to_string(), "awsRegion": "us-east-1",
        "eventID": format!("00000000-0000-0000-0000-{id:012}"), "recipientAccountId": ACCOUNT.to_string(),
        "userIdentity": {"type": "IAMUser", "arn": format!("arn:aws:iam::{ACCOUNT}:user/bob"), "accountId": ACCOUNT.to_string()},
        "requestParameters": request, "responseElements": null,
    });
    if let Some(error) = error {
        record["errorCode"] = error.into();
    }
    let text = record.to_string();
    let mut read = Some(read);
    let mut out = None;
    Decoder::default().decode(text.as_bytes(), &mut |decoded| {
        let Decoded::Relevant(seen) = &decoded else { panic!("{name}: {decoded:?}") };
        out = read.take().map(|read| read(seen));
    });
    out.expect("one record")
}

fn opened(desk: &mut Desk, call: (&str, &str), request: &Value, error: Option<&str>, id: u64) -> Vec<Incident> {
    let mut names = Names::default();
    observe(call, request, error, id, |seen| incidents_of(seen, &mut names, &mut desk.rules()).into_values().collect())
}

/// The controls that an event violates.
fn controls(desk: &mut Desk, call: (&str, &str), request: &Value, error: Option<&str>) -> Vec<String> {
    opened(desk, call, request, error, 1).iter().map(|one| one.control.to_string()).collect()
}

fn changed(call: (&str, &str), request: &Value, error: Option<&str>) -> Option<(K, String)> {
    let mut names = Names::default();
    observe(call, request, error, 1, |seen| changed_thing(seen, &mut names))
        .map(|thing| (thing.kind, thing.id.to_string()))
}

fn in_mode(mode: Mode) -> Settings {
    Settings { mode, ..Settings::default() }
}

#[test]
fn several_events_of_one_cause_are_one_incident() {
    let mut desk = Desk::observing();
    let request = json!({"name": "sessionwarden-watch"});
    let mut all = BTreeMap::new();
    for id in [5, 3, 9, 3] {
        for one in opened(&mut desk, ("events", "RemoveTargets"), &request, None, id) {
            match all.get_mut(&one.cause) {
                None => drop(all.insert(Arc::clone(&one.cause), one)),
                Some(known) => Incident::merge(known, one),
            }
        }
    }
    assert_eq!(all.keys().map(|cause| &**cause).collect::<Vec<_>>(), ["SW-RULE-01/111122223333/sessionwarden-watch"]);
    let one = all.into_values().next().unwrap();
    assert_eq!((one.first.at, one.last_at), (at(3), at(9)));
    let wanted = ids(&one.wanted(Now(0), &in_mode(Mode::Observe)));
    let cause = "SW-RULE-01/111122223333/sessionwarden-watch";
    assert_eq!(wanted, [format!("finding/{cause}"), format!("incident/{cause}"), format!("restoring/{cause}-0")]);
    // Other calls on the same thing are the same cause, another thing is another.
    let same = opened(&mut desk, ("events", "DeleteRule"), &request, None, 11);
    assert_eq!(&*same[0].cause, cause);
    let other = opened(&mut desk, ("events", "DeleteRule"), &json!({"name": "sessionwarden-two"}), None, 12);
    assert_ne!(&*other[0].cause, cause);
}

#[test]
fn what_is_durable_is_not_wanted_again() {
    let mut desk = Desk::observing();
    let request = json!({"accountId": "111122223333"});
    let mut one = opened(&mut desk, ("organizations", "MoveAccount"), &request, None, 1).remove(0);
    let wanted = one.wanted(Now(0), &in_mode(Mode::Enforce));
    assert_eq!(wanted.len(), 2);
    let Effect::Report(Report::Incident(note)) = &wanted[1] else { panic!("{wanted:?}") };
    assert_eq!((&note.findings[0], note.severity), (wanted[0].id(), Severity::Critical));
    one.done.insert(wanted[0].id().clone());
    assert_eq!(one.wanted(Now(0), &in_mode(Mode::Enforce)), wanted[1..]);
    one.done.insert(wanted[1].id().clone());
    assert_eq!(one.wanted(Now(0), &in_mode(Mode::Enforce)), []);
}

// R-G10, R-G11: of each report once, whatever else is done meanwhile.
#[test]
fn people_are_told_of_each_report_once() {
    let mut desk = Desk::observing();
    let request = json!({"accountId": "111122223333"});
    let mut one = opened(&mut desk, ("organizations", "MoveAccount"), &request, None, 1).remove(0);
    let settings = Settings { notify: true, ..in_mode(Mode::Enforce) };
    let wanted = one.wanted(Now(0), &settings);
    let cause = &one.cause;
    let named = |kind: &str| format!("{kind}/{cause}");
    let all = ["finding", "incident", "notify/finding", "notify/incident"].map(named);
    assert_eq!(ids(&wanted), all);
    one.done.extend([wanted[0].id().clone(), wanted[2].id().clone()]);
    assert_eq!(ids(&one.wanted(Now(0), &settings)), [&*all[1], &*all[3]]);
}

/// A control that only reports opens no incident.
#[test]
fn reports_are_findings_only() {
    let mut desk = Desk::observing();
    let one = opened(&mut desk, ("iam", "AttachRolePolicy"), &json!({"roleName": "nightly"}), None, 1).remove(0);
    assert_eq!(ids(&one.wanted(Now(0), &in_mode(Mode::Observe))), ["finding/SW-ROLE-02/111122223333/nightly"]);
}

#[test]
fn another_way_in_is_about_who_takes_it() {
    let mut desk = Desk::observing();
    let causes: BTreeSet<_> = ["i-1", "i-2"]
        .map(|node| {
            opened(&mut desk, ("ec2-instance-connect", "SendSSHPublicKey"), &json!({"instanceId": node}), None, 1)
        })
        .into_iter()
        .flatten()
        .map(|one| one.cause.to_string())
        .collect();
    assert_eq!(causes.into_iter().collect::<Vec<_>>(), ["SW-EIC-01/111122223333/arn:aws:iam::111122223333:user/bob"]);
}

// TH27, TH28, TH29, TH30: a refused attempt is told apart from a change.
#[test]
fn failed_calls_change_nothing_and_are_told_apart() {
    let mut desk = Desk::observing();
    let own = json!({"streamName": "sessionwarden-events"});
    let rows = [
        (("cloudtrail", "StopLogging"), json!({"name": "t"}), "SW-TRAIL-01", vec!["SW-TRY-01"]),
        (("kinesis", "DeleteStream"), own, "SW-GRD-01", vec!["SW-TRY-01"]),
        (("organizations", "LeaveOrganization"), json!(null), "SW-ORG-01", vec!["SW-TRY-01"]),
        (("events", "DisableRule"), json!({"name": "sessionwarden-x"}), "SW-RULE-01", vec![]),
        (("ssm", "SendCommand"), json!({"documentName": "AWS-RunShellScript"}), "SW-CMD-01", vec![]),
    ];
    for (call, request, done, refused) in rows {
        assert_eq!(controls(&mut desk, call, &request, None), [done], "{call:?}");
        assert_eq!(controls(&mut desk, call, &request, Some("AccessDenied")), refused, "{call:?}");
        assert_eq!(changed(call, &request, Some("AccessDenied")), None);
    }
}

// TH22, TH23, TH24, TH26, TH27, TH29: what anybody owns matters only where it is the guardrail's own.
#[test]
fn things_of_others_are_not_the_guardrails() {
    let mut desk = Desk::observing();
    desk.settings.own_names = vec!["sessionwarden*".into(), "1234abcd".into(), "/ssm-session-logs".into()];
    let log = "eu/ann-0a1b2c3d4e5f60718.log";
    let rows = [
        (("kms", "DisableKey"), "keyId", "1234abcd", "SW-KEY-01"),
        (("kms", "ScheduleKeyDeletion"), "keyId", "arn:aws:kms:eu-central-1:111122223333:key/1234abcd", "SW-KEY-01"),
        (("s3", "PutBucketPolicy"), "bucketName", "sessionwarden-logs", "SW-BKT-01"),
        (("s3", "DeleteObjects"), "bucketName", "sessionwarden-logs", "SW-OBJ-01"),
        (("logs", "DeleteLogGroup"), "logGroupName", "/ssm-session-logs", "SW-OBJ-01"),
        (("ssm", "UpdateDocumentDefaultVersion"), "name", "SSM-SessionManagerRunShell", "SW-DOC-06"),
        (("ssm", "ModifyDocumentPermission"), "name", "SSM-SessionManagerRunShell", "SW-DOC-06"),
        (("iam", "SetDefaultPolicyVersion"), "policyArn", "arn:aws:iam::1:policy/sessionwarden-node", "SW-ROLE-01"),
        (("sns", "SetTopicAttributes"), "topicArn", "arn:aws:sns:us-east-1:1:sessionwarden-alerts", "SW-GRD-01"),
        (("events", "PutRule"), "name", "sessionwarden-watch", "SW-RULE-01"),
        (("sqs", "PurgeQueue"), "queueUrl", "https://sqs/1/sessionwarden-wake", "SW-GRD-01"),
    ];
    for (call, parameter, own, control) in rows {
        assert_eq!(controls(&mut desk, call, &json!({parameter: own}), None), [control], "{call:?}");
        let theirs = controls(&mut desk, call, &json!({parameter: "arn:aws:x:y:1:else/theirs"}), None);
        let expected: &[&str] = if call.0 == "iam" { &["SW-ROLE-02"] } else { &[] };
        assert_eq!(theirs, expected, "{call:?}");
    }
    for (bucket, found) in [("sessionwarden-logs", vec!["SW-OBJ-01"]), ("b", vec![])] {
        let request = json!({"bucketName": bucket, "key": log});
        assert_eq!(controls(&mut desk, ("s3", "DeleteObject"), &request, None), found, "{bucket}");
        assert_eq!(controls(&mut desk, ("s3", "PutObject"), &request, None), [] as [&str; 0], "{bucket}");
    }
}

// I16: an event is excused while its waiver works, and not from its end on.
#[test]
fn waivers_excuse_events() {
    let text = format!(
        "@id(\"W\") @control(\"SW-CMD-01\") @owner(\"o\") @ticket(\"t\") @expires(\"{}\")\n\
         permit (principal, action == Action::\"event\", resource) when {{ principal.name == \"bob\" }};\n",
        at(100)
    );
    let mut desk = Desk::new(with_waivers(&text), Mode::Observe);
    let request = json!({"documentName": "AWS-RunShellScript", "instanceIds": ["i-1"]});
    let mut count = |id: u64| opened(&mut desk, ("ssm", "SendCommand"), &request, None, id).len();
    assert_eq!([1, 99, 100, 101].map(&mut count), [0, 0, 1, 1]);
}

// TH20, TH21, TH22, TH23, TH24, TH25, TH26, R-W17: a change names the thing that sessions rest on.
#[test]
fn changes_name_their_thing() {
    let key = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let policy = "arn:aws:iam::111122223333:policy/team/node";
    let rows: [(&str, &str, Value, K, &str); 16] = [
        ("iam", "AttachRolePolicy", json!({"roleName": "node", "policyArn": policy}), K::Role, "node"),
        ("iam", "DeleteRole", json!({"roleName": "node"}), K::Role, "node"),
        ("iam", "PutRolePermissionsBoundary", json!({"roleName": "node"}), K::Role, "node"),
        ("iam", "CreatePolicyVersion", json!({"policyArn": policy}), K::Policy, policy),
        ("iam", "SetDefaultPolicyVersion", json!({"policyArn": policy}), K::Policy, policy),
        (
            "ec2",
            "AssociateIamInstanceProfile",
            json!({"AssociateIamInstanceProfileRequest": {"InstanceId": "i-1"}}),
            K::Node,
            "i-1",
        ),
        ("iam", "RemoveRoleFromInstanceProfile", json!({"instanceProfileName": "p"}), K::InstanceProfile, "p"),
        ("kms", "DisableKey", json!({"keyId": key}), K::Key, "1234abcd-12ab-34cd-56ef-1234567890ab"),
        ("kms", "DisableKey", json!({"keyId": "1234abcd"}), K::Key, "1234abcd"),
        ("s3", "PutBucketPolicy", json!({"bucketName": "logs"}), K::Bucket, "logs"),
        (
            "s3",
            "DeleteObject",
            json!({"bucketName": "logs", "key": "a/ann-0a1b2c3d4e5f60718.log"}),
            K::LogObject,
            "logs/a/ann-0a1b2c3d4e5f60718.log",
        ),
        ("logs", "DeleteLogGroup", json!({"logGroupName": "g"}), K::LogGroup, "g"),
        ("ec2", "CreateNetworkAclEntry", json!({"networkAclId": "acl-1"}), K::Network, "acl-1"),
        (
            "ssm",
            "UpdateDocumentDefaultVersion",
            json!({"name": "SSM-SessionManagerRunShell"}),
            K::Document,
            "SSM-SessionManagerRunShell",
        ),
        (
            "ssm",
            "UpdateDocument",
            json!({"name": "arn:aws:ssm:eu:1:document/SSM-SessionManagerRunShell"}),
            K::Document,
            "SSM-SessionManagerRunShell",
        ),
        ("ssm", "DeleteDocument", json!({"name": "Mine"}), K::Document, "Mine"),
    ];
    for (source, name, request, kind, id) in rows {
        assert_eq!(changed((source, name), &request, None), Some((kind, id.to_owned())), "{name}");
        assert_eq!(changed((source, name), &request, Some("AccessDenied")), None, "{name}");
    }
    assert_eq!(changed(("iam", "DeleteRole"), &json!(null), None), None);
    assert_eq!(changed(("ssm", "SendCommand"), &json!({"documentName": "d"}), None), None);
}

// R-W17: what a session rests on and what an event changed have the same form, however long or short they were given.
#[test]
fn a_changed_thing_is_the_one_that_sessions_keep() {
    use crate::session::{Gathered, Input, Life};
    let long = "p".repeat(300);
    let given = [
        (K::Policy, format!("arn:aws:iam::111122223333:policy/{long}"), ("iam", "CreatePolicyVersion"), "policyArn"),
        (K::Key, format!("arn:aws:kms:eu:{ACCOUNT}:key/12"), ("kms", "DisableKey"), "keyId"),
        (K::Document, "arn:aws:ssm:eu:1:document/Mine".to_owned(), ("ssm", "UpdateDocument"), "name"),
        (K::Role, long, ("iam", "DeleteRole"), "roleName"),
    ];
    for (kind, id, call, parameter) in given {
        let mut one = crate::session::tests::support::session();
        let thing = Thing { kind, account: one.key.account, id: id.as_str().into() };
        let alive = Life::Alive(crate::session::tests::support::described());
        let gathered =
            Gathered { depends: [thing].into(), ..Gathered::new(crate::session::tests::support::now(1), alive) };
        one.absorb(Input::Gathered(Box::new(gathered)), crate::session::tests::support::now(1));
        let mut names = Names::default();
        let changed = observe(call, &json!({parameter: id}), None, 1, |seen| changed_thing(seen, &mut names)).unwrap();
        assert!(one.seen.unwrap().depends.contains(&changed), "{changed}");
    }
}

fn events() -> impl Strategy<Value = Vec<Incident>> {
    let one = (0..4_u64, 0..3_u64, 0..2_usize, 0..2_usize).prop_map(|(seconds, event, call, region)| {
        let mut desk = Desk::observing();
        let mut one =
            opened(&mut desk, ("events", "DisableRule"), &json!({"name": "sessionwarden-x"}), None, seconds).remove(0);
        one.first.event = crate::ids::EventId(event.into());
        one.call = ["DisableRule", "PutRule"][call].into();
        one.region = ["us-east-1", "eu-west-1"][region].into();
        one.done = (0..event).map(|n| EffectId(n.to_string().into())).collect();
        one
    });
    prop::collection::vec(one, 1..5)
}

fn sum(all: &[Incident]) -> Incident {
    all.iter().skip(1).fold(all[0].clone(), |mut sum, one| {
        sum.merge(one.clone());
        sum
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    // I4
    #[test]
    fn merging_does_not_care_for_order_or_repetition((all, other) in events().prop_flat_map(|all| {
        let twice: Vec<Incident> = all.iter().chain(&all).cloned().collect();
        (Just(all), Just(twice).prop_shuffle())
    }), cut in 0..5_usize) {
        let whole = sum(&all);
        prop_assert_eq!(&sum(&other), &whole);
        let (left, right) = other.split_at(cut.clamp(1, other.len() - 1));
        prop_assert_eq!(&sum(&[sum(left), sum(right)]), &whole);
    }
}

mod forgotten {
    use super::*;
    use crate::session::{
        Input, Phase, Session,
        tests::support::{GOOD, alive, ended, found, key, look, now, session, start},
    };

    const EXPIRED: i64 = 35 * 86_400;

    fn opened(session: Option<&Session>) -> Option<Incident> {
        Incident::of_forgotten(&key("ann-0a1b2c3d4e5f60718"), session, Some(now(EXPIRED)))
    }

    /// A session to its closing, with all effects done.
    fn closed(desk: &mut Desk) -> Session {
        let mut one = session();
        for (input, seconds) in [(start(0), 0), (alive(15, &GOOD), 15), (ended(75, 60), 75)] {
            desk.step(&mut one, input, seconds);
        }
        let effects = desk.step(&mut one, look(100, found(70)), 100);
        assert!(matches!(desk.phase(&one), Phase::Closed(_)));
        assert!(opened(Some(&one)).is_some(), "the closing is not in the audit trail yet");
        desk.step(&mut one, Input::Done(effects.iter().map(|effect| effect.id().clone()).collect()), 100);
        one
    }

    #[test]
    fn a_session_that_was_never_closed_opens_one_incident_of_its_own() {
        let mut one = session();
        one.absorb(start(0), now(0));
        one.absorb(alive(15, &GOOD), now(15));
        let incident = opened(Some(&one)).unwrap();
        assert_eq!(&*incident.cause, "session-forgotten/111122223333/eu-central-1/ann-0a1b2c3d4e5f60718");
        let wanted = incident.wanted(Now(0), &in_mode(Mode::Enforce));
        let [Effect::Report(Report::Incident(note))] = &wanted[..] else { panic!("{wanted:?}") };
        assert_eq!(&*note.id.0, "incident/session-forgotten/111122223333/eu-central-1/ann-0a1b2c3d4e5f60718");
        assert_eq!((&*note.cause, note.severity, note.session.as_ref()), (FORGOTTEN, Severity::High, Some(&one.key)));
        assert_eq!((note.account, &*note.region, note.opened), (one.key.account, "eu-central-1", at(EXPIRED)));
        assert_eq!(note.findings, []);
        let alive = note.evidence.iter().find(|note| &*note.name == "last-alive").unwrap();
        assert_eq!((&*alive.source, alive.at), ("describe-sessions", at(15)));
        assert!(note.evidence.iter().any(|note| &*note.name == "target"));

        // Whoever finds it gone again adds nothing.
        let mut again = incident.clone();
        again.merge(opened(Some(&one)).unwrap());
        assert_eq!(again, incident);
        again.done.insert(wanted[0].id().clone());
        assert_eq!(again.wanted(Now(0), &in_mode(Mode::Enforce)), []);
        let text = serde_json::to_string(&incident).unwrap();
        assert_eq!(serde_json::from_str::<Incident>(&text).unwrap(), incident);
    }

    #[test]
    fn a_closed_session_is_not_forgotten_unless_it_was_alive_again() {
        let mut desk = Desk::enforcing();
        let mut one = closed(&mut desk);
        assert_eq!(opened(Some(&one)), None);
        // I15: AWS shows it alive later than anybody reported its end.
        one.absorb(alive(200, &GOOD), now(200));
        assert!(opened(Some(&one)).is_some());
    }

    #[test]
    fn an_end_without_a_closing_is_no_closing() {
        let mut one = session();
        one.absorb(start(0), now(0));
        one.absorb(ended(75, 60), now(75));
        let incident = opened(Some(&one)).unwrap();
        let alive = incident.evidence.iter().find(|note| &*note.name == "last-alive").unwrap();
        assert_eq!((&*alive.source, alive.at), ("cloudtrail", at(0)));
    }

    #[test]
    fn what_cannot_be_read_opens_an_incident_with_what_its_key_tells() {
        let incident = opened(None).unwrap();
        let wanted = incident.wanted(Now(0), &in_mode(Mode::Observe));
        let [Effect::Report(Report::Incident(note))] = &wanted[..] else { panic!("{wanted:?}") };
        assert!(note.title.contains("cannot be read"), "{}", note.title);
        assert_eq!(note.session.as_ref().map(|key| &*key.id), Some("ann-0a1b2c3d4e5f60718"));
        assert_eq!(incident.cause, opened(Some(&session())).unwrap().cause);
    }
}
