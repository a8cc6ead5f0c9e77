#![expect(clippy::needless_pass_by_value, reason = "the values are json! literals in the calls")]

mod apart;
mod bad_input;
mod bounds;
mod conditions;
mod logging;
mod logic;
mod patterns;
mod principals;
mod properties;

use std::{cell::Cell, sync::Arc};

use serde_json::{Value, json};

use super::{Answer, Caller, Context, Decision, Policy, Principal, Request, Target, evaluate, pattern::Token};

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// Counts one step of matching, and the bytes that it compares.
pub(super) fn count_step(token: Option<&Token>) {
    let bytes = if let Some(Token::Text(literal)) = token { literal.len() } else { 0 };
    STEPS.set(STEPS.get() + 1 + bytes as u64);
}

/// What matching within `work` took, in steps and compared bytes.
fn steps_of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    STEPS.set(0);
    (work(), STEPS.get())
}

pub(super) const ACCOUNT: &str = "111122223333";
pub(super) const OTHER: &str = "444455556666";
pub(super) const ROLE: &str = "arn:aws:iam::111122223333:role/Node";
pub(super) const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/Node/i-0abc";
pub(super) const USER: &str = "arn:aws:iam::111122223333:user/ops/Ann";
pub(super) const OBJECT: &str = "arn:aws:s3:::logs/AWSLogs/session.gz";
pub(super) const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234";

pub(super) fn policy(json: &Value) -> Arc<Policy> {
    Arc::new(Policy::parse(&json.to_string()))
}

/// A policy of version 2012-10-17 with these statements.
pub(super) fn statements(statements: Value) -> Arc<Policy> {
    policy(&json!({"Version": "2012-10-17", "Statement": statements}))
}

pub(super) fn allow(action: &str) -> Value {
    json!({"Effect": "Allow", "Action": action, "Resource": "*"})
}

pub(super) fn deny(action: &str) -> Value {
    json!({"Effect": "Deny", "Action": action, "Resource": "*"})
}

/// A statement of a resource policy.
pub(super) fn grant(effect: &str, principal: Value, action: &str) -> Value {
    json!({"Effect": effect, "Principal": principal, "Action": action, "Resource": "*"})
}

pub(super) fn caller(principal: &str, identity: &[Value]) -> Caller {
    let mut caller = Caller::new(Principal::parse(principal).unwrap());
    caller.identity = identity.iter().map(|it| statements(it.clone())).collect();
    caller
}

pub(super) fn decide(action: &str, caller: &Caller, target: &Target, context: &Context) -> Decision {
    evaluate(&Request { action, caller, target, context })
}

/// The decision for a role with one identity policy of this one statement.
pub(super) fn one(statement: &Value, action: &str, resource: &str, context: &Context) -> Decision {
    decide(action, &caller(SESSION, std::slice::from_ref(statement)), &Target::new(resource), context)
}

/// Whether an Allow with this condition is in effect.
pub(super) fn condition(condition: &Value, context: &Context) -> Answer {
    let statement = json!({"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*", "Condition": condition});
    let allowed = one(&statement, "s3:PutObject", OBJECT, context).answer;
    // The same condition on a Deny, beside an Allow of everything, must say the opposite.
    let denying = json!([
        {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*", "Condition": condition},
        {"Effect": "Allow", "Action": "*", "Resource": "*"}
    ]);
    let denied = one(&denying, "s3:PutObject", OBJECT, context).answer;
    let opposite = match allowed {
        Answer::Allow => Answer::Deny,
        Answer::Deny => Answer::Allow,
        Answer::Unknown => Answer::Unknown,
    };
    assert_eq!(denied, opposite, "a Deny with {condition} disagrees with an Allow");
    allowed
}
