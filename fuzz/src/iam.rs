//! Policies and requests for the evaluator of IAM policies.

use std::sync::Arc;

use serde_json::{Value, json};
use sessionwarden_machine::permission::{
    Answer, Caller, Context, Decision, Policy, Principal, REASON_BYTES_MAX, Request, Target, evaluate,
};

use crate::bytes::Bytes;

const EFFECTS: [&str; 8] = ["Allow", "Allow", "Allow", "Allow", "Allow", "Deny", "Deny", "deny"];
const ACTIONS: [&str; 10] =
    ["*", "s3:*", "s3:Put*", "S3:putobject", "s3:Get?bject", "kms:*", "kms:Decrypt", "sts:AssumeRole", "s3:", "s*:P"];
const RESOURCES: [&str; 13] = [
    "*",
    "*",
    "arn:aws:s3:::logs/*",
    "arn:aws:s3:::logs/node/*",
    "arn:aws:s3:::logs/node/a*",
    "arn:aws:s3:::logs/*.gz",
    "arn:aws:s3:::other/*",
    "arn:aws:s3:::logs/${aws:username}/*",
    "arn:aws:s3:::logs/${test:A, 'node'}/*",
    "arn:aws:s3:*:*:?",
    "arn:aws:kms:*:*:key/*",
    "arn:*:*:*:*:*",
    "logs",
];
const OPERATORS: [&str; 22] = [
    "StringEquals",
    "StringNotEquals",
    "StringLike",
    "StringNotLikeIfExists",
    "StringEqualsIgnoreCase",
    "ForAllValues:StringLike",
    "ForAnyValue:StringEquals",
    "ForAnyValue:StringNotEquals",
    "NumericLessThan",
    "NumericNotEquals",
    "DateLessThan",
    "DateEqualsIfExists",
    "Bool",
    "BinaryEquals",
    "IpAddress",
    "NotIpAddress",
    "ArnLike",
    "ArnNotEqualsIfExists",
    "Null",
    "NullIfExists",
    "Odd",
    "",
];
const KEYS: [&str; 8] = [
    "test:A",
    "Test:B",
    "aws:PrincipalArn",
    "aws:PrincipalAccount",
    "aws:SourceIp",
    "aws:CurrentTime",
    "aws:username",
    "s3:ResourceAccount",
];
const VALUES: [&str; 16] = [
    "a",
    "node",
    "*",
    "?*",
    "",
    "true",
    "1",
    "-01.50",
    "2026-11-20T00:00:00Z",
    "1790000000",
    "10.0.0.0/8",
    "2001:db8::1",
    "YQ==",
    "arn:aws:iam::111122223333:role/Node",
    "${test:A}",
    "${test:B, 'a'}",
];
const PRINCIPALS: [&str; 8] = [
    "*",
    "111122223333",
    "444455556666",
    "arn:aws:iam::111122223333:root",
    "arn:aws:iam::111122223333:role/Node",
    "arn:aws:sts::111122223333:assumed-role/Node/i-0abc",
    "arn:aws:iam::111122223333:user/ops/Ann",
    "role/Node",
];
const CALLERS: [&str; 6] = [
    "arn:aws:sts::111122223333:assumed-role/Node/i-0abc",
    "arn:aws:iam::111122223333:role/Node",
    "arn:aws:iam::111122223333:user/ops/Ann",
    "arn:aws:iam::111122223333:root",
    "arn:aws:sts::111122223333:federated-user/Ann",
    "logs.amazonaws.com",
];
const ASKED: [(&str, &str); 6] = [
    ("s3:PutObject", "arn:aws:s3:::logs/node/a.gz"),
    ("s3:PutObject", "arn:aws:s3:::logs/node/b"),
    ("kms:Decrypt", "arn:aws:kms:eu-west-1:111122223333:key/1234"),
    ("kms:CreateAlias", "arn:aws:kms:eu-west-1:111122223333:alias/logs"),
    ("sts:AssumeRole", "arn:aws:iam::111122223333:role/Node"),
    ("ssmmessages:OpenDataChannel", "*"),
];
/// Pieces that break a policy in interesting places.
const PIECES: [&str; 10] = ["", "\"", "{", "}", "[", "]", ",", "\"Effect\":\"Deny\",", "${", "\\u0000"];

/// A request with all its policies.
#[derive(Clone, Debug)]
struct Case {
    action: String,
    target: Target,
    caller: Caller,
    context: Context,
}

/// A case as it was written and one that means the same, with all that has no order in the reverse order.
#[derive(Clone, Debug)]
pub(crate) struct Cases {
    written: Case,
    turned: Case,
}

impl Cases {
    /// Any bytes are a case.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut bytes = Bytes::new(bytes);
        let (action, resource) = bytes.pick(&ASKED);
        let action = if bytes.rarely(8) { bytes.text() } else { action.to_owned() };
        let resource = if bytes.rarely(8) { bytes.text() } else { resource.to_owned() };
        let principal = bytes.rarely(8).then(|| Principal::parse(&bytes.text()).ok()).flatten();
        let principal = principal.or_else(|| Principal::parse(bytes.pick(&CALLERS)).ok());
        let caller = Caller::new(principal.expect("the listed principals are proper"));
        let mut target = Target::new(resource);
        target.account = bytes.rarely(64).then(|| "444455556666".parse().ok()).flatten();
        let written = Case { action, target, caller, context: context(&mut bytes) };
        let mut cases = Self { turned: written.clone(), written };
        // Often all is allowed but for what follows, or else most answers would be a plain no.
        if bytes.rarely(160) {
            let everything = Arc::new(Policy::parse(&document(&[statement_for_all("Allow", false)])));
            cases.each(|case| case.caller.identity.push(Arc::clone(&everything)));
        }
        for _ in 0..bytes.below(6) {
            cases.add_policy(&mut bytes);
        }
        cases.turned.caller.identity.reverse();
        cases.turned.caller.scps.reverse();
        cases.turned.target.rcps.reverse();
        cases
    }

    fn each(&mut self, mut change: impl FnMut(&mut Case)) {
        change(&mut self.written);
        change(&mut self.turned);
    }

    fn add_policy(&mut self, bytes: &mut Bytes<'_>) {
        let place = bytes.below(8);
        let (written, turned) = policy(bytes, place >= 5);
        for (case, policy) in [(&mut self.written, written), (&mut self.turned, turned)] {
            let policy = Arc::new(policy);
            match place {
                0 | 1 => case.caller.identity.push(policy),
                2 => case.caller.boundary = Some(policy),
                3 => case.caller.session.push(policy),
                4 => case.caller.scps.push(vec![policy]),
                5 => case.target.endpoint = Some(policy),
                6 => case.target.rcps.push(vec![policy]),
                _ => case.target.policy = Some(policy),
            }
        }
    }

    /// The answer, after checking what must hold for any request.
    ///
    /// # Panics
    /// Something does not hold.
    pub(crate) fn check(&self) -> Answer {
        let decision = self.written.decide();
        let turned = self.turned.decide();
        assert_eq!(
            (decision.answer, decision.explicit),
            (turned.answer, turned.explicit),
            "the order of statements or policies matters: {} but {}",
            decision.reason,
            turned.reason
        );
        self.written.check_deny();
        self.written.check_keys();
        decision.answer
    }
}

impl Case {
    fn decide(&self) -> Decision {
        let Self { action, target, caller, context } = self;
        let decision = evaluate(&Request { action, caller, target, context });
        assert!(!decision.reason.is_empty() && decision.reason.len() <= REASON_BYTES_MAX, "{}", decision.reason);
        assert!(!decision.explicit || decision.answer == Answer::Deny, "{decision:?}");
        decision
    }

    /// One more Deny of everything is never an Allow, wherever it stands.
    fn check_deny(&self) {
        let plain = Arc::new(Policy::parse(&document(&[statement_for_all("Deny", false)])));
        let named = Arc::new(Policy::parse(&document(&[statement_for_all("Deny", true)])));
        let denies: [fn(&mut Self, Arc<Policy>); 2] =
            [|case, plain| case.caller.identity.push(plain), |case, plain| case.caller.boundary = Some(plain)];
        for add in denies {
            let mut more = self.clone();
            add(&mut more, Arc::clone(&plain));
            assert_ne!(more.decide().answer, Answer::Allow, "in spite of a Deny of everything");
        }
        let mut more = self.clone();
        more.target.policy = Some(named);
        assert_ne!(more.decide().answer, Answer::Allow, "in spite of a resource policy that denies everything");
    }

    /// Where no policy tells keys below a prefix apart, all get one decision.
    fn check_keys(&self) {
        const BASE: &str = "arn:aws:s3:::logs/node/";
        let (caller, target) = (&self.caller, &self.target);
        let levels = caller.scps.iter().chain(&target.rcps).flatten();
        let single = [&caller.boundary, &target.policy, &target.endpoint].into_iter().flatten();
        let mut all = caller.identity.iter().chain(&caller.session).chain(levels).chain(single);
        if all.any(|policy| policy.tells_apart(BASE)) {
            return;
        }
        let mut decisions = ["", "a", "a.gz", "b/c:d*"].into_iter().map(|key| {
            let mut case = self.clone();
            case.target.resource = format!("{BASE}{key}");
            case.decide()
        });
        let first = decisions.next();
        assert!(decisions.all(|it| Some(&it) == first.as_ref()), "keys are decided differently that none tells apart");
    }
}

fn context(bytes: &mut Bytes<'_>) -> Context {
    let mut context = Context::new();
    for _ in 0..bytes.below(8) {
        let key = bytes.pick(&KEYS);
        let values: Vec<String> = (0..bytes.below(3)).map(|_| word(bytes, &VALUES)).collect();
        context.set(key, values);
    }
    context
}

/// One of the words, or seldom any text.
fn word(bytes: &mut Bytes<'_>, words: &[&str]) -> String {
    if bytes.rarely(8) { bytes.text() } else { bytes.pick(words).to_owned() }
}

fn words(bytes: &mut Bytes<'_>, list: &[&str]) -> Value {
    let words: Vec<_> = (0..bytes.below(3)).map(|_| word(bytes, list)).collect();
    if words.is_empty() { json!(word(bytes, list)) } else { json!(words) }
}

fn document(statements: &[Value]) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

fn statement_for_all(effect: &str, named: bool) -> Value {
    let mut statement = json!({"Effect": effect, "Action": "*", "Resource": "*"});
    if named {
        statement["Principal"] = json!("*");
    }
    statement
}

/// A policy, and the same with its statements in the reverse order.
fn policy(bytes: &mut Bytes<'_>, named: bool) -> (Policy, Policy) {
    if bytes.rarely(16) {
        let policy = Policy::parse(&if bytes.rarely(128) { bytes.rest() } else { bytes.text() });
        return (policy.clone(), policy);
    }
    let mut statements: Vec<Value> = (0..=bytes.below(4)).map(|_| statement(bytes, named)).collect();
    let mut written = document(&statements);
    if bytes.rarely(32) {
        // What a broken policy would mean the other way round is not known.
        let (from, length) = (usize::from(bytes.next()) * written.len() / 256, bytes.below(4));
        let to = (from + length).min(written.len());
        if written.is_char_boundary(from) && written.is_char_boundary(to) {
            written.replace_range(from..to, bytes.pick(&PIECES));
        }
        let policy = Policy::parse(&written);
        return (policy.clone(), policy);
    }
    statements.reverse();
    (Policy::parse(&written), Policy::parse(&document(&statements)))
}

fn statement(bytes: &mut Bytes<'_>, named: bool) -> Value {
    let mut statement = json!({"Effect": bytes.pick(&EFFECTS)});
    statement[if bytes.rarely(40) { "NotAction" } else { "Action" }] = words(bytes, &ACTIONS);
    statement[if bytes.rarely(40) { "NotResource" } else { "Resource" }] = words(bytes, &RESOURCES);
    // Sometimes where it must not stand, and sometimes not where it must.
    if named != bytes.rarely(8) {
        let principal = if bytes.rarely(40) { "NotPrincipal" } else { "Principal" };
        statement[principal] = json!({"AWS": words(bytes, &PRINCIPALS)});
    }
    for _ in 0..bytes.below(3) {
        let condition = json!({word(bytes, &KEYS): words(bytes, &VALUES)});
        statement["Condition"][word(bytes, &OPERATORS)] = condition;
    }
    if bytes.rarely(4) {
        let name = bytes.text();
        statement[name] = json!(bytes.text());
    }
    statement
}
