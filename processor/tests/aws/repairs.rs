//! Things of the guardrail that are put back, on moto: written down, tampered with by a plain SDK client, looked at, put
//! back, and looked at again.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use sessionwarden::{
    aws::{AwsOrganization, AwsSettings},
    ports::{CallError, Repairs as _, RestoreError},
};
use sessionwarden_machine::{
    document::WantedPreferences,
    ids::AccountId,
    incident::Restore,
    wanted::{Wanted, WantedThing},
};
use sessionwarden_testbed::{Server, or_say, python};

use super::{REGION, account, connect, settings};

const OWN: u64 = 123_456_789_012;
const SETTING: &str = "/ssm/managed-instance/default-ec2-instance-management-role";

fn member() -> AccountId {
    account(111_122_223_333)
}

fn script(what: &str, server: &Server, known: &Value) -> Value {
    python::script("guarded.py", &[what, &server.url], known.to_string().as_bytes()).unwrap()
}

/// Connects with what things are to be like.
async fn hands(server: &Server, wanted: Wanted) -> AwsOrganization {
    let preferences = WantedPreferences { s3_bucket: Some("guarded-logs".into()), ..WantedPreferences::default() };
    let settings = AwsSettings { wanted, preferences, ..settings() };
    connect("testing", &[("sts", &server.url)], settings).await
}

/// All parts of such a thing.
fn parts(kind: Restore) -> BTreeSet<&'static str> {
    kind.parts().iter().map(|part| part.name).collect()
}

fn thing(kind: Restore, name: &str, state: sessionwarden_machine::wanted::State) -> WantedThing {
    WantedThing { kind, account: Some(member()), region: Some(REGION.into()), name: name.into(), state }
}

// TH20, TH22, TH23, TH26, TH27, TH28, TH29, TH30
#[tokio::test]
async fn what_was_tampered_with_is_put_back() {
    let Some(server) = or_say(python::moto()) else {
        return;
    };
    let known = script("make", &server, &Value::Null);
    let named = |name: &str| known[name].as_str().unwrap();
    let things = [
        (Restore::Key, named("key"), &["enabled", "policy", "grants"][..]),
        (Restore::Bucket, "guarded-logs", &["versioning", "encryption", "object-lock", "lifecycle", "policy"]),
        (Restore::Rule, "guarded-rule", &["rule", "targets", "state"]),
        (Restore::Rule, "guarded-rule-2", &["rule", "targets", "state"]),
        (Restore::Trail, "guarded-trail", &["trail", "selectors", "logging"]),
        (Restore::Trail, "guarded-trail-2", &["trail", "selectors", "logging"]),
        (Restore::Policy, named("policy"), &["document"]),
        (Restore::Policy, named("gone"), &["document"]),
        (Restore::Role, "guarded-role", &["trust", "boundary", "inline", "attached"]),
        (Restore::Role, "guarded-role-2", &["path", "trust", "boundary", "inline", "attached"]),
        (Restore::Document, "guarded-document", &["content", "shared"]),
        (Restore::Document, "guarded-document-2", &["content"]),
        (Restore::Stream, "guarded-stream", &["retention-hours"]),
        (Restore::Topic, named("topic"), &["attributes"]),
        (Restore::OrganizationPolicy, named("organization_policy"), &["content", "targets"]),
    ];
    let mut wanted = Wanted::default();
    let before = hands(&server, Wanted::default()).await;
    for (kind, name, _) in things {
        let state = before.state_of(member(), REGION, kind, name).await;
        let state = state.unwrap_or_else(|error| panic!("{kind:?} {name}: {error}")).expect("it was made");
        wanted.put(thing(kind, name, state));
    }
    // As it stands in a file.
    let wanted = Wanted::parse(&wanted.text()).unwrap();
    script("tamper", &server, &known);

    let hands = hands(&server, wanted.clone()).await;
    let restore = async |kind, name, act| hands.restore(member(), REGION, kind, name, &parts(kind), act).await;
    for (kind, name, changed) in things {
        let changed: Vec<Arc<str>> = changed.iter().map(|part| Arc::from(*part)).collect();
        // Looking changes nothing.
        for _ in 0..2 {
            assert_eq!(restore(kind, name, false).await, Ok(changed.clone()), "{kind:?} {name}");
        }
        assert_eq!(restore(kind, name, true).await, Ok(changed), "{kind:?} {name}");
        assert_eq!(restore(kind, name, true).await, Ok(Vec::new()), "{kind:?} {name}");
        let have = hands.state_of(member(), REGION, kind, name).await.unwrap().expect("it is there");
        let differ =
            sessionwarden_machine::wanted::differences(kind, &wanted.state(kind, member(), REGION, name), &have);
        assert_eq!(differ, Vec::<Arc<str>>::new(), "{kind:?} {name}");
    }
}

// TH26: preferences follow from the configuration, without a file.
#[tokio::test]
async fn preferences_are_put_back_as_configured() {
    let Some(server) = or_say(python::moto()) else {
        return;
    };
    let known = script("make", &server, &Value::Null);
    script("tamper", &server, &known);
    let hands = hands(&server, Wanted::default()).await;
    let name = "SSM-SessionManagerRunShell";
    let changed = [Arc::from("content")];
    for (act, changes) in [(false, &changed[..]), (true, &changed), (true, &[])] {
        let done = hands.restore(member(), REGION, Restore::Document, name, &parts(Restore::Document), act).await;
        assert_eq!(done, Ok(changes.to_vec()), "act: {act}");
    }
    let state = hands.state_of(member(), REGION, Restore::Document, name).await.unwrap().unwrap();
    assert_eq!(state["content"]["inputs"]["s3BucketName"], "guarded-logs");
    // Another document of the guardrail is not known.
    let content = BTreeSet::from(["content"]);
    let other = hands.restore(member(), REGION, Restore::Document, "guarded-document", &content, true).await;
    let nothing = "what it is to be is written nowhere: content";
    assert_eq!(other, Err(RestoreError::Hopeless(nothing.into())));
}

// TH22, TH27, TH28: what was only switched off is put back without a file; what was changed beyond that is not taken for
// as wanted.
#[tokio::test]
async fn what_is_known_of_itself_needs_no_file() {
    let Some(server) = or_say(python::moto()) else {
        return;
    };
    let known = script("make", &server, &Value::Null);
    script("tamper", &server, &known);
    let hands = hands(&server, Wanted::default()).await;
    let key = known["key"].as_str().unwrap();
    for (kind, name, part) in [
        (Restore::Key, key, "enabled"),
        (Restore::Key, known["doomed"].as_str().unwrap(), "enabled"),
        (Restore::Rule, "guarded-rule", "state"),
        (Restore::Trail, "guarded-trail", "logging"),
    ] {
        let restore = async |parts: &[&'static str]| {
            hands.restore(member(), REGION, kind, name, &parts.iter().copied().collect(), true).await
        };
        assert_eq!(restore(&[part]).await, Ok(vec![Arc::from(part)]), "{name}");
        assert_eq!(restore(&[part]).await, Ok(Vec::new()), "{name}");
    }
    let policy = hands.restore(member(), REGION, Restore::Key, key, &BTreeSet::from(["enabled", "policy"]), true).await;
    assert_eq!(policy, Err(RestoreError::Hopeless("what it is to be is written nowhere: policy".into())));
    for (kind, name) in [(Restore::Key, "11111111-2222-3333-4444-555555555555"), (Restore::Rule, "guarded-rule-2")] {
        let gone = hands.restore(member(), REGION, kind, name, &parts(kind), true).await;
        assert_eq!(gone, Err(RestoreError::Hopeless("it does not exist any more".into())), "{name}");
    }
    // A failure is no difference (I11).
    let denied = hands.restore(account(OWN), "nowhere-1", Restore::Key, key, &parts(Restore::Key), true).await;
    assert!(matches!(denied, Err(RestoreError::Call(CallError::Unknown) | RestoreError::Hopeless(_))), "{denied:?}");
}

// TH13, TH29: what moto does not know, or answers in another way than its SDK asks.
#[tokio::test]
async fn settings_and_alarms_are_put_back() {
    let Some(server) = or_say(python::ministack(python::Access::Open)) else {
        return;
    };
    script("alarm", &server, &Value::Null);
    let state = serde_json::from_value(json!({ "role": "service-role/Wanted" })).unwrap();
    let mut wanted = Wanted::default();
    let own = account(0);
    wanted.put(WantedThing { account: Some(own), ..thing(Restore::HostManagement, SETTING, state) });
    let settings = AwsSettings { wanted, ..settings() };
    let hands = connect("000000000000", &[("sts", &server.url)], settings).await;
    for (kind, name) in [(Restore::HostManagement, SETTING), (Restore::Alarm, "guarded-alarm")] {
        for (act, changes) in [(false, 1), (true, 1), (true, 0)] {
            let done = hands.restore(own, REGION, kind, name, &parts(kind), act).await;
            assert_eq!(done.map(|changes| changes.len()), Ok(changes), "{name}, act: {act}");
        }
    }
    let gone = hands.restore(own, REGION, Restore::Alarm, "another", &parts(Restore::Alarm), true).await;
    assert_eq!(gone, Err(RestoreError::Hopeless("it does not exist any more".into())));
}
