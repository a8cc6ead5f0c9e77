use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::{
        Answer::{self, Allow, Deny},
        LogTargets, Policy, check_actions,
    },
    ACCOUNT, Caller, Context, OTHER, ROLE, SESSION, Target, allow, caller, grant, policy, statements,
};

const BUCKET: &str = "arn:aws:s3:::central-logs";
const LOG: &str = "arn:aws:s3:::central-logs/sessions/111122223333/ann-0abc.gz";

/// What a node's role needs, written plainly.
fn standard() -> Value {
    json!([
        {"Sid": "Channels", "Effect": "Allow", "Resource": "*", "Action": [
            "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
            "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"]},
        {"Sid": "Log", "Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::central-logs/sessions/111122223333/*"},
        {"Sid": "Bucket", "Effect": "Allow", "Action": "s3:GetEncryptionConfiguration", "Resource": BUCKET},
        {"Sid": "Key", "Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
            "Resource": "arn:aws:kms:eu-west-1:444455556666:key/logs"},
        {"Sid": "Stream", "Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": "arn:aws:logs:eu-west-1:111122223333:log-group:/sessions:*"}
    ])
}

fn targets() -> LogTargets {
    let archive = Some(OTHER.parse().unwrap());
    let bucket_policy = Some(statements(json!([grant("Allow", json!({"AWS": ACCOUNT}), "s3:*")])));
    let s3 = |arn: &str| Target { account: archive, policy: bucket_policy.clone(), ..Target::new(arn) };
    let key = Target {
        policy: Some(statements(grant("Allow", json!({"AWS": ROLE}), "kms:*"))),
        ..Target::new("arn:aws:kms:eu-west-1:444455556666:key/logs")
    };
    LogTargets {
        object: Some(s3(LOG)),
        bucket: Some(s3(BUCKET)),
        keys: vec![key.clone(), key],
        stream: Some(Target::new("arn:aws:logs:eu-west-1:111122223333:log-group:/sessions:log-stream:ann-0abc")),
        channels: Target::new("*"),
    }
}

/// The actions that are not allowed.
fn refused(caller: &Caller, targets: &LogTargets) -> Vec<(&'static str, Answer)> {
    let checks = check_actions(caller, targets, &Context::new());
    assert_eq!(checks.len(), 12);
    checks.iter().filter(|it| it.decision.answer != Allow).map(|it| (it.action, it.decision.answer)).collect()
}

#[test]
fn the_standard_policy_logs_into_the_archive_account() {
    assert_eq!(refused(&caller(SESSION, &[standard()]), &targets()), []);
    assert_eq!(refused(&caller(ROLE, &[standard()]), &targets()), [], "some session of the role");
}

/// R-W11: other words for the same permissions, split over policies, with wildcards and conditions that hold.
#[test]
fn policies_that_grant_the_same_are_accepted() {
    let own_account = json!({"StringEquals": {"aws:PrincipalAccount": ACCOUNT}});
    let variants = [
        vec![allow("*")],
        vec![allow("s3:*"), allow("kms:*"), json!([allow("ssmmessages:*"), allow("logs:*")])],
        vec![json!({"Effect": "Allow", "NotAction": ["iam:*", "organizations:*"], "Resource": "*"})],
        vec![
            json!({"Effect": "Allow", "Action": ["S3:putobject", "s3:getENCRYPTION*", "KMS:*DataKey", "kms:Decryp?", "ssmmessages:*", "logs:*Log*"],
            "NotResource": "arn:aws:s3:::another/*", "Condition": own_account}),
        ],
        vec![
            json!({"Effect": "Allow", "Action": ["s3:*", "kms:*", "logs:*", "ssmmessages:*"], "Resource": ["arn:aws:*", "*"]}),
        ],
    ];
    for variant in variants {
        assert_eq!(refused(&caller(SESSION, &variant), &targets()), [], "{variant:?}");
    }
}

/// R-W12
#[test]
fn a_statement_given_as_one_object_is_read() {
    let one = policy(&json!({"Version": "2012-10-17", "Statement": allow("*")}));
    let many = policy(&json!({"Version": "2012-10-17", "Statement": [allow("*")]}));
    for policy in [one, many] {
        let node = Caller { identity: vec![policy], ..caller(SESSION, &[]) };
        assert_eq!(refused(&node, &targets()), []);
    }
    let denying =
        json!({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"}});
    let mut node = caller(SESSION, &[standard()]);
    node.identity.push(policy(&denying));
    assert_eq!(refused(&node, &targets()), [("s3:PutObject", Deny)]);
}

/// R-W9
#[test]
fn a_deny_with_wildcards_or_not_action_is_found() {
    for (deny, lost) in [
        (json!({"Effect": "Deny", "Action": "s3:Put*", "Resource": "*"}), 1),
        (json!({"Effect": "Deny", "Action": "S3:*OBJECT", "Resource": "arn:aws:s3:::central-*"}), 1),
        (json!({"Effect": "Deny", "Action": "*", "Resource": "*"}), 12),
        (json!({"Effect": "Deny", "NotAction": ["ssmmessages:*", "kms:*", "logs:*", "s3:Get*"], "Resource": "*"}), 1),
        (json!({"Effect": "Deny", "NotAction": "ec2:*", "Resource": "*"}), 12),
        (json!({"Effect": "Deny", "Action": "ssmmessages:*Channel", "NotResource": "arn:aws:s3:::*"}), 4),
        (json!({"Effect": "Deny", "Action": "kms:?ecrypt", "Resource": "*"}), 2),
        (json!({"Effect": "Deny", "Action": "kms:*", "Resource": "arn:aws:kms:*:*:key/*"}), 4),
    ] {
        let mut node = caller(SESSION, &[standard()]);
        node.identity.push(statements(deny.clone()));
        let refused = refused(&node, &targets());
        assert_eq!(refused.len(), lost, "{deny}: {refused:?}");
        assert!(refused.iter().all(|(_, answer)| *answer == Deny), "{deny}: {refused:?}");
    }
}

/// R-W10
#[test]
fn a_deny_that_does_not_touch_logging_harms_nothing() {
    for deny in [
        json!({"Effect": "Deny", "Action": ["iam:*", "ec2:*", "s3:Delete*"], "Resource": "*"}),
        json!({"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::payroll/*"}),
        json!({"Effect": "Deny", "Action": "s3:PutObject", "NotResource": "arn:aws:s3:::central-logs/*"}),
        json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringNotEquals": {"aws:PrincipalAccount": ACCOUNT}}}),
        json!({"Effect": "Deny", "NotAction": ["s3:*", "kms:*", "logs:*", "ssmmessages:*"], "Resource": "*"}),
        json!({"Effect": "Deny", "Action": "kms:*", "Resource": "arn:aws:kms:eu-west-1:444455556666:key/other"}),
    ] {
        let mut node = caller(SESSION, &[standard()]);
        node.identity.push(statements(deny.clone()));
        assert_eq!(refused(&node, &targets()), [], "{deny}");
    }
}

/// R-W8: boundary, SCP, RCP and the policies of bucket, key and endpoint each take the log away.
#[test]
fn every_other_policy_is_judged_too() {
    let no_s3 = || statements(json!([allow("kms:*"), allow("logs:*"), allow("ssmmessages:*")]));
    let lost_s3 = [("s3:PutObject", Deny), ("s3:GetEncryptionConfiguration", Deny)];
    let node = || caller(SESSION, &[standard()]);
    assert_eq!(refused(&Caller { boundary: Some(no_s3()), ..node() }, &targets()), lost_s3);
    assert_eq!(
        refused(&Caller { scps: vec![vec![statements(allow("*"))], vec![no_s3()]], ..node() }, &targets()),
        lost_s3
    );

    let mut closed = targets();
    closed.object.as_mut().unwrap().policy = None;
    assert_eq!(refused(&node(), &closed), [("s3:PutObject", Deny)]);

    let mut closed = targets();
    closed.keys[0].policy = Some(statements(grant("Allow", json!({"AWS": OTHER}), "kms:*")));
    assert_eq!(refused(&node(), &closed), [("kms:GenerateDataKey", Deny), ("kms:Decrypt", Deny)]);

    let mut closed = targets();
    closed.object.as_mut().unwrap().rcps = vec![vec![statements(grant("Deny", json!("*"), "s3:Put*"))]];
    assert_eq!(refused(&node(), &closed), [("s3:PutObject", Deny)]);

    let mut closed = targets();
    closed.channels.endpoint = Some(statements(grant("Allow", json!("*"), "ssmmessages:Open*")));
    assert_eq!(
        refused(&node(), &closed),
        [("ssmmessages:CreateControlChannel", Deny), ("ssmmessages:CreateDataChannel", Deny)]
    );
}

#[test]
fn nothing_is_checked_that_is_not_in_use() {
    let plain = LogTargets { object: None, bucket: None, keys: vec![], stream: None, channels: Target::new("*") };
    let checks = check_actions(&caller(SESSION, &[standard()]), &plain, &Context::new());
    assert_eq!(checks.len(), 4);
    assert!(checks.iter().all(|it| it.resource == "*" && it.decision.answer == Allow));
}

/// AWS's managed policy as it is delivered: it lets a node's sessions open, and logs nothing by itself.
#[test]
fn the_managed_core_policy_opens_the_channels_only() {
    let core = Policy::parse(
        r#"{"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["ssm:DescribeAssociation", "ssm:GetDeployablePatchSnapshotForInstance",
                "ssm:GetDocument", "ssm:UpdateInstanceInformation"], "Resource": "*"},
            {"Effect": "Allow", "Action": ["ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
                "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"], "Resource": "*"},
            {"Effect": "Allow", "Action": ["ec2messages:AcknowledgeMessage", "ec2messages:GetMessages"], "Resource": "*"}]}"#,
    );
    let node = Caller { identity: vec![Arc::new(core)], ..caller(SESSION, &[]) };
    let refused = refused(&node, &targets());
    assert_eq!(refused.len(), 8);
    assert!(refused.iter().all(|(action, answer)| !action.starts_with("ssmmessages") && *answer == Deny));
}
