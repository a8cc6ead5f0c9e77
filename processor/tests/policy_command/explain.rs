//! Why a session is judged as it is.

use std::sync::Arc;

use serde_json::{Value, json};
use sessionwarden_machine::{
    compliance::{EvidenceKind, Tri},
    effect::{Principal, Response, Severity},
    ids::{EventId, EventTime, Now, SessionKey, Subject},
    session::{Described, Known, Mark, Seen, Session, Start, Told, Violation},
};
use sessionwarden_store::{Embedded, Item, Store, Write};

use super::{Answer, Folder, own_policies, waiver};

const T0: i64 = 1_780_000_000_000;
const PORT: &str = "AWS-StartPortForwardingSession";

fn at(seconds: i64) -> EventTime {
    EventTime(T0 + seconds * 1_000)
}

fn key(region: &str, id: &str) -> SessionKey {
    SessionKey { account: "111122223333".parse().unwrap(), region: region.into(), id: id.into() }
}

/// A port forwarding that AWS knows, on a role that cannot write the log.
fn session(region: &str, id: &str) -> Session {
    let mut session = Session::new(key(region, id), Now(T0));
    let principal = Principal { arn: "arn:aws:iam::111122223333:user/ann".into(), kind: "IAMUser".into() };
    session.start = Some(Start {
        mark: Mark { at: at(0), event: EventId(7), principal },
        target: "i-0123456789abcdef0".into(),
        document: Some(PORT.into()),
        reason: Some("OPS-1".into()),
        container: false,
    });
    let told = Told {
        at: at(5),
        value: Tri::No,
        source: "iam".into(),
        reason: "identity policy 2, statement 1 \"NoLogs\", denies s3:PutObject".into(),
    };
    let known = Known { first_no: Some(at(5)), last: Some((at(5), false)), told: Some(told) };
    session.seen = Some(Box::new(Seen {
        described: Some(Described {
            started_at: at(0),
            owner: "arn:aws:iam::111122223333:user/ann".into(),
            target: "i-0123456789abcdef0".into(),
            document: PORT.into(),
            reason: None,
            access_type: "Standard".into(),
        }),
        alive_at: Some(at(60)),
        evidence: [(EvidenceKind::LogWritable, known)].into(),
        session_type: "Port".into(),
        ..Seen::default()
    }));
    session
}

/// Stores sessions in a folder of state.
fn store(folder: &Folder, name: &str, sessions: &[Session]) -> Embedded {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = Embedded::open(&folder.path().join(name)).await.unwrap();
        for session in sessions {
            let key = Subject::Session(session.key.clone()).to_string();
            let item = Item::encode(key, session).unwrap();
            store.save(vec![Write { item, expected: 0 }]).await.unwrap();
        }
        store
    })
}

fn explained(answer: &Answer) -> Value {
    assert_eq!(answer.code, 0, "{}{}", answer.out, answer.err);
    let mut all = answer.json();
    assert_eq!(all["explained"].as_array().unwrap().len(), 1);
    all["explained"][0].take()
}

fn control<'v>(explained: &'v Value, id: &str) -> &'v Value {
    let controls = explained["controls"].as_array().unwrap();
    controls.iter().find(|control| control["id"] == id).unwrap_or_else(|| panic!("{id}"))
}

// R-G3: the statement that keeps the log from being written is named.
#[test]
fn a_stored_session_is_explained_by_its_id_and_by_its_key() {
    let folder = own_policies();
    drop(store(&folder, "data/state", &[session("eu-central-1", "ann-1"), session("eu-central-1", "ann-12")]));
    let ask = |wanted: &str, format: &str| {
        folder.policy(&["explain", wanted, "--data-dir", "data", "--policy", "policies", "--format", format])
    };
    let one = explained(&ask("ann-1", "json"));
    assert_eq!(one, explained(&ask("111122223333/eu-central-1/ann-1", "json")));
    assert_eq!(one["subject"], "111122223333/eu-central-1/ann-1");
    let known = &one["known"];
    assert_eq!((&known["target"], &known["document"]), (&json!("i-0123456789abcdef0"), &json!(PORT)));
    assert_eq!(
        (&known["principal"], &known["reason"]),
        (&json!("arn:aws:iam::111122223333:user/ann"), &json!("OPS-1"))
    );
    assert_eq!((&known["started"], &known["opens"]), (&json!(at(0).to_string()), &json!("Port")));

    let port = control(&one, "MY-PORT");
    assert_eq!((&port["verdict"], &port["since"]), (&json!("violated"), &json!(at(0).to_string())));
    assert_eq!(port["event"], "00000000-0000-0000-0000-000000000007");
    let log = control(&one, "MY-LOG");
    assert_eq!(
        (&log["verdict"], &log["since"], &log["event"]),
        (&json!("violated"), &json!(at(5).to_string()), &Value::Null)
    );
    let evidence = &one["evidence"];
    assert_eq!(evidence.as_array().unwrap().len(), 1);
    assert_eq!((&evidence[0]["kind"], &evidence[0]["value"]), (&json!("log-writable"), &json!("no")));
    assert_eq!((&evidence[0]["source"], &evidence[0]["told_at"]), (&json!("iam"), &json!(at(5).to_string())));
    assert_eq!(evidence[0]["reason"], "identity policy 2, statement 1 \"NoLogs\", denies s3:PutObject");

    insta::assert_snapshot!(ask("ann-1", "human").out.split("\npolicy ").next().unwrap(), @r#"
    111122223333/eu-central-1/ann-1
      account           111122223333
      region            eu-central-1
      phase             live
      principal         arn:aws:iam::111122223333:user/ann
      target            i-0123456789abcdef0
      kind of target    ec2
      document          AWS-StartPortForwardingSession
      kind of document  port
      opens             Port
      access            Standard
      reason            OPS-1
      started           2026-05-28T20:26:40Z
      last seen alive   2026-05-28T20:27:40Z

    ┌─────────┬──────────┬──────────┬──────────────────────────────────────────────────────────────────────────┬───────────────────────────┐
    │ control ┆ severity ┆ verdict  ┆ why                                                                      ┆ what it means             │
    ╞═════════╪══════════╪══════════╪══════════════════════════════════════════════════════════════════════════╪═══════════════════════════╡
    │ MY-LOG  ┆ medium   ┆ violated ┆ since 2026-05-28T20:26:45Z                                               ┆ The log cannot be written │
    │ MY-PORT ┆ high     ┆ violated ┆ since 2026-05-28T20:26:40Z by event 00000000-0000-0000-0000-000000000007 ┆ A port is forwarded       │
    └─────────┴──────────┴──────────┴──────────────────────────────────────────────────────────────────────────┴───────────────────────────┘

    Clear: none

    ┌──────────────┬───────┬──────────────────────┬────────┬──────────────────────────────────────────────────────────────┐
    │ evidence     ┆ value ┆ answered at          ┆ source ┆ reason                                                       │
    ╞══════════════╪═══════╪══════════════════════╪════════╪══════════════════════════════════════════════════════════════╡
    │ log-writable ┆ no    ┆ 2026-05-28T20:26:45Z ┆ iam    ┆ identity policy 2, statement 1 "NoLogs", denies s3:PutObject │
    └──────────────┴───────┴──────────────────────┴────────┴──────────────────────────────────────────────────────────────┘
    "#);
}

#[test]
fn what_is_missing_is_said_and_an_old_violation_is_kept() {
    let folder = own_policies();
    let mut one = session("eu-central-1", "ann-1");
    one.start.as_mut().unwrap().document = None;
    let seen = one.seen.as_mut().unwrap();
    seen.described = None;
    seen.session_type = "Standard_Stream".into();
    // I11: a yes that is too old is no answer.
    let old = Known { last: Some((at(0), true)), ..Known::default() };
    seen.evidence = [(EvidenceKind::LogWritable, old)].into();
    seen.alive_at = Some(at(3_600));
    let violation = Violation {
        title: "It was forbidden once".into(),
        severity: Severity::Low,
        response: Response::Report,
        quarantine: false,
        requirements: [Arc::from("X")].into(),
        techniques: [Arc::from("T1021")].into(),
        policy: "an-older-policy".into(),
        since: at(1),
        event: None,
    };
    one.violations = Some(Box::new([(Arc::from("OLD-1"), violation)].into()));
    drop(store(&folder, "data/demonstration", &[one]));
    let one = explained(&folder.policy(&[
        "explain",
        "ann-1",
        "--data-dir",
        "data",
        "--policy",
        "policies",
        "--format",
        "json",
    ]));
    assert_eq!(control(&one, "MY-PORT")["verdict"], "clear");
    assert_eq!(control(&one, "MY-LOG")["verdict"], "undecided");
    assert_eq!(control(&one, "MY-LOG")["needs"], json!(["log-writable"]));
    assert_eq!(
        (&one["evidence"][0]["value"], &one["evidence"][0]["answered_at"]),
        (&json!("unknown"), &json!(at(0).to_string()))
    );
    assert_eq!(
        one["kept"],
        json!([
            {"id": "OLD-1", "title": "It was forbidden once", "since": at(1).to_string(), "policy": "an-older-policy"}
        ])
    );
}

#[test]
fn a_session_that_cannot_be_had_is_told_why() {
    let folder = own_policies();
    let ask = |wanted: &str| folder.policy(&["explain", wanted, "--data-dir", "data"]);
    let answer = ask("ann-1");
    assert_eq!((answer.code, &*answer.out), (2, ""));
    assert!(answer.err.contains("there is no file ann-1, and no state in data"), "{}", answer.err);
    assert!(!folder.path().join("data").exists(), "looking must not begin a state");

    let twice = [session("eu-central-1", "ann-1"), session("us-east-1", "ann-1")];
    let open = store(&folder, "data/state", &twice);
    let answer = ask("ann-1");
    assert_eq!(answer.code, 1);
    assert!(answer.err.contains("the service has its state open, and only one process can"), "{}", answer.err);
    drop(open);

    let answer = ask("ann-1");
    assert_eq!(answer.code, 2);
    let wanted = "2 sessions have the id ann-1; name one of them:\n  111122223333/eu-central-1/ann-1\n  \
                  111122223333/us-east-1/ann-1\n";
    assert!(answer.err.ends_with(wanted), "{}", answer.err);
    for wanted in ["bob-1", "111122223333/eu-west-1/ann-1"] {
        let answer = ask(wanted);
        assert_eq!(answer.code, 2);
        assert!(answer.err.contains(&format!("no session {wanted} in the state of data")), "{}", answer.err);
    }
    assert_eq!(ask("111122223333/us-east-1/ann-1").code, 0);
}

#[test]
fn facts_in_a_file_are_explained_alike_in_both_formats() {
    let folder = own_policies();
    let until = "2999-01-01T00:00:00Z";
    folder.write("policies/waivers/w.cedar", waiver("WV-1", "MY-PORT", until, "session"));
    folder.write(
        "facts.toml",
        "[[session]]\nname = \"it\"\nunit = \"sandbox\"\nat = \"2026-01-01T00:00:00Z\"\n\
         document = \"AWS-StartSSHSession\"\nevidence = { log-writable = \"unknown\" }\n",
    );
    let facts = json!({"session": [{"name": "it", "unit": "sandbox", "at": "2026-01-01T00:00:00Z",
        "document": "AWS-StartSSHSession", "evidence": {"log-writable": "unknown"}}]});
    folder.write("facts.json", facts.to_string());
    let ask = |file: &str| folder.policy(&["explain", file, "--policy", "policies", "--format", "json"]);
    let one = explained(&ask("facts.toml"));
    assert_eq!(one, explained(&ask("facts.json")));
    assert_eq!(control(&one, "MY-PORT")["verdict"], "clear");
    assert_eq!(control(&one, "MY-LOG")["needs"], json!(["log-writable"]));
    assert_eq!(one["known"]["kind_of_document"], "ssh");

    folder.write("facts.json", facts.to_string().replace("AWS-StartSSHSession", PORT));
    let port = explained(&ask("facts.json"));
    let port = control(&port, "MY-PORT");
    assert_eq!((&port["verdict"], &port["waiver"], &port["until"]), (&json!("waived"), &json!("WV-1"), &json!(until)));

    folder.write("facts.json", json!({"event": [{"threat": "TH28", "event": "StopLogging"}]}).to_string());
    let event = explained(&ask("facts.json"));
    assert_eq!(control(&event, "MY-TRAIL")["verdict"], "violated");
    assert_eq!((event["controls"].as_array().unwrap().len(), &event["evidence"]), (1, &json!([])));

    folder.write("facts.json", "{\"session\": [{\n  \"regon\": \"x\"}]}");
    let answer = folder.policy(&["explain", "facts.json", "--policy", "policies"]);
    assert_eq!(answer.code, 2);
    assert!(answer.err.contains("facts.json:2:"), "{}", answer.err);
    assert!(answer.err.contains("hint: did you mean `region`?"), "{}", answer.err);
    folder.write("facts.json", "{}");
    let answer = folder.policy(&["explain", "facts.json"]);
    assert_eq!(answer.code, 2);
    assert!(answer.err.contains("no session and no event in facts.json"), "{}", answer.err);
}
