//! History judged with a snapshot of what its sessions rested on.

#[path = "../../../loadtest/src/snapshot.rs"]
mod maker;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};
use sessionwarden::{
    input::expand,
    policy,
    replay::{Options, Period, replay},
    snapshot::Snapshot,
};
use sessionwarden_machine::{
    ids::{EventTime, Now},
    posture::{
        Agent, CallError, Who,
        snapshot::{Answer, Line, Named},
    },
    settings::Settings,
};
use sessionwarden_world::{
    Caller, Change, OrganisationShape, World,
    session::DEFAULT_DOCUMENT,
    texts::{DENY_LOG, DENY_POLICY, NODE_TAG, THIRD_PARTY_ROLE, THIRD_PARTY_TAG},
};

use crate::{Folder, end, lines, start};

/// 2025-06-02 06:00:00 UTC, long before the sessions.
const TAKEN: i64 = 1_748_844_000_000;

fn world() -> World {
    World::new(OrganisationShape { accounts: 2, ..OrganisationShape::default() }, 7, Now(TAKEN))
}

/// An organisation in whose third account the role behind the first node cannot write logs.
fn spoilt() -> World {
    let mut world = world();
    let account = world.accounts()[2].clone();
    let (role, region) = (Arc::clone(&account.nodes[0].role), Arc::clone(&account.nodes[0].region));
    let change = Change::PutRolePolicy { role, name: DENY_POLICY.into(), text: DENY_LOG.into() };
    world.change(&account.admin, &region, &change).unwrap();
    world
}

fn text(lines: impl IntoIterator<Item = Line>) -> String {
    lines.into_iter().map(|line| serde_json::to_string(&line).unwrap() + "\n").collect()
}

/// The start of session `n` by `caller`.
fn opened_by(world: &World, caller: &Caller, node: usize, n: u64) -> Value {
    let account = world.account(caller.account).unwrap();
    let node = &account.nodes[node];
    let mut event = start(n);
    event["recipientAccountId"] = account.id.to_string().into();
    event["userIdentity"]["accountId"] = account.id.to_string().into();
    event["userIdentity"]["arn"] = (*caller.arn).into();
    event["awsRegion"] = (*node.region).into();
    event["requestParameters"]["target"] = (*node.id).into();
    event
}

fn opened(world: &World, account: usize, node: usize, n: u64) -> Value {
    opened_by(world, &world.accounts()[account].users[0], node, n)
}

/// The end of a session, `n` seconds after ten o'clock.
fn ended(start: &Value, of: u64, n: u64) -> Value {
    let mut event = end(n, of);
    for field in ["recipientAccountId", "userIdentity", "awsRegion"] {
        event[field] = start[field].clone();
    }
    event
}

fn findings(folder: &Folder, feed: &str) -> Vec<Value> {
    folder.lines(feed).into_iter().filter(|line| line["class_uid"] == 2004).collect()
}

/// TH20, R-W8, R-G12: without evidence the control is not evaluated; with it those sessions violate, and count.
#[test]
fn a_role_that_cannot_write_the_log_is_found_in_history() {
    let folder = Folder::new();
    let world = spoilt();
    let mut events: Vec<Value> = (1..=10).map(|n| opened(&world, 2, 0, n)).collect();
    events.push(opened(&world, 2, 1, 11));
    let long = opened(&world, 3, 0, 12);
    events.extend([ended(&long, 12, 7_200), long]);
    folder.write("in.json", lines(&events));
    folder.write("snapshot.jsonl", text(maker::lines(&world)));

    let without = folder.replay("in.json").json();
    assert_eq!(without["sessions"]["violating"], 0);
    assert_eq!(without["accounts"]["over_threshold"], 0);
    assert_eq!(without["not_evaluated"]["SW-LOG-01"], json!(["log-writable"]));

    let answer = folder.replay("in.json --snapshot snapshot.jsonl --feed feed.jsonl");
    assert_eq!((answer.code, &*answer.err), (0, ""));
    let with = answer.json();
    assert_eq!(with["sessions"]["by_control"], json!({ "SW-LOG-01": 10 }));
    // A yes holds for a session of two hours, too.
    assert_eq!(with["not_evaluated"].get("SW-LOG-01"), None, "{}", with["not_evaluated"]);
    let crossed = &with["accounts"]["crossed"][world.accounts()[2].id.to_string()];
    assert_eq!((&crossed["sessions"], &crossed["at"]), (&json!(10), &json!("2026-05-04T10:00:10Z")));

    let found = findings(&folder, "feed.jsonl");
    assert_eq!(found.len(), 10);
    for finding in &found {
        let evidence = finding["evidences"].as_array().unwrap().iter().find(|it| it["name"] == "log-writable");
        let said = evidence.unwrap()["data"].to_string();
        for part in ["no: snapshot of 2025-06-02T06:00:00Z: ", "NoLog", DENY_POLICY, "s3:PutObject"] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}

/// What every kind of evidence needs to be asked for.
fn settings(world: &World) -> Settings {
    let mut settings = Settings::default();
    let posture = &mut settings.posture;
    posture.preferences = world.wanted_preferences();
    posture.log_archive_account = Some(world.log_archive());
    posture.node_tags = BTreeMap::from([(NODE_TAG.0.into(), BTreeSet::from([NODE_TAG.1.into()]))]);
    posture.third_party_roles = vec![THIRD_PARTY_ROLE.into()];
    posture.third_party_tag = THIRD_PARTY_TAG.0.into();
    posture.run_as_roles = vec![THIRD_PARTY_ROLE.into()];
    settings
}

/// Replays within this process; returns violating sessions by control, and the controls that were not evaluated.
fn judge(folder: &Folder, world: &World, facts: impl IntoIterator<Item = Line>) -> (Value, BTreeSet<String>) {
    let mut snapshot = Snapshot::default();
    facts.into_iter().for_each(|line| snapshot.add(line));
    let options = Options {
        judge: policy::load(None, None).unwrap(),
        settings: settings(world),
        snapshot: Some(Arc::new(snapshot)),
        period: Period::default(),
        threads: 1,
        feed: None,
        parked: None,
    };
    let files = expand(&[folder.path("in.json").display().to_string()]).unwrap();
    let summary = replay(&files, &options, &|_| {}).unwrap();
    assert_eq!(summary.events.poison, 0);
    (json!(summary.sessions.by_control), summary.not_evaluated.into_keys().collect())
}

fn kind_of(line: &Line) -> &'static str {
    match line {
        Line::Taken(_) => "taken",
        Line::Node(..) => "node",
        Line::Identity(_, Who::Role(role), _) if role.contains("-node-") => "node's role",
        Line::Identity(..) => "caller",
        Line::Guards(..) => "guards",
        Line::Document(..) => "document",
        Line::Bucket(..) => "bucket",
        Line::Key(..) => "key",
        Line::Network(..) => "network",
        Line::Cluster(..) => "cluster",
    }
}

/// The same line with an error for an answer.
fn failed(line: Line, error: CallError) -> Line {
    match line {
        Line::Taken(at) => Line::Taken(at),
        Line::Node(named, _) => Line::Node(named, Answer::Error(error)),
        Line::Identity(account, who, _) => Line::Identity(account, who, Answer::Error(error)),
        Line::Guards(account, _) => Line::Guards(account, Answer::Error(error)),
        Line::Document(named, _) => Line::Document(named, Answer::Error(error)),
        Line::Bucket(name, _) => Line::Bucket(name, Answer::Error(error)),
        Line::Key(named, _) => Line::Key(named, Answer::Error(error)),
        Line::Network(named, _) => Line::Network(named, Answer::Error(error)),
        Line::Cluster(named, _) => Line::Cluster(named, Answer::Error(error)),
    }
}

/// A person's session and a third party's, with every control about them proved but for two.
fn two_sessions(folder: &Folder, world: &World) -> Vec<Line> {
    let party = &world.accounts()[2].third_party;
    folder.write("in.json", lines(&[opened(world, 2, 1, 1), opened_by(world, party, 0, 2)]));
    let facts: Vec<Line> = maker::lines(world).collect();
    let (violated, unproven) = judge(folder, world, facts.clone());
    assert_eq!(violated, json!({}));
    // Whether an agent answered and a stream existed then, no snapshot can tell.
    assert_eq!(unproven.iter().collect::<Vec<_>>(), ["SW-AGT-01", "SW-STR-02"]);
    facts
}

/// I11: what is not in the snapshot, or was not answered when it was taken, is unknown and never a violation.
#[test]
fn what_is_not_known_is_no_violation() {
    let folder = Folder::new();
    let world = world();
    let facts = two_sessions(&folder, &world);
    let unproven_without = [
        ("node", &["SW-BKT-02", "SW-LOG-01", "SW-NODE-03", "SW-TP-01"][..]),
        ("node's role", &["SW-BKT-02", "SW-LOG-01"]),
        ("caller", &["SW-RUN-01", "SW-TP-01"]),
        ("guards", &["SW-LOG-01"]),
        ("document", &["SW-DOC-04", "SW-STR-01", "SW-RUN-01"]),
        ("bucket", &["SW-BKT-02", "SW-KEY-02", "SW-LOG-01"]),
        ("key", &["SW-KEY-02", "SW-LOG-01"]),
        ("network", &["SW-LOG-01"]),
    ];
    for (kind, controls) in unproven_without {
        let is = |line: &&Line| kind_of(line) == kind;
        assert!(facts.iter().any(|line| is(&line)), "{kind}");
        let absent: Vec<Line> = facts.iter().filter(|line| !is(line)).cloned().collect();
        let refused = [CallError::Throttled, CallError::Denied, CallError::Unknown].map(|error| {
            let refuse = |line: &Line| if is(&line) { failed(line.clone(), error) } else { line.clone() };
            facts.iter().map(refuse).collect::<Vec<_>>()
        });
        for facts in refused.into_iter().chain([absent]) {
            let (violated, unproven) = judge(&folder, &world, facts);
            assert_eq!(violated, json!({}), "without {kind}");
            for control in controls {
                assert!(unproven.contains(*control), "{control} without {kind}: {unproven:?}");
            }
        }
    }
    assert_eq!(judge(&folder, &world, []).0, json!({}), "nothing is known");
}

/// I11: what became of a node later is no violation of a session that ran on it before.
#[test]
fn a_node_that_is_gone_or_silent_since_is_no_violation_of_the_past() {
    let folder = Folder::new();
    let world = world();
    let facts = two_sessions(&folder, &world);
    for agent in [None, Some(Agent::Stopped), Some(Agent::Lost(EventTime(TAKEN)))] {
        let since = facts.iter().cloned().map(|line| match (line, agent) {
            (Line::Node(named, Answer::Is(node)), Some(agent)) => {
                Line::Node(named, Answer::Is(sessionwarden_machine::posture::Node { agent, ..node }))
            }
            (Line::Node(named, _), None) => Line::Node(named, Answer::Error(CallError::Gone)),
            (line, _) => line,
        });
        let (violated, unproven) = judge(&folder, &world, since.collect::<Vec<_>>());
        assert_eq!(violated, json!({}), "{agent:?}");
        assert!(unproven.contains("SW-AGT-01"), "{agent:?}: {unproven:?}");
        assert_eq!(unproven.contains("SW-NODE-03"), agent.is_none(), "{agent:?}: {unproven:?}");
    }
}

/// TH7: a cluster that logs nothing is found; one that is not in the snapshot is not.
#[test]
fn a_cluster_is_judged_by_its_logging() {
    let folder = Folder::new();
    let mut world = world();
    let account = world.accounts()[2].clone();
    let container = account.nodes.last().unwrap();
    world.execute_command(&account.admin, &container.region, &container.id).unwrap();
    folder.write("in.json", world.drain_events().concat());
    let by_control = |world: &World, keep: bool| {
        let facts = maker::lines(world).filter(|line| keep || kind_of(line) != "cluster");
        judge(&folder, world, facts.collect::<Vec<_>>())
    };
    let (violated, unproven) = by_control(&world, true);
    assert_eq!((violated, unproven.contains("SW-ECS-01")), (json!({}), false));
    let change = Change::SetClusterLogging { cluster: "apps".into(), logging: "NONE".into() };
    world.change(&account.admin, &container.region, &change).unwrap();
    assert_eq!(by_control(&world, true).0, json!({ "SW-ECS-01": 1 }));
    let (violated, unproven) = by_control(&world, false);
    assert_eq!((violated, unproven.contains("SW-ECS-01")), (json!({}), true));
}

/// A document is known by its name and by its ARN, in the session's account and in another.
#[test]
fn a_document_is_found_by_its_arn() {
    let folder = Folder::new();
    let world = world();
    let facts: Vec<Line> = maker::lines(&world).collect();
    let shell = json!({ "SW-DOC-01": 1, "SW-STR-01": 1, "SW-STR-02": 1 });
    let unlogged = |named: &dyn Fn(&str, &str) -> String| {
        let mut event = opened(&world, 2, 1, 1);
        let (region, account) = (event["awsRegion"].as_str().unwrap(), event["recipientAccountId"].as_str().unwrap());
        event["requestParameters"]["documentName"] = named(region, account).into();
        folder.write("in.json", lines(&[event]));
        judge(&folder, &world, facts.clone()).0
    };
    let other = world.accounts()[3].id;
    assert_eq!(unlogged(&|_, _| "debug-shell".to_owned()), shell);
    assert_eq!(unlogged(&|region, account| format!("arn:aws:ssm:{region}:{account}:document/debug-shell")), shell);
    assert_eq!(unlogged(&|region, _| format!("arn:aws:ssm:{region}:{other}:document/debug-shell")), shell);
    assert_eq!(unlogged(&|_, _| "unheard-of".to_owned()), json!({ "SW-DOC-01": 1 }), "not known, so not judged");
    assert_eq!(unlogged(&|_, _| DEFAULT_DOCUMENT.to_owned()), json!({}));
}

#[test]
fn of_two_lines_about_the_same_the_later_counts() {
    let folder = Folder::new();
    let world = spoilt();
    folder.write("in.json", lines(&[opened(&world, 2, 0, 1)]));
    let good = maker::lines(&self::world()).collect::<Vec<_>>();
    let bad = maker::lines(&world).collect::<Vec<_>>();
    let by_control = |first: &[Line], second: &[Line]| {
        folder.write("snapshot.jsonl", text(first.iter().chain(second).cloned()));
        folder.replay("in.json --snapshot snapshot.jsonl").json()["sessions"]["by_control"].clone()
    };
    assert_eq!(by_control(&good, &bad), json!({ "SW-LOG-01": 1 }));
    assert_eq!(by_control(&bad, &good), json!({}));
}

/// I4: neither threads, nor the order or repetition of events, nor the order of facts change the answer.
#[test]
fn order_threads_and_files_do_not_matter() {
    let folder = Folder::new();
    let world = spoilt();
    let of = |n: u64| opened(&world, 2 + (n % 2) as usize, (n / 2 % 6) as usize, n);
    let events: Vec<Value> =
        (0..240).flat_map(|n| [Some(of(n)), (n % 3 == 0).then(|| ended(&of(n), n, n + 900))]).flatten().collect();
    let facts: Vec<Line> = maker::lines(&world).collect();
    let backwards: Vec<Value> = events.iter().rev().cloned().collect();
    folder.write("in.json", lines(&events));
    folder.write("backwards.json", lines(&backwards));
    folder.write("half/a.json", lines(&backwards[..200]));
    folder.write("half/b.json", lines(&events[..200]));
    folder.write("snapshot.jsonl", text(facts.clone()));
    folder.write("stohspan.jsonl", text(facts.into_iter().rev()));
    let told = |line: &str| {
        let answer = folder.replay(&format!("{line} --feed feed.jsonl"));
        assert_eq!((answer.code, &*answer.err), (0, ""), "{line}");
        let mut result = answer.json();
        for key in ["bytes", "cpu_seconds", "peak_rss_bytes", "events"] {
            result.as_object_mut().unwrap().remove(key).unwrap();
        }
        let mut feed: Vec<String> = folder.read("feed.jsonl").lines().map(str::to_owned).collect();
        feed.sort();
        (result, feed)
    };
    let expected = told("in.json --snapshot snapshot.jsonl --threads 1");
    assert_eq!(expected.0["sessions"]["by_control"], json!({ "SW-LOG-01": 40 }), "two of six nodes in one account");
    for line in [
        "in.json --snapshot snapshot.jsonl --threads 2",
        "in.json --snapshot stohspan.jsonl --threads 4",
        "backwards.json --snapshot snapshot.jsonl --threads 1",
        "half --snapshot snapshot.jsonl --threads 3",
        "in.json backwards.json --snapshot stohspan.jsonl --threads 2",
    ] {
        let (result, feed) = told(line);
        assert_eq!(result, expected.0, "{line}");
        assert!(feed == expected.1, "the feed of {line}");
    }
}

#[test]
fn a_line_that_is_no_fact_is_refused_with_its_place() {
    let folder = Folder::new();
    let world = world();
    folder.write("in.json", lines(&[opened(&world, 2, 0, 1)]));
    let role = maker::lines(&world)
        .find(|line| matches!(line, Line::Identity(_, Who::Role(role), _) if &**role == "web-node-role"));
    let role = serde_json::to_string(&role).unwrap();
    let node = text(maker::lines(&world).find(|line| kind_of(line) == "node"));
    let without_boundary = role.replace("\"boundary\":null,", "");
    assert_ne!(without_boundary, role);
    let bad: [(Vec<u8>, &str); 9] = [
        (b"nonsense".to_vec(), "expected value at column 1\n"),
        (role[..role.len() - 1].into(), "EOF while parsing"),
        (br#"{"planet":["Mars"]}"#.to_vec(), "unknown variant `planet`"),
        (role.replace("\"boundary\":", "\"boundry\":").into(), "unknown field `boundry`"),
        (without_boundary.into(), "missing field `boundary`"),
        (node.replace("\"agent\":\"online\"", "\"agent\":\"asleep\"").into(), "unknown variant `asleep`"),
        (br#"{"guards":["1234567890123",{"error":"denied"}]}"#.to_vec(), "account id is not twelve digits"),
        (b"{\"taken\":\"\xff\"}".to_vec(), "invalid"),
        (vec![b' '; (4 << 20) + 1], "is longer than 4194304 bytes"),
    ];
    for (line, problem) in bad {
        let good = text(maker::lines(&world).take(2)) + "\n";
        folder.write("snapshot.jsonl", [good.as_bytes(), &line, b"\n", good.as_bytes()].concat());
        let answer = folder.replay("in.json --snapshot snapshot.jsonl");
        assert_eq!((answer.code, &*answer.out), (2, ""), "{problem}");
        let said = answer.err.strip_prefix("sessionwarden: snapshot.jsonl:4: ");
        assert!(said.is_some_and(|said| said.contains(problem)), "{problem}: {}", answer.err);
    }
    folder.write("folder/snapshot.jsonl", "");
    for (name, problem) in [("missing.jsonl", "No such file"), ("folder", "Is a directory")] {
        let answer = folder.replay(&format!("in.json --snapshot {name}"));
        assert_eq!((answer.code, &*answer.out), (2, ""), "{name}");
        assert!(answer.err.starts_with(&format!("sessionwarden: {name}: cannot be read: {problem}")), "{}", answer.err);
    }
}

/// I11: a snapshot that says nothing proves nothing. Without a time the evidence names the snapshot alone.
#[test]
fn a_snapshot_may_be_empty_or_undated() {
    let folder = Folder::new();
    let world = spoilt();
    folder.write("in.json", lines(&[opened(&world, 2, 0, 1)]));
    folder.write("snapshot.jsonl", "");
    let answer = folder.replay("in.json --snapshot snapshot.jsonl");
    assert_eq!((answer.code, &*answer.err, answer.sessions("violating")), (0, "", 0));
    assert_eq!(answer.json()["not_evaluated"]["SW-LOG-01"], json!(["log-writable"]));

    folder.write("snapshot.jsonl", text(maker::lines(&world).filter(|line| kind_of(line) != "taken")));
    folder.replay("in.json --snapshot snapshot.jsonl --feed feed.jsonl");
    let found = findings(&folder, "feed.jsonl");
    assert_eq!(found.len(), 1);
    assert!(found[0].to_string().contains("no: snapshot: "), "{}", found[0]);
}

/// A fact keeps its meaning when it is written and read.
#[test]
fn lines_are_read_as_they_were_written() {
    let named = Named { account: world().log_archive(), region: "eu-central-1".into(), id: "i-0".into() };
    let failed = [CallError::Throttled, CallError::Denied, CallError::Gone, CallError::Unknown]
        .map(|error| Line::Node(named.clone(), Answer::Error(error)));
    for line in maker::lines(&spoilt()).chain(failed) {
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line, "{text}");
    }
}
