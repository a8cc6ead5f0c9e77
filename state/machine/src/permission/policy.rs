//! Policies, read once.

use super::{
    arn::ArnPattern,
    condition::{self, Condition},
    json::{Json, Map},
    named::{self, Named},
    pattern::{Pattern, Syntax},
};

/// How many bytes of text are read as a policy at all, white space included. The largest policies that AWS keeps are
/// key policies of 32 KiB.
pub const POLICY_BYTES_MAX: usize = 128 * 1024;

/// A policy document. What is not understood of it is kept, and answers Unknown where it matters.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub(super) name: Option<Box<str>>,
    pub(super) statements: Vec<Statement>,
    /// Why nothing of it is understood.
    pub(super) problem: Option<Box<str>>,
    /// Without white space, as AWS counts ("IAM and AWS STS quotas").
    pub(super) chars: usize,
}

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) sid: Option<Box<str>>,
    /// `None` for both: it is not known.
    pub(super) effect: Option<Effect>,
    pub(super) principal: Element<Vec<Named>>,
    pub(super) action: Element<Vec<Action>>,
    pub(super) resource: Element<Vec<Resource>>,
    pub(super) conditions: Vec<Condition>,
    /// Why it is not understood as a whole.
    pub(super) problem: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// An element that has a negated form, such as Action and `NotAction`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Element<T> {
    #[default]
    Absent,
    Is(T),
    IsNot(T),
    /// Not understood, and why.
    Unclear(Box<str>),
}

/// An entry of Action, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) pattern: Pattern,
    /// The first letters before any wildcard, to tell most others apart at once.
    head: u64,
    mask: u64,
}

impl Action {
    /// Whether an action that begins like this may match.
    pub(super) fn may_match(&self, head: u64) -> bool {
        (self.head ^ head) & self.mask == 0
    }
}

/// The first eight bytes of a text as a number.
pub(super) fn head(text: &str) -> u64 {
    text.bytes().take(8).enumerate().fold(0, |head, (at, byte)| head | u64::from(byte) << (8 * at))
}

/// An entry of Resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Everything,
    Arn(ArnPattern),
}

impl Policy {
    /// Reads a policy. This never fails: what is not understood is kept as such.
    ///
    /// Source: "Grammar of the IAM JSON policy language".
    pub fn parse(text: &str) -> Self {
        if text.len() > POLICY_BYTES_MAX {
            return Self::unreadable(format!("it has more than {POLICY_BYTES_MAX} bytes"));
        }
        let chars = text.chars().filter(|it| !it.is_whitespace()).count();
        match serde_json::from_str::<Json>(text)
            .map_err(|error| format!("it is no proper JSON: {error}"))
            .and_then(document)
        {
            Ok(statements) => Self { name: None, statements, problem: None, chars },
            Err(problem) => Self { chars, ..Self::unreadable(problem) },
        }
    }

    /// A policy that exists and of which nothing is known, for example because reading it was denied.
    pub fn unreadable(why: impl Into<Box<str>>) -> Self {
        Self { name: None, statements: Vec::new(), problem: Some(why.into()), chars: 0 }
    }

    /// The same policy with a name for reasons.
    #[must_use]
    pub fn named(self, name: impl Into<Box<str>>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Whether it is understood and has no Allow.
    pub(super) fn only_denies(&self) -> bool {
        let denies = |it: &Statement| it.problem.is_none() && it.effect == Some(Effect::Deny);
        self.problem.is_none() && self.statements.iter().all(denies)
    }

    /// What is not understood of it as a whole or of whole statements.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        let statements = self.statements.iter().filter_map(|it| it.problem.as_deref());
        self.problem.as_deref().into_iter().chain(statements)
    }
}

fn document(json: Json) -> Result<Vec<Statement>, String> {
    let Json::Map(map) = json else { return Err(format!("it is {} and no object", json.kind())) };
    if let Some(name) = &map.duplicate {
        return Err(format!("it has {name} twice"));
    }
    let (mut variables, mut statements) = (false, None);
    for (name, value) in &map.members {
        match (name.as_str(), value) {
            ("Version", Json::Text(version)) if version == "2012-10-17" => variables = true,
            ("Version", Json::Text(version)) if version == "2008-10-17" => {}
            ("Version", _) => return Err("its Version is neither 2012-10-17 nor 2008-10-17".to_owned()),
            ("Id", Json::Text(_)) => {}
            ("Statement", value) => statements = Some(value),
            _ => return Err(format!("its element {name:?} is not understood")),
        }
    }
    let Some(statements) = statements else { return Err("it has no Statement".to_owned()) };
    let statements: Vec<_> = statements.as_list().iter().map(|it| statement(it, variables)).collect();
    if statements.is_empty() { Err("its Statement is empty".to_owned()) } else { Ok(statements) }
}

fn statement(json: &Json, variables: bool) -> Statement {
    let mut statement = Statement {
        sid: None,
        effect: None,
        principal: Element::Absent,
        action: Element::Absent,
        resource: Element::Absent,
        conditions: Vec::new(),
        problem: None,
    };
    let Json::Map(map) = json else {
        statement.problem = Some(format!("it is {} and no object", json.kind()).into());
        return statement;
    };
    statement.problem = fill(&mut statement, map, variables).err().map(Into::into);
    statement
}

/// Elements of which one alone is unclear stay by themselves, so that a statement for other actions does no harm.
fn fill(statement: &mut Statement, map: &Map, variables: bool) -> Result<(), String> {
    let mut unclear = map.duplicate.as_ref().map(|name| format!("it has {name} twice"));
    for (name, value) in &map.members {
        match (name.as_str(), value) {
            ("Sid", Json::Text(sid)) => statement.sid = Some(sid.as_str().into()),
            ("Effect", Json::Text(effect)) if effect == "Allow" => statement.effect = Some(Effect::Allow),
            ("Effect", Json::Text(effect)) if effect == "Deny" => statement.effect = Some(Effect::Deny),
            ("Principal", value) => set(&mut statement.principal, named::parse(value), false),
            ("NotPrincipal", value) => set(&mut statement.principal, named::parse(value), true),
            ("Action", value) => set(&mut statement.action, list(value, action), false),
            ("NotAction", value) => set(&mut statement.action, list(value, action), true),
            ("Resource", value) => set(&mut statement.resource, list(value, |it| resource(it, variables)), false),
            ("NotResource", value) => set(&mut statement.resource, list(value, |it| resource(it, variables)), true),
            ("Condition", value) => statement.conditions = condition::parse(value, variables),
            _ => unclear = unclear.or_else(|| Some(format!("its element {name:?} is not understood"))),
        }
    }
    if statement.effect.is_none() {
        unclear = unclear.or_else(|| Some("it has no Effect of Allow or Deny".to_owned()));
    }
    if statement.action == Element::Absent {
        unclear = unclear.or_else(|| Some("it has neither Action nor NotAction".to_owned()));
    }
    unclear.map_or(Ok(()), Err)
}

fn set<T>(element: &mut Element<T>, value: Result<T, String>, negated: bool) {
    *element = match (&element, value) {
        (Element::Absent, Ok(value)) if negated => Element::IsNot(value),
        (Element::Absent, Ok(value)) => Element::Is(value),
        (Element::Absent, Err(problem)) => Element::Unclear(problem.into()),
        _ => Element::Unclear("an element stands together with its negation, or twice".into()),
    };
}

fn list<T>(value: &Json, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let mut entries = Vec::new();
    for entry in value.as_list() {
        let Json::Text(text) = entry else { return Err(format!("an action or resource is {}", entry.kind())) };
        entries.push(read(text)?);
    }
    if entries.is_empty() { Err("a list of actions or resources is empty".to_owned()) } else { Ok(entries) }
}

/// Actions ignore case; the service's prefix has no wildcard ("IAM JSON policy elements: Action").
fn action(text: &str) -> Result<Action, String> {
    let name_fits =
        |name: &str| !name.is_empty() && name.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_*?".contains(&it));
    let fits = text == "*"
        || text.split_once(':').is_some_and(|(service, name)| {
            !service.is_empty() && service.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-') && name_fits(name)
        });
    if !fits {
        return Err(format!("the action {text:?} is not understood"));
    }
    let syntax = Syntax { wildcards: true, variables: false };
    let text = text.to_ascii_lowercase();
    let literal = text.find(['*', '?']).unwrap_or(text.len());
    let mask = u64::MAX.checked_shr(64 - 8 * literal.min(8) as u32).unwrap_or(0);
    Ok(Action { pattern: Pattern::parse(&text, syntax)?, head: head(&text) & mask, mask })
}

/// Source: "IAM JSON policy elements: Resource".
fn resource(text: &str, variables: bool) -> Result<Resource, String> {
    if text == "*" {
        return Ok(Resource::Everything);
    }
    ArnPattern::parse(text, variables)
        .map(Resource::Arn)
        .map_err(|problem| format!("the resource {text:?} is not understood: {problem}"))
}
