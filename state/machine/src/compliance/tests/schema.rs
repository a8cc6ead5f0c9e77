use cedar_policy::Entities;

use super::*;
use crate::compliance::{
    ask::{PrincipalParts, Vocabulary},
    load,
};

#[test]
fn every_request_fits_the_schema() {
    let schema = load::schema().unwrap();
    let vocabulary = Vocabulary::new().unwrap();
    let mut sessions = vec![Session::good()];
    for target_kind in
        [TargetKind::Ec2, TargetKind::Hybrid, TargetKind::Container, TargetKind::Other, TargetKind::Unknown]
    {
        sessions.push(Session { target_kind, unit: None, ..Session::good() });
    }
    for document_kind in [
        DocumentKind::DefaultShell,
        DocumentKind::Port,
        DocumentKind::Ssh,
        DocumentKind::InteractiveCommand,
        DocumentKind::NonInteractiveCommand,
        DocumentKind::Custom,
        DocumentKind::Unknown,
    ] {
        sessions.push(Session { document_kind, principal: principal(""), ..Session::good() });
    }
    for started_at in [EventTime(i64::MIN), EventTime(-1), EventTime(0), EventTime::MAX] {
        sessions.push(Session { started_at, ..Session::good() });
    }
    for session in &sessions {
        let question = vocabulary.session(&session.facts()).unwrap();
        question.request(0b10_1010, Some(&schema)).unwrap();
        Entities::from_entities(question.entities.iter().cloned(), Some(&schema)).unwrap();
    }
    for (_, threat, name, ..) in shipped_events::ROWS {
        for thing_kind in thing_kinds() {
            let event = Event { thing_kind, ..Event::of(threat, name) };
            let question = vocabulary.event(&event.facts()).unwrap();
            question.request(0, Some(&schema)).unwrap();
            Entities::from_entities(question.entities.iter().cloned(), Some(&schema)).unwrap();
        }
    }
}

fn thing_kinds() -> Vec<Option<ThingKind>> {
    let names = [
        "role",
        "policy",
        "instance-profile",
        "node",
        "document",
        "key",
        "bucket",
        "log-object",
        "log-group",
        "rule",
        "trail",
        "stream",
        "table",
        "queue",
        "topic",
        "alarm",
        "network",
        "service-setting",
        "organization",
        "region",
        "serial-console",
        "activation",
        "container",
    ];
    let kinds = names.map(|name| serde_json::from_value(serde_json::Value::from(name)).ok());
    assert!(kinds.iter().all(Option::is_some));
    std::iter::once(None).chain(kinds).collect()
}

#[test]
fn an_arn_tells_account_role_and_name() {
    let parts = |arn| {
        let parts = PrincipalParts::of(arn);
        (parts.account, parts.role, parts.name)
    };
    assert_eq!(parts("arn:aws:sts::111122223333:assumed-role/Admin/alice"), (Some("111122223333"), "Admin", "alice"));
    assert_eq!(parts("arn:aws:iam::111122223333:user/team/bob"), (Some("111122223333"), "", "bob"));
    assert_eq!(parts("arn:aws:iam::111122223333:role/path/Deploy"), (Some("111122223333"), "Deploy", "Deploy"));
    assert_eq!(parts("arn:aws:iam::111122223333:root"), (Some("111122223333"), "", "root"));
    assert_eq!(parts("ssm.amazonaws.com"), (None, "", ""));
    assert_eq!(parts(""), (None, "", ""));
}

#[test]
fn the_hash_follows_the_texts_and_not_the_files() {
    let (a, b) = (control("A", "context.resumed"), control("B", "context.management"));
    let hash = |sources: &[PolicySource]| Judge::load(sources).unwrap().policy_hash().clone();
    let one = hash(&[source(PolicyRole::Controls, "a", &a), source(PolicyRole::Controls, "b", &b)]);
    let other = hash(&[source(PolicyRole::Controls, "z", &b), source(PolicyRole::Controls, "y", &a)]);
    assert_eq!(one, other);
    assert_eq!(one.len(), 32);
    let changed = a.replace("A test", "A rest");
    let changed = hash(&[source(PolicyRole::Controls, "a", &changed), source(PolicyRole::Controls, "b", &b)]);
    assert_ne!(one, changed);
    assert_ne!(one, hash(&[source(PolicyRole::Controls, "a", &a)]));
    let waived = waiver("W", "A", "2026-01-01T00:00:00Z", "principal, action, resource", "true");
    let waived = [
        source(PolicyRole::Controls, "a", &a),
        source(PolicyRole::Controls, "b", &b),
        source(PolicyRole::Waivers, "w", &waived),
    ];
    assert_ne!(one, hash(&waived));
}

#[test]
fn indexes_do_not_depend_on_the_order_of_files() {
    let (a, b) = (control("A", "context.resumed"), control("B", "context.management"));
    for sources in [[("a", &a), ("b", &b)], [("b", &b), ("a", &a)]] {
        let judge = Judge::load(&sources.map(|(file, text)| source(PolicyRole::Controls, file, text))).unwrap();
        assert_eq!(judge.controls().iter().map(|control| &*control.id).collect::<Vec<_>>(), ["A", "B"]);
    }
}
