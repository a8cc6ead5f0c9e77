use super::*;
use EvidenceKind::{BucketAsWanted, KeyUsable};

fn bucket_policy(change: impl FnOnce(&mut Vec<Value>)) -> Show {
    let mut show = Show::new();
    let mut statements = bucket_statements();
    change(&mut statements);
    show.bucket().policy = Some(policy("the bucket's policy", json!(statements)));
    show
}

/// TH23
#[test]
fn the_bucket_is_the_archives_versioned_and_encrypted() {
    Show::new().expect(BucketAsWanted, Tri::Yes, "central-logs is as wanted");
    let mut foreign = Show::new();
    foreign.settings.posture.log_archive_account = Some("777788889999".parse().unwrap());
    foreign.expect(BucketAsWanted, Tri::No, "belongs to 444455556666, not to 777788889999");
    let mut unversioned = Show::new();
    unversioned.bucket().versioned = false;
    unversioned.expect(BucketAsWanted, Tri::No, "keeps no versions");
    let mut plain = Show::new();
    plain.bucket().key = None;
    plain.expect(BucketAsWanted, Tri::No, "does not encrypt with a KMS key");
    let mut gone = Show::new();
    gone.bucket = Some(Err(CallError::Gone));
    gone.expect(BucketAsWanted, Tri::No, "does not exist");
}

#[test]
fn plain_http_must_be_denied() {
    let open = bucket_policy(|statements| statements.retain(|it| it["Sid"] != "Tls"));
    open.expect(BucketAsWanted, Tri::No, "can be written over plain HTTP");
}

#[test]
fn foreign_accounts_must_not_write() {
    let open = bucket_policy(|statements| {
        statements.push(json!({"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::central-logs/*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}));
    });
    open.expect(BucketAsWanted, Tri::No, "a foreign account can write");
}

/// R-W23
#[test]
fn a_role_must_not_write_in_another_accounts_place() {
    let open = bucket_policy(|statements| {
        statements.push(json!({"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::central-logs/sessions/*",
            "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-ours"}}}));
    });
    open.expect(BucketAsWanted, Tri::No, "role/Node can write in another account's place");
    // The role's own policy may close what the bucket's leaves open.
    let mut narrow = open;
    let text = agent_policy().text.replace("central-logs/sessions/*", "central-logs/sessions/111122223333/*");
    narrow.role().policies = vec![PolicyText { name: "narrow".into(), text: text.into() }];
    narrow.expect(BucketAsWanted, Tri::Yes, "");
}

/// R-W23: one prefix for all accounts is told.
#[test]
fn a_prefix_without_the_account_is_one_place_for_all() {
    let mut show = Show::new();
    show.settings.posture.preferences.s3_prefix = Some("sessions".into());
    show.expect(BucketAsWanted, Tri::No, "\"sessions\" is the same for all accounts");
    show.settings.posture.preferences.s3_prefix = None;
    show.expect(BucketAsWanted, Tri::Yes, "");
    show.prefer("s3KeyPrefix", json!("sessions"));
    show.expect(BucketAsWanted, Tri::No, "\"sessions\" is the same for all accounts");
}

#[test]
fn an_error_about_the_bucket_is_no_verdict() {
    let mut show = Show::new();
    show.bucket = Some(Err(CallError::Denied));
    show.expect(BucketAsWanted, Tri::Unknown, "the bucket: denied");
    show.expect(KeyUsable, Tri::Unknown, "the bucket's key: denied");
    let mut role = Show::new();
    role.role = Some(Err(CallError::Gone));
    role.expect(BucketAsWanted, Tri::Unknown, "the role Node does not exist");
}

/// TH22
#[test]
fn each_key_in_use_must_be_enabled() {
    for name in ["alias/session", BUCKET_KEY] {
        let mut show = Show::new();
        show.expect(KeyUsable, Tri::Yes, "");
        show.key_named(name).enabled = false;
        show.expect(KeyUsable, Tri::No, &format!("the key {name} is not enabled"));
        show.keys.insert(name.into(), Err(CallError::Gone));
        show.expect(KeyUsable, Tri::No, &format!("the key {name} does not exist"));
        show.keys.insert(name.into(), Err(CallError::Denied));
        show.expect(KeyUsable, Tri::Unknown, &format!("the key {name}: denied"));
        show.keys.remove(name);
        show.expect(KeyUsable, Tri::Unknown, &format!("the key {name} was not asked for"));
    }
}
