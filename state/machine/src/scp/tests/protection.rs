use std::collections::BTreeSet;

use super::{
    super::{Guarded, ScpError, ScpName, ScpSettings, render},
    ADMIN, BREAK_GLASS, Bound, DEPLOYER, OTHER, OWN, RESPONDER, ROOT, names, settings,
};
use crate::permission::Context;

/// What harms a part of the guardrail, with that part's name in place of `{}`.
const HARMS: [(&str, &str); 67] = [
    ("ssm:CreateDocument", "ssm:eu-west-1:111122223333:document/{}"),
    ("ssm:UpdateDocument", "ssm:eu-west-1:111122223333:document/{}"),
    ("ssm:DeleteDocument", "ssm:eu-west-1:111122223333:document/{}"),
    // R-W30
    ("ssm:UpdateDocumentDefaultVersion", "ssm:eu-west-1:111122223333:document/{}"),
    ("ssm:ModifyDocumentPermission", "ssm:eu-west-1:111122223333:document/{}"),
    ("iam:SetDefaultPolicyVersion", "iam::111122223333:policy/{}"),
    ("sns:SetTopicAttributes", "sns:eu-west-1:111122223333:{}"),
    ("logs:DeleteLogGroup", "logs:eu-west-1:111122223333:log-group:{}"),
    ("logs:DeleteLogStream", "logs:eu-west-1:111122223333:log-group:{}:log-stream:ann-0abc"),
    ("logs:PutRetentionPolicy", "logs:eu-west-1:111122223333:log-group:{}:*"),
    ("logs:AssociateKmsKey", "logs:eu-west-1:111122223333:log-group:{}"),
    ("iam:CreatePolicy", "iam::111122223333:policy/{}"),
    ("iam:CreatePolicyVersion", "iam::111122223333:policy/{}"),
    ("iam:DeletePolicy", "iam::111122223333:policy/{}"),
    ("iam:DeletePolicyVersion", "iam::111122223333:policy/{}"),
    ("iam:CreateRole", "iam::111122223333:role/{}"),
    ("iam:DeleteRole", "iam::111122223333:role/{}"),
    ("iam:UpdateRole", "iam::111122223333:role/{}"),
    ("iam:UpdateAssumeRolePolicy", "iam::111122223333:role/{}"),
    ("iam:AttachRolePolicy", "iam::111122223333:role/{}"),
    ("iam:DetachRolePolicy", "iam::111122223333:role/{}"),
    ("iam:PutRolePolicy", "iam::111122223333:role/{}"),
    ("iam:DeleteRolePolicy", "iam::111122223333:role/{}"),
    ("iam:PutRolePermissionsBoundary", "iam::111122223333:role/{}"),
    ("iam:DeleteRolePermissionsBoundary", "iam::111122223333:role/{}"),
    ("cloudwatch:PutMetricAlarm", "cloudwatch:eu-west-1:111122223333:alarm:{}"),
    ("cloudwatch:DeleteAlarms", "cloudwatch:eu-west-1:111122223333:alarm:{}"),
    ("cloudwatch:DisableAlarmActions", "cloudwatch:eu-west-1:111122223333:alarm:{}"),
    ("cloudwatch:SetAlarmState", "cloudwatch:eu-west-1:111122223333:alarm:{}"),
    ("sns:DeleteTopic", "sns:eu-west-1:111122223333:{}"),
    ("sns:AddPermission", "sns:eu-west-1:111122223333:{}"),
    ("sns:RemovePermission", "sns:eu-west-1:111122223333:{}"),
    ("sns:Unsubscribe", "sns:eu-west-1:111122223333:{}"),
    ("sqs:DeleteQueue", "sqs:eu-west-1:111122223333:{}"),
    ("sqs:PurgeQueue", "sqs:eu-west-1:111122223333:{}"),
    ("sqs:SetQueueAttributes", "sqs:eu-west-1:111122223333:{}"),
    ("dynamodb:DeleteTable", "dynamodb:eu-west-1:111122223333:table/{}"),
    ("dynamodb:UpdateTable", "dynamodb:eu-west-1:111122223333:table/{}"),
    ("dynamodb:UpdateTimeToLive", "dynamodb:eu-west-1:111122223333:table/{}"),
    ("kinesis:DeleteStream", "kinesis:eu-west-1:111122223333:stream/{}"),
    ("kinesis:DecreaseStreamRetentionPeriod", "kinesis:eu-west-1:111122223333:stream/{}"),
    ("kinesis:DeregisterStreamConsumer", "kinesis:eu-west-1:111122223333:stream/{}/consumer/x:1"),
    ("events:PutRule", "events:eu-west-1:111122223333:rule/{}"),
    ("events:DeleteRule", "events:eu-west-1:111122223333:rule/{}"),
    ("events:DisableRule", "events:eu-west-1:111122223333:rule/{}"),
    ("events:PutTargets", "events:eu-west-1:111122223333:rule/{}"),
    ("events:RemoveTargets", "events:eu-west-1:111122223333:rule/{}"),
    ("cloudtrail:StopLogging", "cloudtrail:eu-west-1:111122223333:trail/{}"),
    ("cloudtrail:DeleteTrail", "cloudtrail:eu-west-1:111122223333:trail/{}"),
    ("cloudtrail:UpdateTrail", "cloudtrail:eu-west-1:111122223333:trail/{}"),
    ("cloudtrail:PutEventSelectors", "cloudtrail:eu-west-1:111122223333:trail/{}"),
    ("lambda:UpdateFunctionCode", "lambda:eu-west-1:111122223333:function:{}"),
    ("lambda:UpdateFunctionConfiguration", "lambda:eu-west-1:111122223333:function:{}"),
    ("lambda:DeleteFunction", "lambda:eu-west-1:111122223333:function:{}"),
    ("lambda:PutFunctionConcurrency", "lambda:eu-west-1:111122223333:function:{}"),
    ("states:UpdateStateMachine", "states:eu-west-1:111122223333:stateMachine:{}"),
    ("states:DeleteStateMachine", "states:eu-west-1:111122223333:stateMachine:{}"),
    ("cloudformation:UpdateStack", "cloudformation:eu-west-1:111122223333:stack/{}/0abc"),
    ("cloudformation:DeleteStack", "cloudformation:eu-west-1:111122223333:stack/StackSet-{}-0abc/0abc"),
    ("s3:PutBucketPolicy", "s3:::{}"),
    ("s3:PutBucketVersioning", "s3:::{}"),
    ("s3:PutBucketObjectLockConfiguration", "s3:::{}"),
    ("s3:PutLifecycleConfiguration", "s3:::{}"),
    ("s3:PutEncryptionConfiguration", "s3:::{}"),
    ("s3:DeleteObject", "s3:::{}/sessions/ann-0abc.log"),
    ("s3:DeleteObjectVersion", "s3:::{}/sessions/ann-0abc.log"),
    ("kms:DeleteAlias", "kms:eu-west-1:111122223333:alias/{}"),
];

/// What carries a session's log, or looks.
const HARMLESS: [(&str, &str); 15] = [
    ("s3:PutObject", "s3:::{}/sessions/ann-0abc.log"),
    ("s3:GetEncryptionConfiguration", "s3:::{}"),
    ("s3:GetObject", "s3:::{}/sessions/ann-0abc.log"),
    ("kms:GenerateDataKey", "kms:eu-west-1:111122223333:key/{}"),
    ("kms:Decrypt", "kms:eu-west-1:111122223333:key/{}"),
    ("logs:CreateLogGroup", "logs:eu-west-1:111122223333:log-group:{}"),
    ("logs:CreateLogStream", "logs:eu-west-1:111122223333:log-group:{}:log-stream:ann-0abc"),
    ("logs:PutLogEvents", "logs:eu-west-1:111122223333:log-group:{}:log-stream:ann-0abc"),
    ("ssm:StartSession", "ssm:eu-west-1:111122223333:document/{}"),
    ("ssm:GetDocument", "ssm:eu-west-1:111122223333:document/{}"),
    ("ssm:DescribeDocument", "ssm:eu-west-1:111122223333:document/{}"),
    ("iam:GetRolePolicy", "iam::111122223333:role/{}"),
    ("iam:GetPolicyVersion", "iam::111122223333:policy/{}"),
    ("iam:PassRole", "iam::111122223333:role/{}"),
    ("cloudwatch:DescribeAlarms", "cloudwatch:eu-west-1:111122223333:alarm:{}"),
];

fn arn(resource: &str, name: &str) -> String {
    format!("arn:aws:{}", resource.replace("{}", name))
}

/// Guarded things that have no key behind them.
fn no_aliases() -> Context {
    Context::new().without("kms:ResourceAliases").without("iam:PolicyARN")
}

// R-G14, R-W30
#[test]
fn member_administrators_cannot_touch_the_guardrail() {
    let bound = Bound::by(ScpName::Protection, &settings(), &[]);
    for caller in [ADMIN, OTHER, ROOT] {
        for (action, resource) in HARMS {
            let own = arn(resource, "sessionwarden-part");
            assert!(bound.denies_with(caller, action, &own, &no_aliases()), "{caller} {action} {own}");
            let foreign = arn(resource, "payroll");
            assert!(!bound.denies_with(caller, action, &foreign, &no_aliases()), "{caller} {action} {foreign}");
        }
    }
}

// R-G14
#[test]
fn looking_and_carrying_logs_is_never_denied() {
    let bound = Bound::by(ScpName::Protection, &settings(), &[]);
    for (action, resource) in HARMLESS {
        let own = arn(resource, "sessionwarden-part");
        assert!(!bound.denies_with(ADMIN, action, &own, &no_aliases()), "{action}");
    }
}

// R-G14
#[test]
fn the_preferences_document_is_guarded_beside_the_named_ones() {
    let bound = Bound::by(ScpName::Protection, &settings(), &[]);
    for (action, resource) in HARMS.into_iter().filter(|(action, _)| action.starts_with("ssm:")) {
        assert!(bound.denies(ADMIN, action, &arn(resource, "SSM-SessionManagerRunShell")), "{action}");
    }
}

// R-W31
#[test]
fn the_deployer_may_change_the_guardrail_but_is_not_spared_by_quarantine() {
    let bound = Bound::by(ScpName::Protection, &settings(), &[]);
    for caller in [DEPLOYER, OWN, BREAK_GLASS, RESPONDER] {
        for (action, resource) in HARMS {
            let own = arn(resource, "sessionwarden-part");
            assert!(!bound.denies_with(caller, action, &own, &no_aliases()), "{caller} {action}");
        }
    }
    let quarantine = Bound::by(ScpName::QuarantineAccess, &settings(), &[]);
    assert!(quarantine.denies(DEPLOYER, "ssm:StartSession", super::INSTANCE));
    // Who is called like the deployer but for the path is not the deployer.
    let impostor = "arn:aws:iam::111122223333:role/x/sessionwarden-deployer";
    assert!(bound.denies(impostor, "sns:DeleteTopic", "arn:aws:sns:eu-west-1:111122223333:sessionwarden"));
}

// R-W31: who could make the deployer's role, or another exempt one, could make himself exempt.
#[test]
fn nobody_else_makes_or_changes_an_exempt_role() {
    let bound = Bound::by(ScpName::Protection, &settings(), &[]);
    for role in ["sessionwarden-deployer", "BreakGlass", "Responder", "sessionwarden"] {
        for action in ["iam:CreateRole", "iam:UpdateAssumeRolePolicy", "iam:PutRolePolicy", "iam:DeleteRole"] {
            let role = format!("arn:aws:iam::111122223333:role/{role}");
            assert!(bound.denies_with(ADMIN, action, &role, &no_aliases()), "{action} {role}");
        }
    }
}

// R-G14
#[test]
fn the_mandatory_policy_stays_on_every_role() {
    let bound = Bound::by(ScpName::Protection, &settings(), &[]);
    let node = "arn:aws:iam::111122223333:role/Node";
    let policy =
        |name: &str| Context::new().with("iam:PolicyARN", [format!("arn:aws:iam::111122223333:policy/{name}")]);
    assert!(bound.denies_with(ADMIN, "iam:DetachRolePolicy", node, &policy("sessionwarden-log")));
    assert!(!bound.denies_with(ADMIN, "iam:DetachRolePolicy", node, &policy("payroll")));
    assert!(!bound.denies_with(ADMIN, "iam:AttachRolePolicy", node, &policy("sessionwarden-log")));
    assert!(!bound.denies_with(DEPLOYER, "iam:DetachRolePolicy", node, &policy("sessionwarden-log")));
}

// R-G14, TH22
#[test]
fn the_log_key_is_guarded_by_its_alias_and_by_its_id() {
    let mut with_key = settings();
    with_key.names.insert(Guarded::Key, names(&["11111111-2222"]));
    let bound = Bound::by(ScpName::Protection, &with_key, &[]);
    let key = |id: &str| format!("arn:aws:kms:eu-west-1:111122223333:key/{id}");
    let aliases = |names: &[&str]| Context::new().with("kms:ResourceAliases", names.iter().copied());
    for action in ["DisableKey", "ScheduleKeyDeletion", "PutKeyPolicy", "RevokeGrant", "RetireGrant"] {
        let action = format!("kms:{action}");
        let denies = |id: &str, aliases: &Context| bound.denies_with(ADMIN, &action, &key(id), aliases);
        assert!(denies("9999", &aliases(&["alias/x", "alias/sessionwarden-logs"])), "{action}");
        assert!(!denies("9999", &aliases(&["alias/x"])) && !denies("9999", &no_aliases()), "{action}");
        assert!(denies("11111111-2222", &no_aliases()), "{action}");
        assert!(!bound.denies_with(DEPLOYER, &action, &key("9999"), &aliases(&["alias/sessionwarden"])), "{action}");
    }
}

#[test]
fn exact_names_guard_what_lies_within_and_nothing_beside() {
    let mut exact = settings();
    exact.names = [
        (Guarded::Bucket, names(&["logs"])),
        (Guarded::LogGroup, names(&["/session-logs"])),
        (Guarded::Stack, names(&["guard"])),
    ]
    .into();
    let bound = Bound::by(ScpName::Protection, &exact, &[]);
    for (action, resource, denied) in [
        ("s3:DeleteBucket", "arn:aws:s3:::logs", true),
        ("s3:DeleteObject", "arn:aws:s3:::logs/a/b", true),
        ("s3:DeleteObject", "arn:aws:s3:::logs-2/a/b", false),
        ("logs:DeleteLogGroup", "arn:aws:logs:eu-west-1:111122223333:log-group:/session-logs", true),
        ("logs:DeleteLogGroup", "arn:aws:logs:eu-west-1:111122223333:log-group:/session-logs:*", true),
        ("logs:DeleteLogGroup", "arn:aws:logs:eu-west-1:111122223333:log-group:/session-logs-2", false),
        ("cloudformation:DeleteStack", "arn:aws:cloudformation:eu-west-1:111122223333:stack/guard/0abc", true),
        (
            "cloudformation:DeleteStack",
            "arn:aws:cloudformation:eu-west-1:111122223333:stack/StackSet-guard-1/0abc",
            true,
        ),
        ("cloudformation:DeleteStack", "arn:aws:cloudformation:eu-west-1:111122223333:stack/guard-2/0abc", false),
        // No name was given for these.
        ("sns:DeleteTopic", "arn:aws:sns:eu-west-1:111122223333:sessionwarden", false),
        ("kms:DisableKey", "arn:aws:kms:eu-west-1:111122223333:key/logs", false),
    ] {
        assert_eq!(bound.denies(ADMIN, action, resource), denied, "{action} {resource}");
    }
}

#[test]
fn too_many_names_are_an_error_that_says_which() {
    let mut many = settings();
    let trails: Vec<String> = (0..60).map(|at| format!("organisation-trail-{at:02}")).collect();
    many.names.insert(Guarded::Trail, trails.iter().map(|name| name.as_str().into()).collect());
    let error = render(ScpName::Protection, &many, &BTreeSet::new()).unwrap_err();
    assert!(matches!(&error, ScpError::TooLong { list, .. } if list == "names.trail"), "{error:?}");
    assert!(error.to_string().contains("more than 5120; names.trail takes the most of it"), "{error}");
    let roles = ScpSettings { responder_roles: trails.iter().map(|name| name.as_str().into()).collect(), ..settings() };
    let error = render(ScpName::Protection, &roles, &BTreeSet::new()).unwrap_err();
    assert!(matches!(&error, ScpError::TooLong { list, .. } if list == "responder_roles"), "{error:?}");
}
