use std::collections::BTreeSet;

use super::*;
use crate::ids::{AccountId, Thing, ThingKind};

fn thing(kind: ThingKind, account: &str, id: &str) -> Thing {
    Thing { kind, account: account.parse::<AccountId>().unwrap(), id: id.into() }
}

/// TH13, TH20, TH21, TH22, TH23, TH25, TH26: each thing in the account that owns it, as its events name it.
#[test]
fn a_session_rests_on_what_can_take_its_log_away() {
    let mut show = Show::new();
    show.settings.management_account = Some("000000000001".parse().unwrap());
    show.guards().scps[1].push(policy("p-abc123", deny(json!("ec2:*"))));
    show.role().attached = vec![
        "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore".into(),
        "arn:aws:iam::111122223333:policy/team/Logs".into(),
    ];
    show.role().boundary = Some(policy("arn:aws:iam::111122223333:policy/Boundary v3", allow(json!("*"))));
    let expected = BTreeSet::from([
        thing(ThingKind::Role, ACCOUNT, "Node"),
        thing(ThingKind::Policy, ACCOUNT, "arn:aws:iam::111122223333:policy/team/Logs"),
        thing(ThingKind::Policy, ACCOUNT, "arn:aws:iam::111122223333:policy/Boundary"),
        thing(ThingKind::InstanceProfile, ACCOUNT, "NodeProfile"),
        thing(ThingKind::Node, ACCOUNT, NODE),
        thing(ThingKind::Node, ACCOUNT, "iip-assoc-0abc"),
        thing(ThingKind::Document, ACCOUNT, "SSM-SessionManagerRunShell"),
        thing(ThingKind::Key, ACCOUNT, "session"),
        thing(ThingKind::Key, ARCHIVE, "bucket"),
        thing(ThingKind::Bucket, ARCHIVE, BUCKET),
        thing(ThingKind::Network, ACCOUNT, "vpce-s3"),
        thing(ThingKind::Network, ACCOUNT, "vpce-kms"),
        thing(ThingKind::Network, ACCOUNT, "vpce-logs"),
        thing(ThingKind::Network, ACCOUNT, "vpce-ssm"),
        thing(ThingKind::Organization, "000000000001", ACCOUNT),
        thing(ThingKind::Organization, "000000000001", "p-abc123"),
    ]);
    assert_eq!(rests_on(&show.facts(), &mut Memory::default()), expected);
}

/// TH13
#[test]
fn the_setting_counts_where_the_role_comes_from_it() {
    let mut show = Show::new();
    show.node().role = Some(("Managed".into(), RoleFrom::DefaultHostManagement));
    let things = rests_on(&show.facts(), &mut Memory::default());
    let setting = "/ssm/managed-instance/default-ec2-instance-management-role";
    assert!(things.contains(&thing(ThingKind::ServiceSetting, ACCOUNT, setting)));
    assert!(!things.iter().any(|it| it.kind == ThingKind::InstanceProfile));
}

/// TH1: a shared document belongs to whoever shares it.
#[test]
fn a_document_belongs_to_its_account() {
    let mut show = Show::new();
    show.described.document = format!("arn:aws:ssm:eu-west-1:{ARCHIVE}:document/Shared").into();
    show.document = Some(document(&inputs()));
    let documents: Vec<_> = rests_on(&show.facts(), &mut Memory::default())
        .into_iter()
        .filter(|it| it.kind == ThingKind::Document)
        .collect();
    assert_eq!(documents, [thing(ThingKind::Document, ARCHIVE, "Shared")]);
    show.described.document = "AWS-StartSSHSession".into();
    show.document = None;
    let documents =
        rests_on(&show.facts(), &mut Memory::default()).into_iter().filter(|it| it.kind == ThingKind::Document);
    let names: Vec<_> = documents.map(|it| it.id.to_string()).collect();
    assert_eq!(names, ["AWS-StartSSHSession", "SSM-SessionManagerRunShell"]);
}

#[test]
fn without_answers_what_is_named_still_counts() {
    let mut show = Show::new();
    let failed = CallError::Denied;
    (show.node, show.role, show.network) = (Some(Err(failed)), Some(Err(failed)), Some(Err(failed)));
    (show.bucket, show.preferences) = (Some(Err(failed)), Err(failed));
    show.keys = [("1234".into(), Err(failed)), ("alias/x".into(), Err(failed))].into();
    let expected = BTreeSet::from([
        thing(ThingKind::Node, ACCOUNT, NODE),
        thing(ThingKind::Document, ACCOUNT, "SSM-SessionManagerRunShell"),
        thing(ThingKind::Key, ACCOUNT, "1234"),
        thing(ThingKind::Bucket, ARCHIVE, BUCKET),
    ]);
    assert_eq!(rests_on(&show.facts(), &mut Memory::default()), expected);
}

/// One rule says where the log belongs, for the document and for whoever looks.
#[test]
fn places_are_the_wanted_ones_else_the_documents() {
    let mut show = Show::new();
    let found = places(&show.settings, &show.preferences, &show.key, &mut Memory::default());
    assert_eq!(found.bucket.as_deref(), Some(BUCKET));
    let keys = object_keys(&show.settings, &show.preferences, &show.key, &mut Memory::default());
    assert_eq!(keys[0], "sessions/111122223333/eu-west-1/ann-0a1b.log");
    assert_eq!(found.keys, ["alias/session".into()].into());
    assert_eq!((found.log_group.as_deref(), found.stream.as_deref()), (Some("/sessions"), Some("ann-0a1b")));
    show.prefer("s3BucketName", json!("elsewhere"));
    assert_eq!(
        places(&show.settings, &show.preferences, &show.key, &mut Memory::default()).bucket.as_deref(),
        Some(BUCKET)
    );
    show.settings.posture.preferences = crate::document::WantedPreferences::default();
    assert_eq!(
        places(&show.settings, &show.preferences, &show.key, &mut Memory::default()).bucket.as_deref(),
        Some("elsewhere")
    );
    show.prefer("s3BucketName", json!("{{ bucket }}"));
    assert_eq!(places(&show.settings, &show.preferences, &show.key, &mut Memory::default()).bucket, None);
    show.preferences = Err(CallError::Denied);
    assert_eq!(places(&show.settings, &show.preferences, &show.key, &mut Memory::default()), Places::default());
}
