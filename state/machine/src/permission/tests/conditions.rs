use serde_json::{Value, json};

use super::{
    super::Answer::{self, Allow, Deny, Unknown},
    Context, condition,
};

fn key(values: &[&str]) -> Context {
    Context::new().with("test:Key", values.iter().copied())
}

fn absent() -> Context {
    Context::new().without("test:Key")
}

fn check(operator: &str, values: impl Into<Value>, given: &[&str], wanted: Answer) {
    let got = condition(&json!({operator: {"test:Key": values.into()}}), &key(given));
    assert_eq!(got, wanted, "{operator} against {given:?}");
}

/// The tables of "IAM JSON policy elements: Condition operators".
#[test]
fn each_operator_compares_as_documented() {
    let rows: &[(&str, &str, &str, Answer)] = &[
        ("StringEquals", "abc", "abc", Allow),
        ("StringEquals", "abc", "Abc", Deny),
        ("StringEquals", "a*", "abc", Deny),
        ("StringEquals", "a*", "a*", Allow),
        ("StringNotEquals", "abc", "abc", Deny),
        ("StringNotEquals", "abc", "Abc", Allow),
        ("StringEqualsIgnoreCase", "abc", "aBC", Allow),
        ("StringEqualsIgnoreCase", "abc", "abd", Deny),
        ("StringNotEqualsIgnoreCase", "abc", "ABC", Deny),
        ("StringLike", "home/*/x?", "home/a/b/x1", Allow),
        ("StringLike", "home/*", "Home/a", Deny),
        ("StringNotLike", "home/*", "home/", Deny),
        ("NumericEquals", "10", "10.0", Allow),
        ("NumericEquals", "9007199254740992", "9007199254740993", Deny),
        ("NumericNotEquals", "10", "10.00", Deny),
        ("NumericLessThan", "10", "9.99", Allow),
        ("NumericLessThan", "10", "10", Deny),
        ("NumericLessThanEquals", "10", "10", Allow),
        ("NumericLessThanEquals", "-10", "-9", Deny),
        ("NumericGreaterThan", "0.45", "0.5", Allow),
        ("NumericGreaterThan", "-0", "0", Deny),
        ("NumericGreaterThanEquals", "100", "99", Deny),
        ("DateEquals", "2020-01-01", "2020-01-01T00:00:00Z", Allow),
        ("DateEquals", "2020-01-01T01:00:00+01:00", "1577836800", Allow),
        ("DateNotEquals", "2020-01", "2020-01-01T00:00Z", Deny),
        ("DateLessThan", "2020-01-01T00:00:01Z", "2020-01-01T00:00:00Z", Allow),
        ("DateLessThanEquals", "2020-01-01T00:00:00.5Z", "2020-01-01T00:00:00.6Z", Deny),
        ("DateGreaterThan", "2020", "2020-01-01T00:00:00Z", Deny),
        ("DateGreaterThanEquals", "2020", "2020-01-01T00:00:00Z", Allow),
        ("Bool", "true", "TRUE", Allow),
        ("Bool", "false", "true", Deny),
        ("BinaryEquals", "QmluYXJ5VmFsdWVJbkJhc2U2NA==", "QmluYXJ5VmFsdWVJbkJhc2U2NA==", Allow),
        ("BinaryEquals", "QmluYXJ5VmFsdWVJbkJhc2U2NA==", "QmluYXJ5", Deny),
        ("IpAddress", "203.0.113.0/24", "203.0.113.255", Allow),
        ("IpAddress", "203.0.113.0/24", "203.0.114.0", Deny),
        ("IpAddress", "203.0.113.7", "203.0.113.7", Allow),
        ("IpAddress", "0.0.0.0/0", "8.8.8.8", Allow),
        ("IpAddress", "0.0.0.0/0", "2001:db8::1", Deny),
        ("IpAddress", "2001:DB8:1234:5678::/64", "2001:db8:1234:5678:9::1", Allow),
        ("IpAddress", "2001:DB8:1234:5678::/64", "2001:db8:1234:5679::1", Deny),
        ("NotIpAddress", "203.0.113.0/24", "203.0.113.1", Deny),
        ("NotIpAddress", "203.0.113.0/24", "2001:db8::1", Allow),
        ("ArnEquals", "arn:aws:sns:*:111122223333:t?", "arn:aws:sns:eu-west-1:111122223333:t1", Allow),
        (
            "ArnLike",
            "arn:aws:someservice:*:111122223333:finance/*",
            "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt",
            Deny,
        ),
        (
            "StringLike",
            "arn:aws:someservice:*:111122223333:finance/*",
            "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt",
            Allow,
        ),
        ("ArnLike", "arn:aws:logs:*:*:log-group:*", "arn:aws:logs:eu-west-1:1:log-group:a:log-stream:b", Allow),
        ("ArnNotEquals", "arn:aws:sns:*:*:t", "arn:aws:sns:eu-west-1:111122223333:t", Deny),
        ("ArnNotLike", "arn:aws:sns:*:*:t", "arn:aws:sns:eu-west-1:111122223333:u", Allow),
    ];
    for (operator, policy, given, wanted) in rows {
        check(operator, *policy, &[given], *wanted);
        check(&format!("{operator}IfExists"), *policy, &[given], *wanted);
    }
}

#[test]
fn a_value_of_the_wrong_type_makes_unknown() {
    for (operator, policy, given) in [
        ("NumericEquals", "1", "one"),
        ("NumericNotEquals", "1", "1e0"),
        ("DateLessThan", "2020-01-01", "yesterday"),
        ("DateLessThan", "2020-01-01", "2020-13-45T99:00:00Z"),
        ("Bool", "true", "yes"),
        ("IpAddress", "10.0.0.0/8", "10.0.0"),
        ("NotIpAddress", "10.0.0.0/8", ""),
        ("ArnLike", "arn:aws:s3:::b", "bucket"),
        ("BinaryEquals", "QQ==", "?"),
    ] {
        check(operator, policy, &[given], Unknown);
    }
}

#[test]
fn what_aws_would_reject_makes_unknown() {
    for (operator, value) in [
        ("stringequals", json!("a")),
        ("StringMatches", json!("a")),
        ("NullIfExists", json!("true")),
        ("ForAllValues:Null", json!("true")),
        ("ForSomeValues:StringEquals", json!("a")),
        ("StringEqualsIfExistsIfExists", json!("a")),
        ("NumericEquals", json!("1e3")),
        ("DateEquals", json!("soon")),
        ("Bool", json!("maybe")),
        ("Null", json!("yes")),
        ("IpAddress", json!("10.0.0.0/33")),
        ("IpAddress", json!("10.0.0.0/08x")),
        ("BinaryEquals", json!("not base64")),
        ("ArnLike", json!("bucket")),
        ("StringEquals", json!([])),
        ("StringEquals", json!(null)),
        ("StringEquals", json!({"a": "b"})),
        ("StringEquals", json!([["a"]])),
    ] {
        check(operator, value, &["a"], Unknown);
    }
    for broken in [json!("a"), json!([]), json!({"StringEquals": "a"}), json!({"StringEquals": ["a"]})] {
        assert_eq!(condition(&broken, &key(&["a"])), Unknown, "{broken}");
    }
}

#[test]
fn values_are_alternatives_and_negated_operators_mean_nor() {
    check("StringEquals", json!(["a", "b"]), &["b"], Allow);
    check("StringEquals", json!(["a", "b"]), &["c"], Deny);
    check("StringNotEquals", json!(["a", "b"]), &["b"], Deny);
    check("StringNotEquals", json!(["a", "b"]), &["c"], Allow);
    check("NotIpAddress", json!(["10.0.0.0/8", "192.168.0.0/16"]), &["192.168.1.1"], Deny);
    check("ArnNotLike", json!(["arn:aws:s3:::a", "arn:aws:s3:::b"]), &["arn:aws:s3:::c"], Allow);
    check("NumericEquals", json!([1, 2.5, "3"]), &["2.5"], Allow);
    check("Bool", json!(true), &["true"], Allow);
}

#[test]
fn keys_and_operators_are_all_required() {
    let both = json!({"StringEquals": {"test:Key": "a", "test:Other": "b"}, "Bool": {"test:Flag": "true"}});
    let full = key(&["a"]).with("test:Other", ["b"]).with("test:Flag", ["true"]);
    assert_eq!(condition(&both, &full), Allow);
    assert_eq!(condition(&both, &full.clone().with("test:Other", ["c"])), Deny);
    assert_eq!(condition(&both, &full.clone().with("test:Flag", ["false"])), Deny);
    // One that fails for sure decides, whatever the unknown ones are.
    assert_eq!(condition(&both, &key(&["x"])), Deny);
    assert_eq!(condition(&both, &key(&["a"])), Unknown);
}

#[test]
fn names_of_keys_ignore_case() {
    let context = Context::new().with("AWS:sourceip", ["10.1.1.1"]);
    assert_eq!(condition(&json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), &context), Allow);
    let tag = Context::new().with("aws:PrincipalTag/Team", ["x"]);
    assert_eq!(condition(&json!({"StringEquals": {"aws:principaltag/team": "x"}}), &tag), Allow);
}

/// "IAM JSON policy elements: Condition operators" (missing keys, `IfExists`) and "Set operators for multivalued context
/// keys".
#[test]
fn an_absent_key_is_decided_by_the_operator() {
    for (operator, value, wanted) in [
        ("StringEquals", "a", Deny),
        ("StringNotEquals", "a", Allow),
        ("StringNotLike", "a", Allow),
        ("NumericLessThan", "1", Deny),
        ("NumericNotEquals", "1", Allow),
        ("DateGreaterThan", "2020-01-01", Deny),
        ("Bool", "false", Deny),
        ("IpAddress", "10.0.0.0/8", Deny),
        ("NotIpAddress", "10.0.0.0/8", Allow),
        ("ArnLike", "arn:aws:s3:::a", Deny),
        ("ArnNotLike", "arn:aws:s3:::a", Allow),
        ("StringEqualsIfExists", "a", Allow),
        ("StringNotEqualsIfExists", "a", Allow),
        ("BoolIfExists", "true", Allow),
        ("ForAllValues:StringEquals", "a", Allow),
        ("ForAllValues:StringNotEquals", "a", Allow),
        ("ForAnyValue:StringEquals", "a", Deny),
        ("ForAnyValue:StringNotEquals", "a", Deny),
        ("ForAnyValue:StringEqualsIfExists", "a", Allow),
        ("Null", "true", Allow),
        ("Null", "false", Deny),
    ] {
        let wanted_by = json!({operator: {"test:Key": value}});
        assert_eq!(condition(&wanted_by, &absent()), wanted, "{operator} without the key");
        assert_eq!(condition(&wanted_by, &key(&[])), wanted, "{operator} with an empty list");
        assert_eq!(condition(&wanted_by, &Context::new()), Unknown, "{operator} on an unknown key");
    }
    assert_eq!(condition(&json!({"Null": {"test:Key": "true"}}), &key(&["a"])), Deny);
    assert_eq!(condition(&json!({"Null": {"test:Key": false}}), &key(&["a"])), Allow);
    assert_eq!(condition(&json!({"Null": {"test:Key": ["true", "false"]}}), &key(&["a"])), Allow);
}

/// The example of "Set operators for multivalued context keys": requested attributes of a table.
#[test]
fn set_operators_compare_every_or_any_value() {
    let wanted = json!(["PostDateTime", "Message", "Tags"]);
    check("ForAllValues:StringEquals", wanted.clone(), &["PostDateTime", "Message"], Allow);
    check("ForAllValues:StringEquals", wanted.clone(), &["PostDateTime", "UserName"], Deny);
    check("ForAnyValue:StringEquals", wanted.clone(), &["PostDateTime", "UserName"], Allow);
    check("ForAnyValue:StringEquals", wanted.clone(), &["UserName"], Deny);
    check("ForAllValues:StringNotEquals", wanted.clone(), &["UserName", "Id"], Allow);
    check("ForAllValues:StringNotEquals", wanted.clone(), &["UserName", "Tags"], Deny);
    check("ForAnyValue:StringNotEquals", wanted.clone(), &["UserName", "Tags"], Allow);
    check("ForAnyValue:StringNotEquals", wanted, &["Tags"], Deny);
    check("ForAnyValue:StringLike", "a*", &["b", "ab"], Allow);
}

#[test]
fn several_values_without_a_set_operator_are_unknown_unless_no_reading_holds() {
    check("StringEquals", "a", &["a", "b"], Unknown);
    check("StringEquals", "c", &["a", "b"], Deny);
    check("StringNotEquals", "c", &["a", "b"], Unknown);
    check("StringNotEquals", "a", &["a", "b"], Deny);
}

#[test]
fn an_empty_value_is_null_where_the_documentation_says_so() {
    check("StringEquals", "", &[""], Allow);
    check("ForAllValues:StringNotEquals", "a", &[""], Allow);
    check("ForAnyValue:StringEquals", "a", &[""], Deny);
    check("ForAllValues:StringEquals", "a", &[""], Unknown);
    check("ForAnyValue:StringEquals", "", &[""], Unknown);
    check("Null", "true", &[""], Unknown);
}
