use super::*;
use EvidenceKind::LogWritable;

fn with_policy(extra: Value) -> Show {
    let mut show = Show::new();
    show.role().policies.push(policy("extra", extra));
    show
}

/// R-W8, R-G21 (endpoint policies): everything that can deny, not the name of one attached policy; each is named in the reason.
#[test]
fn every_kind_of_policy_can_take_the_log_away() {
    let mut boundary = Show::new();
    boundary.role().boundary = Some(policy("the-boundary", allow(json!(["s3:*", "logs:*", "ssmmessages:*"]))));
    boundary.expect(LogWritable, Tri::No, "no statement of the permissions boundary allows kms:");

    let mut scp = Show::new();
    scp.guards().scps[1].push(policy("p-nologs", deny(json!("logs:*"))));
    scp.expect(LogWritable, Tri::No, "SCP 2 of level 2 (p-nologs), statement 1, denies logs:CreateLogStream");

    let mut rcp = Show::new();
    let statement = json!({"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "*"});
    Arc::make_mut(rcp.bucket_guards.as_mut().unwrap().as_mut().unwrap()).rcps = vec![vec![policy("p-rcp", statement)]];
    rcp.expect(LogWritable, Tri::No, "(p-rcp), statement 1, denies s3:PutObject");

    let mut bucket = Show::new();
    bucket.bucket().policy = None;
    bucket.expect(LogWritable, Tri::No, "no statement of the resource policy allows s3:PutObject");

    let mut key = Show::new();
    let other = json!({"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Principal": {"AWS": ARCHIVE}});
    key.key_named(BUCKET_KEY).policy = policy("the key's policy", other);
    key.expect(LogWritable, Tri::No, "no statement of the resource policy allows kms:GenerateDataKey");

    for service in ["s3", "kms", "logs", "ssmmessages"] {
        let mut endpoint = Show::new();
        let closed = json!({"Effect": "Allow", "Principal": "*", "Action": "ec2:*", "Resource": "*"});
        endpoint.endpoint(service).policy = policy("the endpoint's policy", closed);
        endpoint.expect(LogWritable, Tri::No, &format!("no statement of the endpoint policy allows {service}:"));
    }
}

/// A role may be allowed a key by its alias alone, as the landing zone's policy does it.
#[test]
fn a_key_may_be_allowed_by_its_alias() {
    let mut show = Show::new();
    let statements = json!([
        allow(json!(["ssmmessages:*", "logs:*", "s3:*", "kms:GenerateDataKey"])),
        {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": BUCKET_KEY},
        {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*",
            "Condition": {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/session"}}}
    ]);
    show.role().policies = vec![policy("by alias", statements)];
    show.expect(LogWritable, Tri::Unknown, "kms:resourcealiases is not known");
    show.key_named("alias/session").aliases = Some(vec!["alias/other".into(), "alias/session".into()]);
    show.expect(LogWritable, Tri::Yes, "");
    show.key_named("alias/session").aliases = Some(vec!["alias/other".into()]);
    show.expect(LogWritable, Tri::No, "kms:Decrypt");
    show.key_named("alias/session").aliases = Some(Vec::new());
    show.expect(LogWritable, Tri::No, "kms:Decrypt");
}

/// R-W9
#[test]
fn a_deny_of_everything_or_by_not_action_is_seen() {
    with_policy(deny(json!("*"))).expect(LogWritable, Tri::No, "(extra), statement 1, denies s3:PutObject");
    let all_but_ec2 = json!({"Effect": "Deny", "NotAction": "ec2:*", "Resource": "*"});
    with_policy(all_but_ec2).expect(LogWritable, Tri::No, "(extra), statement 1, denies s3:PutObject");
}

/// R-W10
#[test]
fn a_deny_that_has_nothing_to_do_with_the_log_does_not_matter() {
    for unrelated in [
        deny(json!(["s3:DeleteObject", "kms:ScheduleKeyDeletion", "logs:DeleteLogGroup"])),
        json!({"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::another/*"}),
        json!({"Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": {"StringNotEquals": {"aws:PrincipalOrgID": "o-ours"}}}),
        json!({"Effect": "Deny", "Action": "s3:*", "Resource": "*",
            "Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-s3"}}}),
        json!({"Effect": "Deny", "NotAction": ["iam:*"], "Resource": "*",
            "Condition": {"StringNotEquals": {"aws:RequestedRegion": "eu-west-1"}}}),
    ] {
        with_policy(unrelated).expect(LogWritable, Tri::Yes, "role/Node may write the log");
    }
}

/// R-W11: another name, other words, the same permissions. R-W12: a Statement that is an object.
#[test]
fn an_equivalent_policy_of_another_name_is_accepted() {
    let mut show = Show::new();
    show.role().policies = vec![policy("of-the-team", allow(json!(["s3:*", "kms:*", "logs:*", "ssmmessages:*"])))];
    assert!(show.role().policies[0].text.contains(r#""Statement":{"#));
    show.expect(LogWritable, Tri::Yes, "may write the log");
    show.role().policies = vec![policy("of-the-team", allow(json!(["s3:*", "kms:*", "logs:*"])))];
    show.expect(LogWritable, Tri::No, "no statement of the identity policies allows ssmmessages:CreateControlChannel");
}

/// R-W14, TH13: the role of Default Host Management is judged like any other, and so is that of a hybrid node.
#[test]
fn the_role_counts_wherever_it_comes_from() {
    for from in [RoleFrom::DefaultHostManagement, RoleFrom::Activation] {
        let mut show = Show::new();
        show.node().role = Some(("Managed".into(), from));
        show.role().arn = "arn:aws:iam::111122223333:role/service-role/Managed".into();
        show.expect(LogWritable, Tri::Yes, "service-role/Managed may write the log");
        show.role().policies.clear();
        show.expect(LogWritable, Tri::No, "no statement of the identity policies allows s3:PutObject");
    }
}

/// TH20, TH21
#[test]
fn a_node_without_a_role_and_a_role_that_is_gone_cannot_write() {
    let mut show = Show::new();
    show.role = Some(Err(CallError::Gone));
    show.expect(LogWritable, Tri::No, "the role Node does not exist");
    show.role = None;
    show.expect(LogWritable, Tri::Unknown, "not asked for");
    show.node().role = None;
    show.expect(LogWritable, Tri::No, "the node has no role");
}

/// R-W13, I11: an error of the checker is named, and is neither compliance nor a violation.
#[test]
fn an_error_leaves_it_unknown_and_is_named() {
    let mut role = Show::new();
    role.role = Some(Err(CallError::Denied));
    role.expect(LogWritable, Tri::Unknown, "the role's policies: denied");
    let mut node = Show::new();
    node.node = Some(Err(CallError::Throttled));
    node.expect(LogWritable, Tri::Unknown, "the node: throttled");
    let mut bucket = Show::new();
    bucket.bucket = Some(Err(CallError::Unknown));
    bucket.expect(LogWritable, Tri::Unknown, "the bucket: no answer");
    let mut key = Show::new();
    key.keys.insert(BUCKET_KEY.into(), Err(CallError::Denied));
    key.expect(LogWritable, Tri::Unknown, "key/bucket: denied");
    let mut guards = Show::new();
    guards.guards = Err(CallError::Denied);
    guards.expect(LogWritable, Tri::Unknown, "the organisation's policies: denied");
    let mut network = Show::new();
    network.network = Some(Err(CallError::Throttled));
    network.expect(LogWritable, Tri::Unknown, "the node's network: throttled");
    let mut preferences = Show::new();
    preferences.preferences = Err(CallError::Throttled);
    preferences.expect(LogWritable, Tri::Unknown, "the preferences document: throttled");
}

/// What is known to deny decides, whatever else is not known.
#[test]
fn a_deny_decides_beside_an_error() {
    let mut show = with_policy(deny(json!("s3:*")));
    show.bucket = Some(Err(CallError::Denied));
    show.network = Some(Err(CallError::Denied));
    show.guards = Err(CallError::Denied);
    show.expect(LogWritable, Tri::No, "(extra), statement 1, denies s3:PutObject");
}

#[test]
fn a_policy_that_is_not_understood_leaves_it_unknown() {
    let odd = json!({"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*",
        "Condition": {"StringAlmost": {"aws:PrincipalOrgID": "o-ours"}}});
    with_policy(odd).expect(LogWritable, Tri::Unknown, "s3:PutObject");
    let unknown_key = json!({"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*",
        "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}});
    with_policy(unknown_key).expect(LogWritable, Tri::Unknown, "aws:sourceip");
}

/// The agent sends the bucket's own key and the algorithm with the log, and an ACL.
#[test]
fn conditions_on_what_the_agent_sends_are_decided() {
    for (condition, value) in [
        (json!({"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}), Tri::Yes),
        (json!({"StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": BUCKET_KEY}}), Tri::Yes),
        (json!({"StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": SESSION_KEY}}), Tri::No),
        (json!({"StringNotEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}), Tri::Yes),
        (json!({"Null": {"s3:x-amz-server-side-encryption": "true"}}), Tri::Yes),
    ] {
        let mut show = Show::new();
        let mut statements = bucket_statements();
        statements.push(json!({"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::central-logs/*", "Condition": condition}));
        show.bucket().policy = Some(policy("the bucket's policy", json!(statements)));
        show.expect(LogWritable, value, "");
    }
    // S3 uses the bucket's key on the role's behalf, and the agent the session's key itself.
    let by_s3 = json!({"Effect": "Deny", "Action": "kms:*", "Resource": BUCKET_KEY,
        "Condition": {"StringNotEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}});
    with_policy(by_s3).expect(LogWritable, Tri::Yes, "");
    let by_itself = json!({"Effect": "Deny", "Action": "kms:*", "Resource": SESSION_KEY,
        "Condition": {"Null": {"kms:ViaService": "true"}}});
    with_policy(by_itself).expect(LogWritable, Tri::No, "denies kms:Decrypt");
}

/// An S3 endpoint carries nothing to a bucket in another region.
#[test]
fn the_endpoint_of_another_region_has_no_say() {
    let mut show = Show::new();
    show.endpoint("s3").policy =
        policy("closed", json!({"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}));
    show.expect(LogWritable, Tri::No, "denies s3:PutObject");
    let far = "arn:aws:kms:us-east-1:444455556666:key/bucket";
    show.bucket().key = Some(far.into());
    let key = show.keys.remove(BUCKET_KEY).unwrap();
    show.keys.insert(far.into(), key);
    show.key_named(far).arn = far.into();
    show.role().policies.push(policy("far", allow(json!("kms:*"))));
    show.expect(LogWritable, Tri::Yes, "");
}

#[test]
fn without_a_place_nothing_is_logged() {
    let mut show = Show::new();
    show.settings.posture.preferences = crate::document::WantedPreferences::default();
    show.preferences = document(&json!({}));
    show.expect(LogWritable, Tri::No, "neither bucket nor log group");
    show.preferences = Err(CallError::Gone);
    show.expect(LogWritable, Tri::No, "neither bucket nor log group");
    show.preferences = Err(CallError::Denied);
    show.expect(LogWritable, Tri::Unknown, "the preferences document: denied");
}

/// R-W15: a container is no malformed node; its log is another role's business.
#[test]
fn a_container_is_not_judged_by_a_nodes_role() {
    let mut show = Show::new();
    (show.node, show.role) = (None, None);
    show.described.target = "ecs:web_0123456789_0123456789-1".into();
    show.expect(LogWritable, Tri::Unknown, "a container's log is written by another role");
}

/// Where the bucket's region is not known, an endpoint that closes S3 proves nothing.
#[test]
fn a_bucket_of_an_unknown_region_may_be_reached_either_way() {
    let mut show = Show::new();
    show.bucket().key = None;
    show.expect(LogWritable, Tri::Yes, "");
    let closed = json!({"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"});
    show.endpoint("s3").policy = policy("closed", closed);
    show.expect(LogWritable, Tri::Unknown, "whether the bucket is in the node's region is not known");
    show.role().policies.push(policy("extra", deny(json!("s3:*"))));
    show.expect(LogWritable, Tri::No, "denies s3:PutObject");
}
