use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ids::AccountId;

const REGION: &str = "eu-central-1";

fn account(number: u64) -> AccountId {
    AccountId::new(number).unwrap()
}

fn state(value: Value) -> State {
    serde_json::from_value(value).unwrap()
}

fn file(things: &Value) -> Result<Wanted, WantedError> {
    Wanted::parse(&json!({ "version": 1, "things": things }).to_string())
}

// TH22: a key is to be enabled even where no file says so, and nothing else of it is wanted then.
#[test]
fn what_is_known_of_itself_is_wanted_without_a_file() {
    let wanted = Wanted::default().state(Restore::Key, account(1), REGION, "a-key");
    assert_eq!(wanted, state(json!({ "enabled": true })));
    let have = state(json!({ "enabled": false, "policy": "anything" }));
    assert_eq!(differences(Restore::Key, &wanted, &have), [Arc::from("enabled")]);
    for kind in [Restore::Bucket, Restore::Role, Restore::Topic, Restore::OrganizationPolicy] {
        assert_eq!(kind.always(), State::new(), "{kind:?}");
    }
}

#[test]
fn a_thing_is_found_by_name_and_by_arn_and_the_exact_entry_goes_first() {
    let wanted = file(&json!([
        { "kind": "role", "account": "*", "region": "*", "name": "sessionwarden", "state": { "boundary": "for all" } },
        { "kind": "role", "account": "111111111111", "region": "*", "name": "sessionwarden",
          "state": { "boundary": "for one", "attached": ["arn:aws:iam::{account}:policy/p-{region}"] } },
        { "kind": "stream", "account": "111111111111", "region": REGION, "name": "events",
          "state": { "retention-hours": 168 } },
    ]))
    .unwrap();
    let of = |number, name| wanted.state(Restore::Role, account(number), "us-east-1", name);
    let one = json!({ "boundary": "for one", "attached": ["arn:aws:iam::111111111111:policy/p-us-east-1"] });
    assert_eq!(of(111_111_111_111, "sessionwarden"), state(one));
    assert_eq!(of(222_222_222_222, "sessionwarden"), state(json!({ "boundary": "for all" })));
    assert_eq!(of(222_222_222_222, "another"), State::new());
    let arn = "arn:aws:kinesis:eu-central-1:111111111111:stream/events";
    let hours = |region, name| wanted.state(Restore::Stream, account(111_111_111_111), region, name);
    assert_eq!(hours(REGION, arn), state(json!({ "retention-hours": 168 })));
    assert_eq!(hours("eu-west-1", arn), State::new());
}

#[test]
fn a_file_says_what_is_wrong_with_it() {
    let thing = |part: &str| json!({ "kind": "key", "account": "*", "region": "*", "name": "k", "state": { part: 1 } });
    for (things, wrong) in [
        (json!([thing("policies")]), "key k in *, * has no part \"policies\"; there are enabled, policy, grants"),
        (json!([thing("policy"), thing("enabled")]), "key k in *, * stands there twice"),
    ] {
        assert_eq!(file(&things).unwrap_err().to_string(), wrong);
    }
    let wrong = file(&json!([{ "kind": "cat", "account": "*", "region": "*", "name": "k", "state": {} }])).unwrap_err();
    assert!(wrong.to_string().starts_with("unknown variant `cat`, expected one of `key`, `bucket`"), "{wrong}");
    assert_eq!(Wanted::parse(r#"{"version":2,"things":[]}"#), Err(WantedError::Version(2)));
    assert!(Wanted::parse("").is_err());
}

#[test]
fn what_is_put_replaces_what_was() {
    let mut wanted = Wanted::default();
    for hours in [24, 48] {
        wanted.put(WantedThing {
            kind: Restore::Stream,
            account: Some(account(111_111_111_111)),
            region: Some(REGION.into()),
            name: "events".into(),
            state: state(json!({ "retention-hours": hours })),
        });
    }
    assert_eq!(wanted.things().len(), 1);
    assert_eq!(Wanted::parse(&wanted.text()), Ok(wanted));
}

// TH30: whoever attaches a policy to more accounts takes nothing away.
#[test]
fn more_targets_and_grants_than_wanted_do_no_harm() {
    let wanted = state(json!({ "content": { "a": 1 }, "targets": ["111111111111"] }));
    let have = |targets: Value| state(json!({ "content": { "a": 1 }, "targets": targets }));
    for (targets, differs) in
        [(json!(["222222222222", "111111111111"]), false), (json!(["222222222222"]), true), (Value::Null, true)]
    {
        let found = differences(Restore::OrganizationPolicy, &wanted, &have(targets.clone()));
        assert_eq!(!found.is_empty(), differs, "{targets}");
    }
}

#[test]
fn the_order_of_lists_says_nothing() {
    let one = json!({ "Statement": [{ "Action": ["b", "a"], "Effect": "Deny" }, { "Action": "c" }] });
    let other = json!({ "Statement": [{ "Action": ["c"] }, { "Effect": "Deny", "Action": ["a", "b"] }] });
    assert!(same(&one, &other));
    assert!(same(&json!([]), &Value::Null) && same(&json!({}), &Value::Null));
    assert!(!same(&one, &json!({ "Statement": { "Action": ["b", "a"], "Effect": "Deny" } })));
}

proptest! {
    // A state is as wanted when it is the wanted one, and each part that is another is told.
    #[test]
    fn each_difference_is_told(kind in 0..Restore::ALL.len(), changed: u8) {
        let kind = Restore::ALL[kind];
        let parts = kind.parts();
        let wanted: State = parts.iter().map(|part| (part.name.into(), json!(["wanted"]))).collect();
        prop_assert_eq!(differences(kind, &wanted, &wanted), Vec::<Arc<str>>::new());
        let is_changed = |index: usize| changed >> index & 1 == 1;
        let mut have = wanted.clone();
        for (index, part) in parts.iter().enumerate().filter(|(index, _)| is_changed(*index)) {
            have.insert(part.name.into(), if index % 2 == 0 { Value::Null } else { json!("another") });
        }
        let told: Vec<Arc<str>> =
            parts.iter().enumerate().filter(|(index, _)| is_changed(*index)).map(|(_, part)| part.name.into()).collect();
        prop_assert_eq!(differences(kind, &wanted, &have), told);
    }
}
