//! The model against what is promised of it.

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;
use serde_json::Value;
use sessionwarden_machine::{
    decode::{Decoded, Decoder},
    document::SessionDocument,
    effect::Lock,
    ids::{EventId, Now, SessionKey},
    settings::Tier,
};
use sessionwarden_world::{
    Account, CallError, Caller, Change, LogFate, Node, NodeKind, OrganisationShape, SessionStatus, StartSession, World,
    background, catalogue,
    dice::Dice,
    estate::customer_policy,
    session::PORT_DOCUMENT,
    template::Scene,
    texts::{LOG_POLICY, UNLOGGED_PREFERENCES},
};

const START: Now = Now(1_722_500_000_000);

fn world() -> World {
    World::new(OrganisationShape::quick(), 7, START)
}

fn ordinary(world: &World) -> Account {
    world.accounts().iter().find(|account| account.ordinary()).unwrap().clone()
}

fn request(node: &Node, document: Option<&str>, log: LogFate) -> StartSession {
    let (region, target) = (Arc::clone(&node.region), Arc::clone(&node.id));
    let (document, reason) = (document.map(Arc::from), Some(Arc::from("a \"reason\"")));
    StartSession { region, target, document, reason, log, just_in_time: false }
}

fn start(world: &mut World, document: Option<&str>, log: LogFate) -> SessionKey {
    let account = ordinary(world);
    world.start_session(&account.users[0], &request(&account.nodes[0], document, log)).unwrap()
}

fn differences(world: &World, account: &Account, region: &str) -> Option<Vec<String>> {
    let document = world.document(account.id, region, "SSM-SessionManagerRunShell").ok()?;
    let document = SessionDocument::parse(&document.content).unwrap();
    world.wanted_preferences().differences(&document, account.id, region)
}

fn size_of_log(world: &World, key: &SessionKey) -> Option<u64> {
    world.session_log(key).map(|(_, log)| log.size_bytes)
}

fn events(world: &mut World) -> Vec<Value> {
    world.drain_events().iter().map(|event| serde_json::from_slice(event).unwrap()).collect()
}

#[test]
fn an_organisation_has_its_parts() {
    let world = world();
    assert_eq!(world.accounts().len(), 10);
    assert!(world.accounts()[0].management && world.accounts()[1].log_archive);
    let ids: BTreeSet<_> = world.accounts().iter().map(|account| account.id).collect();
    assert_eq!(ids.len(), 10, "account ids are distinct");
    for account in world.accounts() {
        for (kind, prefix) in [(NodeKind::Instance, "i-"), (NodeKind::Hybrid, "mi-"), (NodeKind::Container, "ecs:")] {
            assert!(account.nodes.iter().any(|node| node.kind == kind && node.id.starts_with(prefix)));
        }
        for region in world.regions() {
            assert!(account.machines().any(|node| node.region == *region));
            assert_eq!(differences(&world, account, region), Some(Vec::new()));
        }
    }
    assert_eq!(differences(&world, &ordinary(&world), "mars-north-1"), None);
}

#[test]
fn a_session_is_announced_described_and_logged() {
    let mut world = world();
    let key = start(&mut world, None, LogFate::Usual);
    let event = events(&mut world).remove(0);
    let record = &event["detail"];
    assert_eq!(event["source"], "aws.ssm");
    assert_eq!(event["detail-type"], "AWS API Call via CloudTrail");
    assert_eq!(event["account"], key.account.to_string());
    assert_eq!(event["region"], &*key.region);
    assert_eq!(record["eventSource"], "ssm.amazonaws.com");
    assert_eq!(record["eventName"], "StartSession");
    assert_eq!(record["eventTime"], "2024-08-01T08:13:20Z");
    assert_eq!(record["recipientAccountId"], key.account.to_string());
    assert_eq!(record["responseElements"]["sessionId"], &*key.id);
    assert_eq!(record["requestParameters"]["reason"], "a \"reason\"");
    assert!(record["requestParameters"]["documentName"].is_null(), "the default document is not named");
    assert!(EventId::parse(record["eventID"].as_str().unwrap()).is_some());

    let described = world.describe_session(&key).unwrap();
    assert_eq!((described.status, &*described.document), (SessionStatus::Connected, "SSM-SessionManagerRunShell"));
    assert_eq!(world.active_sessions(key.account, &key.region), [described]);

    world.advance_to(START.plus_ms(10_000));
    world.exit_session(&key);
    assert!(events(&mut world).is_empty(), "typing exit calls no API");
    assert!(world.active_sessions(key.account, &key.region).is_empty());
    assert_eq!(world.describe_session(&key).unwrap().status, SessionStatus::Terminated);
    world.advance_to(START.plus_ms(11_999));
    assert_eq!(world.session_log(&key), None);
    world.advance_to(START.plus_ms(14_000));
    let (name, log) = world.session_log(&key).unwrap();
    assert_eq!(*name, *format!("{key}.log"));
    assert_eq!(world.object(world.bucket_name(), &name).unwrap().as_ref(), Some(&log));
    assert!(log.size_bytes > 0);
    assert_eq!((log.versions, log.writer), (1, Some(key.account)));
    let delay_ms = log.written_at.0 - START.0 - 10_000;
    assert!((2_000..=4_000).contains(&delay_ms), "{delay_ms}");
}

#[test]
fn logs_can_be_late_empty_or_missing() {
    let mut world = world();
    let late = start(&mut world, None, LogFate::After(60_000));
    let empty = start(&mut world, None, LogFate::Empty);
    let never = start(&mut world, None, LogFate::Never);
    let port = start(&mut world, Some(PORT_DOCUMENT), LogFate::Usual);
    for key in [&late, &empty, &never, &port] {
        world.exit_session(key);
    }
    world.advance_to(START.plus_ms(59_999));
    assert_eq!(world.session_log(&late), None);
    assert_eq!(size_of_log(&world, &empty), Some(0));
    world.advance_to(START.plus_ms(600_000));
    assert_eq!(world.session_log(&late).unwrap().1.written_at, START.plus_ms(60_000).as_event_time());
    assert_eq!(world.session_log(&never), None);
    assert_eq!(world.session_log(&port), None, "port sessions have no log");
}

#[test]
fn preferences_change_with_the_default_version_and_come_back() {
    let mut world = world();
    let account = ordinary(&world);
    let region = Arc::clone(&account.nodes[0].region);
    world.change(&account.admin, &region, &Change::update_preferences(UNLOGGED_PREFERENCES)).unwrap();
    assert_eq!(differences(&world, &account, &region), Some(Vec::new()), "a new version is not the default one");
    world.change(&account.admin, &region, &Change::set_preferences(None)).unwrap();
    assert!(differences(&world, &account, &region).unwrap().len() > 3);
    world.change(&account.warden, &region, &Change::set_preferences(Some(1))).unwrap();
    assert_eq!(differences(&world, &account, &region), Some(Vec::new()));
    let told: Vec<Value> = events(&mut world).iter().map(|event| event["detail"]["eventName"].clone()).collect();
    assert_eq!(told, ["UpdateDocument", "UpdateDocumentDefaultVersion", "UpdateDocumentDefaultVersion"]);
}

#[test]
fn quarantine_refuses_what_is_new_and_ends_nothing() {
    let mut world = world();
    let account = ordinary(&world);
    let running = start(&mut world, None, LogFate::Usual);
    world.attach_quarantine(account.id, &lock(&[])).unwrap();
    world.attach_quarantine(account.id, &lock(&[])).unwrap();
    assert_eq!(world.quarantined(), [(account.id, Tier::Access)].into());
    start(&mut world, None, LogFate::Usual);
    world.advance_to(START.plus_ms(1_000));
    world.drain_events();

    let again = request(&account.nodes[0], None, LogFate::Usual);
    assert_eq!(world.start_session(&account.users[0], &again), Err(CallError::Denied));
    let event = events(&mut world).remove(0);
    assert_eq!(event["detail"]["errorCode"], "AccessDenied");
    assert!(event["detail"]["requestParameters"].is_null() && event["detail"]["responseElements"].is_null());
    assert_eq!(world.resume_session(&account.users[0], &running), Err(CallError::Denied));
    let detach = Change::DetachRolePolicy {
        role: Arc::clone(&account.nodes[0].role),
        policy: customer_policy(account.id, LOG_POLICY),
    };
    assert_eq!(world.change(&account.admin, "us-east-1", &detach), Err(CallError::Denied));
    assert_eq!(world.active_sessions(account.id, &running.region).len(), 2, "running sessions go on");
    world.terminate_session(&account.warden, &running).unwrap();

    world.detach_quarantine(account.id).unwrap();
    assert!(world.quarantined().is_empty());
    assert!(world.start_session(&account.users[0], &again).is_ok());
}

fn lock(principals: &[&Arc<str>]) -> Lock {
    let tier = if principals.is_empty() { Tier::Access } else { Tier::Principal };
    Lock { tier, principals: principals.iter().copied().cloned().collect() }
}

#[test]
fn one_principal_is_denied_alone() {
    let mut world = world();
    let account = ordinary(&world);
    let again = request(&account.nodes[0], None, LogFate::Usual);
    world.attach_quarantine(account.id, &lock(&[&account.users[0].arn])).unwrap();
    assert!(!world.quarantine_bites(account.id));
    world.advance_to(START.plus_ms(1_000));
    assert!(world.quarantine_bites(account.id));
    assert_eq!(world.start_session(&account.users[0], &again), Err(CallError::Denied));
    assert!(world.start_session(&account.users[1], &again).is_ok());
    // The next tier takes its place, and takes its time.
    world.attach_quarantine(account.id, &lock(&[])).unwrap();
    assert!(!world.quarantine_bites(account.id));
}

#[test]
fn the_management_account_is_never_bound() {
    let mut world = world();
    let account = world.accounts()[0].clone();
    world.attach_quarantine(account.id, &lock(&[])).unwrap();
    world.advance_to(START.plus_ms(60_000));
    let request = request(&account.nodes[0], None, LogFate::Usual);
    assert!(world.start_session(&account.users[0], &request).is_ok());
}

#[test]
fn terminate_and_resume_answer_as_aws_does() {
    let mut world = world();
    let account = ordinary(&world);
    let key = start(&mut world, None, LogFate::Usual);
    world.disconnect_session(&key);
    assert_eq!(world.describe_session(&key).unwrap().status, SessionStatus::Disconnected);
    world.resume_session(&account.users[0], &key).unwrap();
    assert_eq!(world.describe_session(&key).unwrap().status, SessionStatus::Connected);
    world.terminate_session(&account.warden, &key).unwrap();
    world.terminate_session(&account.warden, &key).unwrap();
    assert_eq!(world.resume_session(&account.users[0], &key), Err(CallError::Gone));
    let unknown = SessionKey { id: Arc::from("nobody-0"), ..key };
    assert_eq!(world.terminate_session(&account.warden, &unknown), Err(CallError::Gone));
    let seen: Vec<String> = events(&mut world)
        .iter()
        .map(|event| format!("{} {}", event["detail"]["eventName"], event["detail"]["errorCode"]).replace('"', ""))
        .collect();
    let wanted = [
        "StartSession null",
        "ResumeSession null",
        "TerminateSession null",
        "TerminateSession null",
        "ResumeSession DoesNotExistException",
        "TerminateSession DoesNotExistException",
    ];
    assert_eq!(seen, wanted);
}

#[test]
fn idle_sessions_end_and_history_is_forgotten() {
    let mut world = world();
    let key = start(&mut world, None, LogFate::Usual);
    world.advance_to(START.plus_ms(20 * 60_000 - 1));
    assert_eq!(world.describe_session(&key).unwrap().ended, None);
    world.advance_to(START.plus_ms(21 * 60_000));
    let ended = START.plus_ms(20 * 60_000).as_event_time();
    assert_eq!(world.describe_session(&key).unwrap().ended, Some(ended));
    assert!(world.session_log(&key).is_some());
    world.advance_to(START.plus_ms(81 * 60_000));
    assert_eq!(world.describe_session(&key), None);
    assert_eq!(world.session_log(&key), None);
}

/// Every call of the catalogue once, then two thousand of the background, with the threat each stands for.
fn each_template(mut check: impl FnMut(&str, &str)) {
    let mut dice = Dice::new(3);
    let caller = Caller::assumed_role("123456789012".parse().unwrap(), "r", "x", START.as_event_time(), &mut dice);
    let (region, node, role, time) = ("eu-central-1", "i-0123456789abcdef0", "web", START.as_event_time());
    let scene = Scene { caller: &caller, region, node, role, time };
    for template in catalogue::CALLS {
        let mut line = String::new();
        template.write(&scene, &mut dice, &mut line);
        check(template.threat, &line);
    }
    for _ in 0..2_000 {
        let mut line = String::new();
        background::write_record(&scene, &mut dice, &mut line);
        check("", &line);
    }
}

#[test]
fn every_template_fills_in_to_a_record() {
    let mut names = BTreeSet::new();
    each_template(|_, line| {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in ["eventVersion", "eventTime", "eventSource", "eventName", "awsRegion", "eventID", "requestID"] {
            assert!(record[field].is_string(), "{field} of {record}");
        }
        assert!(record["eventSource"].as_str().unwrap().ends_with(".amazonaws.com"));
        assert_eq!(record["recipientAccountId"], "123456789012");
        assert_eq!(record["userIdentity"]["type"], "AssumedRole");
        let left = line.replace("$DEFAULT", "").replace("$LATEST", "");
        assert!(!left.contains('$'), "an unknown mark in {line}");
        names.insert((record["eventSource"].to_string(), record["eventName"].to_string()));
    });
    assert!(names.len() > catalogue::CALLS.len() + 20, "the background has many kinds of calls: {}", names.len());
}

#[test]
fn the_decoder_sees_threats_as_threats_and_the_background_as_nothing() {
    let decoder = Decoder::default();
    each_template(|threat, line| {
        decoder.decode_fully(line.as_bytes(), &mut |decoded| match decoded {
            Decoded::Relevant(observation) => assert_eq!(observation.threat, threat, "{line}"),
            other => assert!(threat.is_empty(), "{threat} gives {other:?}: {line}"),
        });
    });
}

#[test]
fn policy_documents_are_nested_json() {
    let template = catalogue::find("iam", "PutRolePolicy").unwrap();
    let request: Value = serde_json::from_str(template.request).unwrap();
    let policy: Value = serde_json::from_str(request["policyDocument"].as_str().unwrap()).unwrap();
    assert_eq!(policy["Statement"][0]["Effect"], "Deny");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn equal_seeds_make_equal_worlds(seed in any::<u64>(), steps in prop::collection::vec((0_u8..5, 0_i64..30_000), 1..40)) {
        let live = |seed| {
            let mut world = World::new(OrganisationShape::quick(), seed, START);
            let account = ordinary(&world);
            let (mut now, mut keys) = (START, Vec::new());
            for (step, wait_ms) in &steps {
                now = now.plus_ms(*wait_ms);
                world.advance_to(now);
                match (step, keys.pop()) {
                    (0 | 1, last) => {
                        keys.extend(last);
                        let request = request(&account.nodes[usize::from(*step)], None, LogFate::Usual);
                        keys.extend(world.start_session(&account.users[0], &request));
                    }
                    (2, Some(key)) => world.exit_session(&key),
                    (3, Some(key)) => drop(world.terminate_session(&account.warden, &key)),
                    _ => world.background(&account.users[1], "us-east-1", "i-0", "web"),
                }
            }
            let logs: Vec<_> = keys.iter().map(|key| world.session_log(key)).collect();
            (world.drain_events(), logs)
        };
        prop_assert_eq!(live(seed), live(seed));
    }
}
