//! Random requests that both evaluators understand: valid policies, real actions, and every context key known.

use proptest::{prelude::*, sample::select, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};

const ACCOUNT: &str = "111122223333";
const OTHER: &str = "444455556666";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/Node/i-0abc";
const ROLE: &str = "arn:aws:iam::111122223333:role/Node";
const USER: &str = "arn:aws:iam::111122223333:user/Ann";

/// Action and a resource of it.
const ASKED: [(&str, &str); 7] = [
    ("s3:PutObject", "arn:aws:s3:::logs/sessions/a.gz"),
    ("s3:GetEncryptionConfiguration", "arn:aws:s3:::logs"),
    ("kms:Decrypt", "arn:aws:kms:eu-west-1:OWNER:key/1234abcd"),
    ("kms:GenerateDataKey", "arn:aws:kms:eu-west-1:OWNER:key/1234abcd"),
    ("logs:PutLogEvents", "arn:aws:logs:eu-west-1:OWNER:log-group:g:log-stream:s"),
    ("sqs:SendMessage", "arn:aws:sqs:eu-west-1:OWNER:queue"),
    ("ssmmessages:OpenDataChannel", "*"),
];

const ACTIONS: [&str; 14] = [
    "*",
    "*",
    "s3:*",
    "S3:put*",
    "s3:PutObject",
    "s3:Get*",
    "s3:GetEncryption?onfiguration",
    "kms:*",
    "kms:Decrypt",
    "kms:Generate*Key*",
    "logs:*",
    "logs:Put*Events",
    "sqs:*",
    "ssmmessages:Open*",
];

const RESOURCES: [&str; 13] = [
    "*",
    "*",
    "*",
    "arn:aws:s3:::logs/*",
    "arn:aws:s3:::logs",
    "arn:aws:s3:::logs*",
    "arn:aws:s3:::log?/sessions/${aws:PrincipalTag/team}.gz",
    "arn:aws:s3:::logs/sessions/${aws:PrincipalTag/team, 'a'}.gz",
    "arn:aws:s3:::other/*",
    "arn:aws:kms:*:*:key/*",
    "arn:aws:kms:eu-west-1:111122223333:key/1234abc?",
    "arn:aws:logs:*:*:log-group:g:log-stream:*",
    "arn:aws:sqs:*:*:${aws:PrincipalTag/team}",
];

/// Operator, key and values that fit together.
const CONDITIONS: &[(&str, &str, &[&str])] = &[
    ("StringEquals", "aws:PrincipalTag/team", &["a", "b"]),
    ("StringNotEquals", "aws:PrincipalTag/team", &["a", "b"]),
    ("StringEqualsIgnoreCase", "aws:PrincipalTag/team", &["A", "queue"]),
    ("StringNotEqualsIgnoreCase", "aws:PrincipalTag/team", &["A"]),
    ("StringLike", "aws:PrincipalTag/team", &["?", "q*e"]),
    ("StringNotLike", "aws:PrincipalTag/team", &["*"]),
    ("StringEqualsIfExists", "aws:PrincipalTag/team", &["queue"]),
    ("StringNotEqualsIfExists", "aws:PrincipalTag/team", &["queue"]),
    ("StringEquals", "aws:PrincipalAccount", &[ACCOUNT]),
    ("StringNotEquals", "aws:ResourceAccount", &["${aws:PrincipalAccount}"]),
    ("StringEquals", "aws:PrincipalTag/team", &["${aws:SourceVpce, 'a'}"]),
    ("Bool", "aws:SecureTransport", &["true"]),
    ("BoolIfExists", "aws:SecureTransport", &["false"]),
    ("IpAddress", "aws:SourceIp", &["10.0.0.0/8", "2001:db8::/32"]),
    ("NotIpAddress", "aws:SourceIp", &["10.0.0.0/8", "192.0.2.1/32"]),
    ("IpAddressIfExists", "aws:SourceIp", &["192.0.2.0/24"]),
    ("NumericLessThan", "aws:MultiFactorAuthAge", &["3600"]),
    ("NumericGreaterThanEquals", "aws:MultiFactorAuthAge", &["3600"]),
    ("NumericNotEquals", "aws:MultiFactorAuthAge", &["100"]),
    ("DateLessThan", "aws:CurrentTime", &["2026-06-01T00:00:00Z"]),
    ("DateGreaterThanEquals", "aws:CurrentTime", &["2026-01-01T00:00:00Z"]),
    ("DateEquals", "aws:CurrentTime", &["2026-01-01T00:00:00Z"]),
    ("ArnLike", "aws:PrincipalArn", &["arn:aws:iam::*:role/N*", "arn:aws:iam::111122223333:user/Bob"]),
    ("ArnNotEquals", "aws:PrincipalArn", &["arn:aws:iam::*:role/Node"]),
    ("ArnEqualsIfExists", "aws:SourceArn", &["arn:aws:sns:*:*:topic"]),
    ("ArnNotLikeIfExists", "aws:SourceArn", &["arn:aws:sns:*:*:topic"]),
    ("Null", "aws:SourceVpce", &["true"]),
    ("Null", "aws:PrincipalTag/team", &["false"]),
    ("StringEquals", "aws:SourceVpce", &["vpce-1"]),
    ("StringNotEquals", "aws:SourceVpce", &["vpce-1"]),
    ("ForAllValues:StringEquals", "aws:TagKeys", &["a", "b"]),
    ("ForAllValues:StringNotEquals", "aws:TagKeys", &["c"]),
    ("ForAnyValue:StringEquals", "aws:TagKeys", &["a", "c"]),
    ("ForAnyValue:StringNotEquals", "aws:TagKeys", &["a"]),
    ("ForAnyValue:StringLike", "aws:TagKeys", &["b*"]),
];

/// Every key of the conditions with the values it may have.
const KEYS: &[(&str, &[&[&str]])] = &[
    ("aws:PrincipalTag/team", &[&["a"], &["b"], &["queue"], &["A"]]),
    ("aws:SecureTransport", &[&["true"], &["false"]]),
    ("aws:SourceIp", &[&["10.1.2.3"], &["192.0.2.1"], &["2001:db8::1"]]),
    ("aws:MultiFactorAuthAge", &[&["100"], &["3600"], &["7200"]]),
    ("aws:CurrentTime", &[&["2026-01-01T00:00:00Z"], &["2026-07-01T12:00:00Z"]]),
    ("aws:SourceArn", &[&["arn:aws:sns:eu-west-1:111122223333:topic"], &["arn:aws:sns:eu-west-1:111122223333:x"]]),
    ("aws:SourceVpce", &[&["vpce-1"], &["vpce-2"], &["a"]]),
    ("aws:TagKeys", &[&["a"], &["a", "b"], &["c", "b"], &["bc"]]),
];

fn condition() -> impl Strategy<Value = Value> {
    prop::collection::vec(select(CONDITIONS), 1..3).prop_map(|conditions| {
        let mut element = json!({});
        for (operator, key, values) in conditions {
            element[operator][key] = if values.len() == 1 { json!(values[0]) } else { json!(values) };
        }
        element
    })
}

fn principals() -> Vec<Value> {
    vec![
        json!("*"),
        json!("*"),
        json!({"AWS": "*"}),
        json!({"AWS": ROLE}),
        json!({"AWS": SESSION}),
        json!({"AWS": USER}),
        json!({"AWS": "arn:aws:iam::111122223333:root"}),
        json!({"AWS": [ACCOUNT, OTHER]}),
        json!({"AWS": OTHER}),
        json!({"AWS": "arn:aws:iam::111122223333:role/Other"}),
        json!({"Service": "logs.amazonaws.com"}),
    ]
}

/// A statement as AWS accepts it in an RCP: no `NotAction`, no action `*`.
fn rcp_statement() -> impl Strategy<Value = Value> {
    (statement(Named::Everyone, 1.0), select(&ACTIONS[2..])).prop_map(|(mut statement, action)| {
        statement.as_object_mut().expect("a statement").remove("NotAction");
        statement["Action"] = json!([action]);
        statement
    })
}

/// Who stands in the statements.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Nobody,
    Some,
    Everyone,
}

fn statement(named: Named, denies: f64) -> impl Strategy<Value = Value> {
    (
        prop::bool::weighted(denies),
        (prop::bool::weighted(0.1), prop::collection::vec(select(&ACTIONS), 1..3)),
        (prop::bool::weighted(0.1), prop::collection::vec(select(&RESOURCES), 1..3)),
        prop::option::weighted(0.4, condition()),
        select(principals()),
    )
        .prop_map(move |(denies, (not_action, actions), (not_resource, resources), condition, principal)| {
            let mut statement = json!({"Effect": if denies { "Deny" } else { "Allow" }});
            statement[if not_action { "NotAction" } else { "Action" }] = json!(actions);
            statement[if not_resource { "NotResource" } else { "Resource" }] = json!(resources);
            if let Some(condition) = condition {
                statement["Condition"] = condition;
            }
            match named {
                Named::Nobody => {}
                Named::Some => statement["Principal"] = principal,
                Named::Everyone => statement["Principal"] = json!("*"),
            }
            statement
        })
}

fn policy(named: Named, denies: f64) -> impl Strategy<Value = Value> {
    (prop::collection::vec(statement(named, denies), 1..4), prop::bool::weighted(0.1)).prop_map(
        |(statements, alone)| {
            let statements = if alone { statements[0].clone() } else { json!(statements) };
            json!({"Version": "2012-10-17", "Statement": statements})
        },
    )
}

fn full_access() -> Value {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
}

fn context() -> impl Strategy<Value = Value> {
    let keys: Vec<_> =
        KEYS.iter().map(|(key, values)| (Just(*key), prop::option::weighted(0.75, select(*values)))).collect();
    keys.prop_map(|keys| keys.into_iter().map(|(key, values)| (key.to_owned(), json!(values))).collect())
}

fn line() -> impl Strategy<Value = Value> {
    (
        (select(&ASKED), prop::bool::weighted(0.3), select(&[SESSION, SESSION, ROLE, USER])),
        (prop::collection::vec(policy(Named::Nobody, 0.15), 0..3), prop::bool::weighted(0.6)),
        prop::option::weighted(0.25, policy(Named::Nobody, 0.1)),
        prop::option::weighted(0.15, policy(Named::Nobody, 0.1)),
        prop::collection::vec(prop::option::weighted(0.4, policy(Named::Nobody, 0.3)), 0..3),
        prop::collection::vec(prop::option::weighted(0.6, rcp_statement()), 0..2),
        prop::option::weighted(0.7, policy(Named::Some, 0.15)),
        prop::option::weighted(0.2, policy(Named::Everyone, 0.1)),
        context(),
    )
        .prop_map(
            |(asked, (mut policies, open), boundary, session, scps, rcps, resource_policy, endpoint, context)| {
                let ((action, resource), foreign, arn) = asked;
                let owner = if foreign && resource != "*" { OTHER } else { ACCOUNT };
                if open {
                    policies.push(full_access());
                }
                let level = |policy: Option<Value>| std::iter::once(full_access()).chain(policy).collect::<Vec<_>>();
                let rcps: Vec<Vec<Value>> = rcps
                    .into_iter()
                    .map(|deny| {
                        deny.map(|deny| json!({"Version": "2012-10-17", "Statement": [deny]})).into_iter().collect()
                    })
                    .collect();
                let mut line = json!({
                    "action": action, "resource": resource.replace("OWNER", owner), "resource_account": owner,
                    "principal": {"arn": arn, "policies": policies, "boundary": boundary},
                    "scps": scps.into_iter().map(level).collect::<Vec<_>>(), "rcps": rcps,
                    "resource_policy": resource_policy, "endpoint_policy": endpoint, "context": context,
                });
                if let (Some(session), true) = (session, arn != USER) {
                    line["principal"]["session_policies"] = json!([session]);
                }
                // Keys that follow from the request, for evaluators that do not derive them.
                line["context"]["aws:PrincipalArn"] = json!([if arn == USER { USER } else { ROLE }]);
                line["context"]["aws:PrincipalAccount"] = json!([ACCOUNT]);
                line["context"]["aws:ResourceAccount"] = json!([owner]);
                line
            },
        )
}

/// The same `count` requests each time, numbered from 0.
pub(crate) fn generate(count: usize) -> Vec<Value> {
    let mut runner = TestRunner::deterministic();
    let strategy = line();
    (0..count)
        .map(|id| {
            let mut line = strategy.new_tree(&mut runner).expect("a case").current();
            line["id"] = json!(id);
            line
        })
        .collect()
}
