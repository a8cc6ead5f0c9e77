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

/// The reason why a role with this policy alone gets no answer.
fn why(text: &str) -> String {
    let mut caller = caller(SESSION, &[]);
    caller.identity.push(Arc::new(Policy::parse(text)));
    let decision = decide("s3:PutObject", &caller, &Target::new(OBJECT), &Context::new());
    assert_eq!((decision.answer, decision.explicit), (Unknown, false), "{text}: {}", decision.reason);
    decision.reason
}

#[test]
fn what_aws_would_reject_is_named() {
    for (statement, reason) in [
        (
            r#"{"Effect": "Allow", "Action": "PutObject", "Resource": "*"}"#,
            r#"the action "PutObject" is not understood"#,
        ),
        (r#"{"Effect": "Allow", "Action": "s*:PutObject", "Resource": "*"}"#, r#"the action "s*:PutObject""#),
        (r#"{"Effect": "Allow", "Action": {}, "Resource": "*"}"#, "an action or resource is an object"),
        (r#"{"Effect": "Allow", "Action": [], "Resource": "*"}"#, "a list of actions or resources is empty"),
        (
            r#"{"Effect": "Allow", "Action": "*", "Resource": "logs/*"}"#,
            r#"the resource "logs/*" is not understood: no ARN"#,
        ),
        (r#"{"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3"}"#, "no ARN"),
        (r#"{"Effect": "Allow", "Action": "*"}"#, "neither Resource nor NotResource"),
        (r#"{"Effect": "Allow", "Resource": "*"}"#, "neither Action nor NotAction"),
        (r#"{"Effect": "Permit", "Action": "*", "Resource": "*"}"#, r#"its element "Effect" is not understood"#),
        (r#"{"Sid": 1, "Effect": "Allow", "Action": "*", "Resource": "*"}"#, r#"its element "Sid" is not understood"#),
        (r#"{"Effect": "Allow", "Action": "*", "NotAction": "*", "Resource": "*"}"#, "together with its negation"),
        (r#"{"Effect": "Allow", "Action": "*", "Resource": "*", "NotResource": "*"}"#, "together with its negation"),
        (r#"{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}"#, "it names a principal"),
        (r#"[{"Effect": "Allow", "Action": "*", "Resource": "*"}]"#, "it is a list and no object"),
    ] {
        let reason_found = why(&format!(r#"{{"Version": "2012-10-17", "Statement": [{statement}]}}"#));
        assert!(reason_found.contains(reason), "{statement}: {reason_found}");
    }
}

#[test]
fn names_given_twice_are_named_at_every_level() {
    let condition = |condition: &str| {
        format!(r#"{{"Statement": {{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {condition}}}}}"#)
    };
    for (text, reason) in [
        (r#"{"Statement": {}, "Statement": {}}"#.to_owned(), "it has Statement twice"),
        (r#"{"Version": "2012-10-17", "Version": "2008-10-17", "Statement": {}}"#.to_owned(), "it has Version twice"),
        (
            r#"{"Statement": {"Effect": "Allow", "Action": "s3:*", "Action": "*", "Resource": "*"}}"#.to_owned(),
            "it has Action twice",
        ),
        (
            r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {}, "Condition": {}}}"#
                .to_owned(),
            "it has Condition twice",
        ),
        (condition(r#"{"Bool": {"a:b": "true"}, "Bool": {"a:c": "true"}}"#), "the condition has Bool twice"),
        (condition(r#"{"Bool": {"a:b": "true", "a:b": "true"}}"#), "the condition Bool has a:b twice"),
    ] {
        assert!(why(&text).contains(reason), "{text}: {}", why(&text));
    }
    let bucket = r#"{"Statement": {"Effect": "Allow", "Principal": {"AWS": "*", "AWS": "*"}, "Action": "*"}}"#;
    let target = Target { policy: Some(Arc::new(Policy::parse(bucket))), ..Target::new(OBJECT) };
    let decision = decide("s3:PutObject", &caller(SESSION, &[]), &target, &Context::new());
    assert_eq!(decision.answer, Unknown);
    assert!(decision.reason.contains("the principal has AWS twice"), "{}", decision.reason);
}

#[test]
fn conditions_that_are_not_understood_are_named() {
    for (condition, reason) in [
        (r#"{"StringMatches": {"a:b": "c"}}"#, "the condition StringMatches on a:b: the operator is not understood"),
        (r#"{"stringequals": {"a:b": "c"}}"#, "the operator is not understood"),
        (r#"{"ForSomeValues:StringEquals": {"a:b": "c"}}"#, "the operator is not understood"),
        (r#"{"StringEqualsIfExistsIfExists": {"a:b": "c"}}"#, "the operator is not understood"),
        (r#"{"": {"a:b": "c"}}"#, "the operator is not understood"),
        (r#"{"NullIfExists": {"a:b": "true"}}"#, "the condition operator NullIfExists is not understood"),
        (r#"{"NumericEquals": {"a:b": "1e3"}}"#, r#""1e3" is no number"#),
        (r#"{"DateLessThan": {"a:b": "tomorrow"}}"#, r#""tomorrow" is no date"#),
        (r#"{"IpAddress": {"a:b": "10.0.0.0/33"}}"#, "is no range of addresses"),
        (r#"{"BinaryEquals": {"a:b": "x"}}"#, "is no base64"),
        (r#"{"ArnLike": {"a:b": "logs"}}"#, "no ARN"),
        (r#"{"StringEquals": {"a:b": {"c": "d"}}}"#, "a value is an object"),
        (r#"{"StringEquals": {"a:b": []}}"#, "there is no value"),
        (r#"{"StringEquals": "a:b"}"#, "the condition StringEquals is a string and no object"),
        ("[]", "the condition is a list and no object"),
    ] {
        let statement = format!(r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {condition}}}"#);
        let found = why(&format!(r#"{{"Version": "2012-10-17", "Statement": {statement}}}"#));
        assert!(found.contains(reason), "{condition}: {found}");
    }
}

#[test]
fn recursive_variables_are_refused_and_named() {
    let nested = |depth: usize| format!("{}aws:username{}", "${".repeat(depth), "}".repeat(depth));
    for variable in [nested(2), nested(3_000), "${aws:username${aws:username}}".into(), "${a, '${b}'}".into()] {
        let statement = |resource: &str, condition: &str| {
            let common = r#""Effect": "Allow", "Action": "*""#;
            format!(r#"{{"Version": "2012-10-17", "Statement": {{{common}, "Resource": "{resource}"{condition}}}}}"#)
        };
        let found = why(&statement(&format!("arn:aws:s3:::{variable}"), ""));
        assert!(found.contains("is not understood") || found.ends_with('…'), "{found}");
        let found = why(&statement("*", &format!(r#", "Condition": {{"StringLike": {{"a:b": "{variable}"}}}}"#)));
        assert!(found.contains("a variable inside of a variable") || found.ends_with('…'), "{found}");
    }
    let endless = "${".repeat(4_000);
    let text = format!(
        r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::{endless}"}}}}"#
    );
    assert!(!why(&text).is_empty());
}
