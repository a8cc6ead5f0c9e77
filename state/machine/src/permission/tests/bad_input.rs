use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::Answer::{self, Allow, Deny, Unknown},
    Context, OBJECT, Policy, SESSION, Target, allow, caller, decide, deny, grant, one, statements,
};

/// The answer for a role with this text as its second policy, beside one that allows all.
fn beside_allow(text: &str) -> Answer {
    let mut caller = caller(SESSION, &[allow("*")]);
    caller.identity.push(Arc::new(Policy::parse(text)));
    decide("s3:PutObject", &caller, &Target::new(OBJECT), &Context::new()).answer
}

fn alone(text: &str) -> Answer {
    let mut caller = caller(SESSION, &[]);
    caller.identity.push(Arc::new(Policy::parse(text)));
    decide("s3:PutObject", &caller, &Target::new(OBJECT), &Context::new()).answer
}

#[test]
fn a_document_that_is_not_understood_makes_unknown() {
    for text in [
        "",
        "null",
        "[]",
        "{",
        "{}",
        "\"policy\"",
        r#"{"Statement": []}"#,
        r#"{"Statement": {}}"#,
        r#"{"Statement": "Allow"}"#,
        r#"{"Statement": [null]}"#,
        r#"{"Version": "2012-10-18", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#,
        r#"{"Version": 20121017, "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#,
        r#"{"statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}, "Statement": []}"#,
        r#"{"Statement": {"Effect": "Allow", "Effect": "Deny", "Action": "*", "Resource": "*"}}"#,
        r#"{"Statement": {"Effect": "allow", "Action": "*", "Resource": "*"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Resource": "*"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Priority": 1}}"#,
        r#"{"Statement": {"Action": "*", "Resource": "*"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}} x"#,
    ] {
        assert_eq!(beside_allow(text), Unknown, "{text}");
        assert_eq!(alone(text), Unknown, "{text}");
    }
}

#[test]
fn an_allow_that_is_not_understood_takes_nothing_away() {
    for text in [
        r#"{"Statement": {"Effect": "Allow", "Action": "*"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": []}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": [1], "Resource": "*"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "NotAction": "s3:*", "Resource": "*"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"a:b": "true"}, "Bool": {}}}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"a:b": "true", "a:b": "false"}}}}"#,
    ] {
        assert_eq!(alone(text), Unknown, "{text}");
        assert_eq!(beside_allow(text), Allow, "{text}");
        assert_eq!(beside_allow(&text.replace("\"Allow\"", "\"Deny\"")), Unknown, "{text}");
    }
}

#[test]
fn a_statement_for_other_actions_does_no_harm() {
    let odd = json!({"Effect": "Deny", "Action": "ec2:*", "Resource": "bucket", "Condition": {"Odd": {"a": "b"}}});
    assert_eq!(one(&json!([odd, allow("s3:*")]), "s3:PutObject", OBJECT, &Context::new()).answer, Allow);
}

#[test]
fn an_explicit_deny_stands_beside_what_is_not_understood() {
    let broken = json!([{"Effect": "Maybe"}, deny("s3:*"), allow("*")]);
    let decision = one(&broken, "s3:PutObject", OBJECT, &Context::new());
    assert_eq!((decision.answer, decision.explicit), (Deny, true));
}

/// "IAM and AWS STS quotas": white space does not count.
#[test]
fn a_policy_larger_than_aws_accepts_makes_unknown() {
    let large = |bytes: usize| -> Value {
        let names: Vec<String> = (0..bytes / 20).map(|at| format!("s3:Put{at:010}")).collect();
        json!({"Effect": "Allow", "Action": names, "Resource": "*"})
    };
    let own = |statement: Value| one(&json!([statement, allow("s3:*")]), "s3:PutObject", OBJECT, &Context::new());
    assert_eq!(own(large(9_000)).answer, Allow);
    let decision = own(large(20_480));
    assert_eq!(decision.answer, Unknown);
    assert!(decision.reason.contains("larger than AWS accepts"), "{}", decision.reason);
    let spaced = json!({"Version": "2012-10-17", "Statement": allow("*")})
        .to_string()
        .replace(',', &format!(",{}", " ".repeat(20_000)));
    assert_eq!(alone(&spaced), Allow);
    let bucket = statements(json!([grant("Allow", json!("*"), "s3:*"), large(18_000)]));
    let target = Target { policy: Some(bucket), ..Target::new(OBJECT) };
    assert_eq!(decide("s3:PutObject", &caller(SESSION, &[]), &target, &Context::new()).answer, Allow);
    assert_eq!(alone(&format!("{{{}}}", " ".repeat(super::super::POLICY_BYTES_MAX))), Unknown);
}

#[test]
fn more_policies_than_aws_attaches_make_unknown() {
    let many = |count: usize| {
        decide("s3:PutObject", &caller(SESSION, &vec![allow("*"); count]), &Target::new(OBJECT), &Context::new())
    };
    assert_eq!(many(100).answer, Allow);
    let decision = many(200);
    assert_eq!(decision.answer, Unknown);
    assert!(decision.reason.contains("more policies"), "{}", decision.reason);
    let mut levels = caller(SESSION, &[allow("*")]);
    levels.scps = vec![vec![statements(allow("*"))]; 17];
    assert_eq!(decide("s3:PutObject", &levels, &Target::new(OBJECT), &Context::new()).answer, Unknown);
    levels.scps = vec![vec![statements(allow("*")); 17]];
    assert_eq!(decide("s3:PutObject", &levels, &Target::new(OBJECT), &Context::new()).answer, Unknown);
}

#[test]
fn deep_nesting_is_refused_without_a_crash() {
    for (open, close) in [("[", "]"), ("{\"Statement\":", "}")] {
        let deep = format!("{}1{}", open.repeat(5_000), close.repeat(5_000));
        assert_eq!(alone(&deep), Unknown);
    }
    let deep = format!(r#"{{"Statement": {}}}"#, "[".repeat(100_000));
    assert_eq!(alone(&deep), Unknown);
}

#[test]
fn a_request_larger_than_is_evaluated_makes_unknown() {
    let long = format!("arn:aws:s3:::b/{}", "x".repeat(9_000));
    assert_eq!(one(&allow("*"), "s3:PutObject", &long, &Context::new()).answer, Unknown);
    let context = Context::new().with("a:b", ["x".repeat(9_000)]);
    assert_eq!(one(&allow("*"), "s3:PutObject", OBJECT, &context).answer, Unknown);
    let context = Context::new().with("a:b", vec!["x"; 5_000]);
    assert_eq!(one(&allow("*"), "s3:PutObject", OBJECT, &context).answer, Unknown);
}

#[test]
fn a_policy_that_cannot_be_read_makes_unknown_with_its_reason() {
    let target = Target { policy: Some(Arc::new(Policy::unreadable("reading it was denied"))), ..Target::new(OBJECT) };
    let decision = decide("s3:PutObject", &caller(SESSION, &[allow("*")]), &target, &Context::new());
    assert_eq!(decision.answer, Unknown);
    assert!(
        decision.reason.ends_with("the resource policy denies s3:PutObject: reading it was denied"),
        "{}",
        decision.reason
    );
}
