use serde_json::{Value, json};

use super::{
    super::Answer::{self, Allow, Deny, Unknown},
    Caller, Context, OBJECT, Principal, SESSION, Target, condition, decide, one, policy,
};

fn action(pattern: &str, action: &str) -> Answer {
    one(&json!({"Effect": "Allow", "Action": pattern, "Resource": "*"}), action, OBJECT, &Context::new()).answer
}

fn resource(pattern: &str, resource: &str, context: &Context) -> Answer {
    let statement = json!({"Effect": "Allow", "Action": "s3:PutObject", "Resource": pattern});
    let negated = json!({"Effect": "Allow", "Action": "s3:PutObject", "NotResource": pattern});
    let answer = one(&statement, "s3:PutObject", resource, context).answer;
    let opposite = one(&negated, "s3:PutObject", resource, context).answer;
    match answer {
        Allow => assert_eq!(opposite, Deny),
        // Without a value for a variable, what NotResource excepts is unclear.
        Deny => assert!(opposite == Allow || (opposite == Unknown && pattern.contains("${aws:"))),
        Unknown => assert_eq!(opposite, Unknown),
    }
    answer
}

#[test]
fn actions_match_with_wildcards_and_without_case() {
    for (pattern, asked, wanted) in [
        ("s3:PutObject", "S3:putobject", Allow),
        ("S3:PUT*", "s3:PutObject", Allow),
        ("s3:Put?bject", "s3:PutObject", Allow),
        ("s3:*Object", "s3:PutObjectAcl", Deny),
        ("s3:*", "s3:PutObject", Allow),
        ("*", "sqs:SendMessage", Allow),
        ("s3:P*t*O*t", "s3:PutObject", Allow),
        ("s3:PutObject?", "s3:PutObject", Deny),
        ("s3-outposts:*", "s3:PutObject", Deny),
    ] {
        assert_eq!(action(pattern, asked), wanted, "{pattern} {asked}");
    }
}

#[test]
fn what_is_no_action_makes_unknown() {
    for pattern in ["PutObject", "s3:", ":PutObject", "s*:PutObject", "s3:Put Object", "s3:Put:Object", "", "s3:${a}"] {
        assert_eq!(action(pattern, "s3:PutObject"), Unknown, "{pattern}");
    }
    for asked in ["PutObject", "s3:", "s3:Put*", "s3:a:b"] {
        assert_eq!(action("*", asked), Unknown, "{asked}");
    }
}

/// "IAM JSON policy elements: `NotAction`" and "`NotResource`".
#[test]
fn not_action_is_all_but_these() {
    let statement = json!({"Effect": "Allow", "NotAction": ["iam:*", "s3:Delete*"], "Resource": "*"});
    let asked = |action| one(&statement, action, "*", &Context::new()).answer;
    assert_eq!(asked("s3:PutObject"), Allow);
    assert_eq!(asked("IAM:CreateUser"), Deny);
    assert_eq!(asked("s3:deleteObject"), Deny);
}

#[test]
fn resources_match_part_by_part() {
    let none = Context::new();
    for (pattern, asked, wanted) in [
        ("*", OBJECT, Allow),
        ("arn:aws:s3:::logs/*", OBJECT, Allow),
        ("arn:aws:s3:::logs", OBJECT, Deny),
        ("arn:aws:s3:::Logs/*", OBJECT, Deny),
        ("arn:aws:s3:::log?/AWSLogs/*.gz", OBJECT, Allow),
        ("arn:*:s3:::logs/*", OBJECT, Allow),
        ("arn:aws:s3*", OBJECT, Allow),
        ("arn:aws:kms*", OBJECT, Deny),
        ("arn:aws:logs:*:*:log-group:g:*", "arn:aws:logs:eu-west-1:111122223333:log-group:g:log-stream:s", Allow),
        // A wildcard before a colon might or might not reach over colons.
        ("arn:aws:logs:*:log-group:g:*", "arn:aws:logs:eu-west-1:111122223333:log-group:g:log-stream:s", Unknown),
        ("arn:aws:s3:::*", "*", Deny),
        ("*", "*", Allow),
    ] {
        assert_eq!(resource(pattern, asked, &none), wanted, "{pattern} {asked}");
    }
    for pattern in ["bucket/*", "arn:aws:s3:::", "arn:aws:s3", "", "arn:aws:${aws:x}:::b", "arn:aws:s3:::${a", "*logs*"]
    {
        let wanted = if pattern == "arn:aws:s3:::" { Deny } else { Unknown };
        assert_eq!(resource(pattern, OBJECT, &none), wanted, "{pattern}");
    }
}

#[test]
fn a_question_mark_is_one_character_and_not_one_byte() {
    assert_eq!(resource("arn:aws:s3:::b/??", "arn:aws:s3:::b/é€", &Context::new()), Allow);
    assert_eq!(resource("arn:aws:s3:::b/*€", "arn:aws:s3:::b/aé€", &Context::new()), Allow);
    assert_eq!(resource("arn:aws:s3:::b/?", "arn:aws:s3:::b/ab", &Context::new()), Deny);
}

/// "IAM policy elements: Variables and tags": values, defaults, no value, special characters.
#[test]
fn variables_are_filled_in() {
    let team = |team: &str| Context::new().with("aws:PrincipalTag/team", [team]);
    let no_team = Context::new().without("aws:PrincipalTag/team");
    let own = "arn:aws:s3:::b-${aws:PrincipalTag/team}/*";
    assert_eq!(resource(own, "arn:aws:s3:::b-yellow/x", &team("yellow")), Allow);
    assert_eq!(resource(own, "arn:aws:s3:::b-yellow/x", &team("red")), Deny);
    assert_eq!(resource(own, "arn:aws:s3:::b-yellow/x", &no_team), Deny);
    assert_eq!(resource(own, "arn:aws:s3:::b-yellow/x", &Context::new()), Unknown);
    assert_eq!(resource(own, "arn:aws:s3:::c-yellow/x", &Context::new()), Deny, "no team leads there");
    let with_default = "arn:aws:s3:::b-${aws:PrincipalTag/team, 'company-wide'}";
    assert_eq!(resource(with_default, "arn:aws:s3:::b-company-wide", &no_team), Allow);
    assert_eq!(resource(with_default, "arn:aws:s3:::b-company-wide", &team("red")), Deny);
    assert_eq!(resource(with_default, "arn:aws:s3:::b-red", &team("red")), Allow);
    let many = Context::new().with("aws:PrincipalTag/team", ["a", "b"]);
    assert_eq!(resource(own, "arn:aws:s3:::b-a/x", &many), Unknown);
}

#[test]
fn a_variable_without_value_makes_what_is_excepted_unclear() {
    let no_team = Context::new().without("aws:PrincipalTag/team");
    let asked = |entries: Value, resource: &str| {
        let statement = json!({"Effect": "Allow", "Action": "*", "NotResource": entries});
        one(&statement, "s3:PutObject", resource, &no_team).answer
    };
    assert_eq!(asked(json!("arn:aws:s3:::${aws:PrincipalTag/team}"), OBJECT), Unknown);
    assert_eq!(asked(json!(["arn:aws:s3:::${aws:PrincipalTag/team}", "arn:aws:s3:::logs/*"]), OBJECT), Deny);
    assert_eq!(asked(json!("arn:aws:s3:::${aws:PrincipalTag/team, 'x'}"), OBJECT), Allow);
}

#[test]
fn special_variables_are_literal_signs() {
    let none = Context::new();
    assert_eq!(resource("arn:aws:s3:::b/${*}", "arn:aws:s3:::b/*", &none), Allow);
    assert_eq!(resource("arn:aws:s3:::b/${*}", "arn:aws:s3:::b/x", &none), Deny);
    assert_eq!(resource("arn:aws:s3:::b/${?}${$}", "arn:aws:s3:::b/?$", &none), Allow);
}

#[test]
fn a_wildcard_inside_of_a_value_may_not_widen_an_allow() {
    let star = Context::new().with("aws:PrincipalTag/team", ["*"]);
    let own = "arn:aws:s3:::b/${aws:PrincipalTag/team}";
    assert_eq!(resource(own, "arn:aws:s3:::b/x", &star), Unknown);
    assert_eq!(resource(own, "arn:aws:s3:::b/*", &star), Allow);
    assert_eq!(resource(own, "arn:aws:s3:::c/x", &star), Deny);
}

#[test]
fn variables_that_are_not_understood_make_unknown() {
    for pattern in [
        "${aws:PrincipalTag/${aws:username}}",
        "${}",
        "${aws:username, default}",
        "${aws:username,'x'}",
        "${aws:username",
        "${a*b}",
    ] {
        assert_eq!(
            resource(&format!("arn:aws:s3:::b/{pattern}"), "arn:aws:s3:::b/x", &Context::new()),
            Unknown,
            "{pattern}"
        );
    }
}

#[test]
fn what_a_variable_holds_is_not_read_again() {
    let nested = Context::new().with("test:A", ["${test:B}"]).with("test:B", ["x"]);
    assert_eq!(resource("arn:aws:s3:::b/${test:A}", "arn:aws:s3:::b/x", &nested), Deny);
    assert_eq!(resource("arn:aws:s3:::b/${test:A}", "arn:aws:s3:::b/${test:B}", &nested), Allow);
}

#[test]
fn only_the_newer_version_knows_variables() {
    for version in [json!({"Version": "2008-10-17"}), json!({})] {
        let mut document = version;
        document["Statement"] = json!({"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::b/${aws:username}"});
        let mut caller = Caller::new(Principal::parse(SESSION).unwrap());
        caller.identity = vec![policy(&document)];
        let context = Context::new().with("aws:username", ["ann"]);
        let asked = |resource: &str| decide("s3:PutObject", &caller, &Target::new(resource), &context).answer;
        assert_eq!(asked("arn:aws:s3:::b/ann"), Deny);
        assert_eq!(asked("arn:aws:s3:::b/${aws:username}"), Allow);
    }
}

#[test]
fn variables_work_in_string_and_arn_conditions_only() {
    let context = Context::new().with("test:Key", ["ann"]).with("test:User", ["ann"]).without("test:None");
    let with = |operator: &str, value: &str| condition(&json!({operator: {"test:Key": value}}), &context);
    assert_eq!(with("StringEquals", "${test:User}"), Allow);
    assert_eq!(with("StringLike", "${test:User}*"), Allow);
    assert_eq!(with("StringNotEquals", "${test:User}"), Deny);
    assert_eq!(with("StringEqualsIgnoreCase", "${test:User}"), Allow);
    assert_eq!(with("StringEquals", "${test:None}"), Deny);
    assert_eq!(with("StringNotEquals", "${test:None}"), Allow, "nothing is equal to no value");
    assert_eq!(with("StringEquals", "${test:Other}"), Unknown);
    assert_eq!(with("StringLike", "x${test:Other}"), Deny, "whatever it holds");
    assert_eq!(with("NumericEquals", "${test:User}"), Unknown);
    assert_eq!(with("Bool", "${test:User}"), Unknown);
    let arn = Context::new().with("test:Key", ["arn:aws:iam::1:user/ann"]).with("test:User", ["ann"]);
    assert_eq!(condition(&json!({"ArnLike": {"test:Key": "arn:aws:iam::*:user/${test:User}"}}), &arn), Allow);
}

#[test]
fn matching_takes_a_bounded_time() {
    let pattern = format!("arn:aws:s3:::{}b", "a*".repeat(2_000));
    let text = format!("arn:aws:s3:::{}", "a".repeat(8_000));
    assert_eq!(resource(&pattern, &text, &Context::new()), Deny);
}
