use proptest::{collection::vec, prelude::*, sample::select, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};

use super::{
    super::Answer, Caller, Context, Decision, OTHER, Policy, Principal, SESSION, Target, decide, grant, policy,
    statements,
};

const BASE: &str = "arn:aws:s3:::logs/node/";

fn apart(element: &str, entry: &str) -> bool {
    let mut statement = json!({"Effect": "Allow", "Action": "s3:*"});
    statement[element] = json!(entry);
    statements(statement).tells_apart(BASE)
}

#[test]
fn entries_that_match_all_or_nothing_below_tell_nothing_apart() {
    for entry in [
        "*",
        "arn:aws:s3:::logs/node/*",
        "arn:aws:s3:::logs/*",
        "arn:aws:s3:::l?gs/n*/*",
        "arn:aws:s3:::*",
        "arn:aws:s3:::*/*",
        "arn:aws:s3*",
        "arn:*",
        "arn:*:*:*:*:*",
        "arn:aws:s3:*:logs*",
        "arn:aws:s3:::other/*",
        "arn:aws:s3:::logs",
        "arn:aws:s3:::logs/node",
        "arn:aws:s3:::logs/nodes/*",
        "arn:aws:s3:::logs-${aws:username}/*",
        "arn:aws:kms:*:*:key/*",
        "arn:aws:sqs:*",
    ] {
        assert!(!apart("Resource", entry), "{entry}");
        assert!(!apart("NotResource", entry), "not {entry}");
    }
}

#[test]
fn entries_that_match_some_keys_below_tell_them_apart() {
    for entry in [
        BASE,
        "arn:aws:s3:::logs/node/a",
        "arn:aws:s3:::logs/node/a*",
        "arn:aws:s3:::logs/*.gz",
        "arn:aws:s3:::logs/*/",
        "arn:aws:s3:::*/x/*",
        "arn:aws:s3:::logs/node/?*",
        "arn:aws:s3:::logs/node/?",
        "arn:aws:s3:::logs/no*?",
        "arn:*:*:*:*:*:*",
        // Unclear, because what the variable holds may stand below the base or be all of it.
        "arn:aws:s3:::logs/${aws:username}/*",
        "arn:aws:s3:::logs/${aws:username}",
        "arn:aws:s3:::logs/${aws:username}x/node/*",
        "arn:aws:s3:::${aws:username}*",
    ] {
        assert!(apart("Resource", entry), "{entry}");
        assert!(apart("NotResource", entry), "not {entry}");
    }
}

#[test]
fn a_base_that_settles_too_little_tells_apart() {
    let everything = statements(json!({"Effect": "Allow", "Action": "*", "Resource": "*"}));
    for base in ["", "*", "arn:aws:s3", "arn:aws:s3:::", "arn:aws:s3:::logs", "logs/node/", "arn:aws:kms:r:1:alia"] {
        assert!(everything.tells_apart(base), "{base}");
    }
    for base in ["arn:aws:s3:::logs/", "arn:aws:logs:r:1:log-group:g", "arn:aws:kms:r:1:alias/"] {
        assert!(!everything.tells_apart(base), "{base}");
    }
}

#[test]
fn what_says_the_same_of_everything_tells_nothing_apart() {
    for text in [
        "{}",
        r#"{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::logs/*.gz", "Odd": 1}}"#,
        r#"{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "logs/*.gz"}}"#,
        r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:*"}}"#,
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*",
            "Condition": {"StringLike": {"s3:prefix": "${aws:username}/*"}, "ArnLike": {"a:b": "arn:aws:s3:::l*"}}}}"#,
    ] {
        assert!(!Policy::parse(text).tells_apart(BASE), "{text}");
    }
    assert!(!Policy::unreadable("reading it was denied").tells_apart(BASE));
}

/// A pattern that is often near the base, and a suffix that is often near the pattern.
fn entry() -> impl Strategy<Value = String> {
    let pieces =
        ["*", "?", "logs", "/", "node", "/", "a", ":", "é", ".gz", "log", "${test:A}", "${test:B, 'a'}", "o", "*"];
    prop_oneof![
        1 => Just("*".to_owned()),
        3 => vec(select(pieces.to_vec()), 0..6).prop_map(|it| format!("arn:aws:s3:::{}", it.concat())),
        3 => vec(select(pieces.to_vec()), 0..3).prop_map(|it| format!("{BASE}{}", it.concat())),
        3 => (0..BASE.len() - 12, vec(select(pieces.to_vec()), 0..4))
            .prop_map(|(at, it)| format!("{}{}", &BASE[..12 + at], it.concat())),
        1 => select(&["arn:aws:s3*", "arn:*", "arn:aws:*:l*", "arn:aws:s3:*:*:*e/*", "arn:*:*:*:*:n*", "arn:aws:kms:*:*:*"])
            .prop_map(str::to_owned),
    ]
}

fn statement() -> impl Strategy<Value = Value> {
    (select(&["Allow", "Allow", "Deny"]), prop::bool::weighted(0.2), vec(entry(), 1..3), any::<bool>()).prop_map(
        |(effect, negated, entries, conditional)| {
            let mut statement = json!({"Effect": effect, "Action": "s3:*"});
            statement[if negated { "NotResource" } else { "Resource" }] = json!(entries);
            if conditional {
                statement["Condition"] = json!({"StringLike": {"test:B": "${test:A}*"}});
            }
            statement
        },
    )
}

#[derive(Clone, Debug)]
struct Case {
    identity: Vec<Value>,
    boundary: Option<Value>,
    scp: Option<Value>,
    bucket: Option<Value>,
    values: [Option<&'static str>; 2],
    keys: [String; 2],
}

fn cases() -> impl Strategy<Value = Case> {
    let key = || vec(select(&["a", "/", "node", ".gz", ":", "é", "*", "logs", "x"]), 0..5).prop_map(|it| it.concat());
    let value = || prop::option::of(select(&["a", "node", "", "*", "node/"]));
    let optional = || prop::option::weighted(0.3, statement());
    (vec(statement(), 0..3), optional(), optional(), optional(), [value(), value()], [key(), key()]).prop_map(
        |(identity, boundary, scp, bucket, values, keys)| Case { identity, boundary, scp, bucket, values, keys },
    )
}

impl Case {
    /// The decisions for both keys, and whether no policy tells them apart.
    fn decide(&self) -> ([Decision; 2], bool) {
        let everything = || json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
        let beside = |it: &Value| statements(json!([it, everything()]));
        let mut caller = Caller::new(Principal::parse(SESSION).unwrap());
        caller.identity = self.identity.iter().map(|it| statements(it.clone())).collect();
        caller.boundary = self.boundary.as_ref().map(beside);
        caller.scps = self.scp.iter().map(|it| vec![beside(it)]).collect();
        let bucket = self.bucket.clone().map(|mut it| {
            it["Principal"] = json!("*");
            policy(&json!({"Version": "2012-10-17", "Statement": [it, grant("Allow", json!({"AWS": OTHER}), "s3:*")]}))
        });
        let mut context = Context::new();
        for (name, value) in ["test:A", "test:B"].into_iter().zip(self.values) {
            if let Some(value) = value {
                context.set(name, [value]);
            }
        }
        let all = caller.identity.iter().chain(&caller.boundary).chain(caller.scps.iter().flatten()).chain(&bucket);
        let alike = !all.into_iter().any(|it| it.tells_apart(BASE));
        let decisions = self.keys.each_ref().map(|key| {
            let target = Target { policy: bucket.clone(), ..Target::new(format!("{BASE}{key}")) };
            decide("s3:PutObject", &caller, &target, &context)
        });
        (decisions, alike)
    }
}

/// A property over cases that hardly ever come would show nothing.
#[test]
fn the_generated_cases_are_alike_and_apart_with_every_answer() {
    let mut runner = TestRunner::deterministic();
    let cases: Vec<_> = (0..2_000).map(|_| cases().new_tree(&mut runner).unwrap().current().decide()).collect();
    for wanted in [Answer::Allow, Answer::Deny, Answer::Unknown] {
        let count = cases.iter().filter(|(decisions, alike)| *alike && decisions[0].answer == wanted).count();
        assert!(count >= 30, "{wanted} comes {count} times only");
    }
    let differ = cases.iter().filter(|(decisions, _)| decisions[0].answer != decisions[1].answer).count();
    assert!(differ >= 30, "{differ} only");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_not_told_apart_is_decided_alike(case in cases()) {
        let ([one, other], alike) = case.decide();
        prop_assert!(!alike || one == other, "{:?} and {:?}", one, other);
    }
}
