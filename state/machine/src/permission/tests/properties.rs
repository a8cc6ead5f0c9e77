use std::sync::Arc;

use proptest::{prelude::*, sample::select, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};

use super::{
    super::Answer::{self, Allow, Deny},
    Caller, Context, Decision, KEY, OBJECT, OTHER, Policy, Principal, ROLE, SESSION, Target, USER, decide, policy,
};

const KEYS: [&str; 4] = ["test:A", "test:B", "aws:PrincipalTag/c", "test:N"];

/// A question in the form that is easy to change.
#[derive(Clone, Debug)]
struct Case {
    action: &'static str,
    resource: &'static str,
    principal: &'static str,
    foreign: bool,
    identity: Vec<Value>,
    boundary: Option<Vec<Value>>,
    scps: Vec<Vec<Value>>,
    resource_policy: Option<Vec<Value>>,
    /// Known to be absent, or with values; a key that is not here is unknown.
    context: Vec<(&'static str, Option<Vec<&'static str>>)>,
}

impl Case {
    fn decide(&self) -> Decision {
        let document = |statements: &[Value]| policy(&json!({"Version": "2012-10-17", "Statement": statements}));
        let mut caller = Caller::new(Principal::parse(self.principal).unwrap());
        caller.identity = self.identity.iter().map(|it| document(std::slice::from_ref(it))).collect();
        caller.boundary = self.boundary.as_deref().map(document);
        caller.scps = self.scps.iter().map(|level| vec![document(level)]).collect();
        let target = Target {
            account: (self.foreign && self.resource == OBJECT).then(|| OTHER.parse().unwrap()),
            policy: self.resource_policy.as_deref().map(document),
            ..Target::new(self.resource)
        };
        let mut context = Context::new();
        for (key, values) in &self.context {
            match values {
                Some(values) => context.set(key, values.iter().copied()),
                None => context.set_absent(key),
            };
        }
        decide(self.action, &caller, &target, &context)
    }

    fn answer(&self) -> Answer {
        self.decide().answer
    }
}

fn condition() -> impl Strategy<Value = Value> {
    let operators = [
        "StringEquals",
        "StringNotEquals",
        "StringLike",
        "StringNotLikeIfExists",
        "StringEqualsIgnoreCase",
        "ForAllValues:StringEquals",
        "ForAnyValue:StringNotEquals",
        "NumericLessThan",
        "NumericNotEquals",
        "Bool",
        "Null",
        "Odd",
    ];
    let values = ["a", "b*", "true", "1", "${test:B}", "${test:B, 'a'}", ""];
    (select(operators.to_vec()), select(&KEYS), prop::collection::vec(select(values.to_vec()), 1..3))
        .prop_map(|(operator, key, values)| json!({operator: {key: values}}))
}

fn statement(named: bool) -> impl Strategy<Value = Value> {
    let actions = ["*", "s3:*", "s3:Put*", "s3:PutObject", "s3:Get?bject", "kms:*", "kms:Decrypt", "PutObject"];
    let resources = ["*", OBJECT, "arn:aws:s3:::logs/*", "arn:aws:s3:::${test:A}/*", "arn:aws:kms:*:*:key/*", "logs"];
    let principals = [
        json!("*"),
        json!({"AWS": ROLE}),
        json!({"AWS": SESSION}),
        json!({"AWS": "111122223333"}),
        json!({"AWS": USER}),
        json!({"AWS": "role"}),
    ];
    (
        select(&["Allow", "Allow", "Deny"]),
        (prop::bool::weighted(0.2), select(actions.to_vec())),
        (prop::bool::weighted(0.2), select(resources.to_vec())),
        prop::option::weighted(0.4, condition()),
        select(principals.to_vec()),
    )
        .prop_map(move |(effect, (not_action, action), (not_resource, resource), condition, principal)| {
            let mut statement = json!({"Effect": effect});
            statement[if not_action { "NotAction" } else { "Action" }] = json!(action);
            statement[if not_resource { "NotResource" } else { "Resource" }] = json!(resource);
            if let Some(condition) = condition {
                statement["Condition"] = condition;
            }
            if named {
                statement["Principal"] = principal;
            }
            statement
        })
}

fn statements(named: bool) -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(statement(named), 1..4)
}

fn values() -> impl Strategy<Value = Option<Vec<&'static str>>> {
    prop::option::of(prop::collection::vec(select(&["a", "b", "logs", "true", "1", "", "*"]), 1..3))
}

fn cases() -> impl Strategy<Value = Case> {
    (
        (select(&[("s3:PutObject", OBJECT), ("kms:Decrypt", KEY)]), select(&[ROLE, SESSION, USER]), any::<bool>()),
        (prop::bool::weighted(0.8), prop::bool::weighted(0.8)),
        prop::collection::vec(statement(false), 0..3),
        prop::option::weighted(0.3, statements(false)),
        prop::collection::vec(statements(false), 0..2),
        prop::option::weighted(0.7, statements(true)),
        prop::collection::vec((select(&KEYS), values()), 0..5),
    )
        .prop_map(|(request, open, identity, boundary, scps, resource_policy, context)| {
            let ((action, resource), principal, foreign) = request;
            let mut case =
                Case { action, resource, principal, foreign, identity, boundary, scps, resource_policy, context };
            // Most requests would be allowed but for the other statements, so that each answer comes often.
            let everything = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
            if open.0 {
                case.identity.push(everything.clone());
                for statements in case.boundary.iter_mut().chain(&mut case.scps) {
                    statements.push(everything.clone());
                }
            }
            if let (true, Some(statements)) = (open.1, &mut case.resource_policy) {
                let mut everyone = everything;
                everyone["Principal"] = json!("*");
                statements.push(everyone);
            }
            case
        })
}

/// Properties over answers that hardly ever come would show nothing.
#[test]
fn the_generated_cases_reach_every_answer() {
    let mut runner = TestRunner::deterministic();
    let answers: Vec<Answer> = (0..1_000).map(|_| cases().new_tree(&mut runner).unwrap().current().answer()).collect();
    for wanted in [Allow, Deny, Answer::Unknown] {
        let count = answers.iter().filter(|answer| **answer == wanted).count();
        assert!(count >= 100, "{wanted} comes {count} times only");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let words = [
        "Version",
        "2012-10-17",
        "Statement",
        "Effect",
        "Allow",
        "Deny",
        "Action",
        "s3:*",
        "*",
        "Resource",
        "Condition",
        "StringLike",
        "Principal",
        "AWS",
        "${",
        "${a:b, 'c'}",
        "arn:aws:s3:::b",
        "é",
        "",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(words.to_vec()).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(select(words.to_vec()).prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The answers with this text as policy everywhere: no panic, and `Allow` for nobody.
fn survives(text: &str) -> Decision {
    let policy = Arc::new(Policy::parse(text));
    let mut caller = Caller::new(Principal::parse(SESSION).unwrap());
    caller.identity = vec![policy.clone()];
    caller.boundary = Some(policy.clone());
    caller.scps = vec![vec![policy.clone()]];
    let target = Target {
        policy: Some(policy.clone()),
        rcps: vec![vec![policy.clone()]],
        endpoint: Some(policy),
        ..Target::new(OBJECT)
    };
    decide("s3:PutObject", &caller, &target, &Context::new())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, max_global_rejects: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn one_more_deny_never_turns_into_an_allow(case in cases(), deny in statement(false), at in 0..3) {
        let mut deny = deny;
        deny["Effect"] = json!("Deny");
        let mut more = case.clone();
        match (at, &mut more.boundary) {
            (0, _) => more.identity.push(deny),
            (1, Some(boundary)) => boundary.push(deny),
            _ => {
                deny["Principal"] = json!("*");
                more.resource_policy.get_or_insert_default().push(deny);
            }
        }
        match case.answer() {
            Allow => {}
            Deny => prop_assert_eq!(more.answer(), Deny),
            Answer::Unknown => prop_assert_ne!(more.answer(), Allow),
        }
    }

    #[test]
    fn one_more_or_wider_allow_never_turns_an_allow_into_a_deny(case in cases(), allow in statement(false), widen in any::<bool>()) {
        prop_assume!(case.answer() == Allow);
        let mut more = case.clone();
        if widen {
            for statement in more.identity.iter_mut().filter(|it| it["Effect"] == "Allow") {
                *statement = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
            }
        } else {
            let mut allow = allow;
            allow["Effect"] = json!("Allow");
            more.identity.push(allow);
        }
        prop_assert_eq!(more.answer(), Allow);
    }

    #[test]
    fn the_order_of_statements_and_policies_does_not_matter(case in cases()) {
        let mut turned = case.clone();
        turned.identity.reverse();
        turned.scps.reverse();
        for statements in [&mut turned.boundary, &mut turned.resource_policy].into_iter().flatten() {
            statements.reverse();
        }
        let (before, after) = (case.decide(), turned.decide());
        prop_assert_eq!((before.answer, before.explicit), (after.answer, after.explicit));
    }

    #[test]
    fn statements_may_stand_in_one_policy_or_in_several(case in cases()) {
        prop_assume!(!case.identity.is_empty());
        let together = policy(&json!({"Version": "2012-10-17", "Statement": case.identity}));
        let mut caller = Caller::new(Principal::parse(case.principal).unwrap());
        caller.identity = vec![together];
        let one = decide(case.action, &caller, &Target::new(case.resource), &Context::new()).answer;
        let alone = Case { boundary: None, scps: vec![], resource_policy: None, foreign: false, context: vec![], ..case };
        prop_assert_eq!(one, alone.answer());
    }

    #[test]
    fn the_case_of_actions_does_not_matter(case in cases(), upper in any::<bool>()) {
        let mut other = case.clone();
        let turn = |text: &str| if upper { text.to_uppercase() } else { text.to_lowercase() };
        let all = other.identity.iter_mut().chain(other.boundary.iter_mut().flatten()).chain(other.scps.iter_mut().flatten());
        for statement in all.chain(other.resource_policy.iter_mut().flatten()) {
            for element in ["Action", "NotAction"] {
                if let Some(action) = statement[element].as_str().map(turn) {
                    statement[element] = json!(action);
                }
                if statement[element].is_null() {
                    statement.as_object_mut().unwrap().remove(element);
                }
            }
        }
        prop_assert_eq!(case.answer(), other.answer());
    }

    /// What is certain with keys unknown stays so whatever they turn out to be.
    #[test]
    fn unknown_keys_hide_nothing(case in cases(), filled in prop::collection::vec(values(), KEYS.len())) {
        let before = case.decide();
        let mut known = case.clone();
        for (key, values) in KEYS.into_iter().zip(filled) {
            if !known.context.iter().any(|(it, _)| *it == key) {
                known.context.push((key, values));
            }
        }
        let after = known.decide();
        match before.answer {
            Answer::Unknown => {}
            answer @ (Allow | Deny) => prop_assert_eq!(after.answer, answer, "before: {}; after: {}", before.reason, after.reason),
        }
        prop_assert!(!before.explicit || after.explicit);
    }

    #[test]
    fn any_json_is_survived(json in json_value()) {
        survives(&json.to_string());
    }

    #[test]
    fn any_text_is_survived(text in ".{0,200}") {
        prop_assert_ne!(survives(&text).answer, Allow);
    }

    #[test]
    fn a_mutilated_policy_is_survived(
        statements in statements(true),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), "[{}\\[\\]\",:*$a]{0,3}"), 1..4),
    ) {
        let mut text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        for (from, length, insert) in cuts {
            let from = from.index(text.len());
            let to = (from + length.index(8)).min(text.len());
            if text.is_char_boundary(from) && text.is_char_boundary(to) {
                text.replace_range(from..to, &insert);
            }
        }
        survives(&text);
    }
}
