//! Conditions: when a statement is in effect.

use std::cmp::Ordering;

use super::{
    arn::ArnPattern,
    context::{Facts, Lookup},
    json::{Json, Map},
    pattern::{Pattern, Syntax},
    truth::{Truth, Why},
    values::{Cidr, Decimal, instant, is_base64},
};

/// One context key with an operator and the values it is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// In lower case: names of keys ignore case.
    key: Box<str>,
    set: Option<Set>,
    if_exists: bool,
    negated: bool,
    test: Test,
}

/// The set operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    All,
    Any,
}

/// What is compared: values that match if any of them does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    /// Whether the key may be absent (`true`) or present (`false`).
    Null(Vec<bool>),
    Text {
        values: Vec<Pattern>,
        folded: bool,
    },
    Number(Compare, Vec<Decimal>),
    Date(Compare, Vec<i128>),
    Bool(Vec<bool>),
    Binary(Vec<Box<str>>),
    Address(Vec<Cidr>),
    Arn(Vec<ArnPattern>),
    /// Not understood, and why.
    Unclear(Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Compare {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "Equals" => Self::Equal,
            "LessThan" => Self::Less,
            "LessThanEquals" => Self::LessOrEqual,
            "GreaterThan" => Self::Greater,
            "GreaterThanEquals" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// Reads a Condition element: all of its conditions must hold.
pub(super) fn parse(value: &Json, variables: bool) -> Vec<Condition> {
    read(value, variables).unwrap_or_else(|problem| {
        let test = Test::Unclear(problem.into());
        vec![Condition { key: "".into(), set: None, if_exists: false, negated: false, test }]
    })
}

fn read(value: &Json, variables: bool) -> Result<Vec<Condition>, String> {
    let map = members(value, "the condition")?;
    let mut conditions = Vec::new();
    for (operator, keys) in &map.members {
        let keys = members(keys, &format!("the condition {operator}"))?;
        for (key, values) in &keys.members {
            conditions.push(one(operator, key, values, variables));
        }
    }
    Ok(conditions)
}

fn members<'a>(value: &'a Json, what: &str) -> Result<&'a Map, String> {
    match value {
        Json::Map(map) => match &map.duplicate {
            None => Ok(map),
            Some(name) => Err(format!("{what} has {name} twice")),
        },
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_) => {
            Err(format!("{what} is {} and no object", value.kind()))
        }
    }
}

/// Source: "IAM JSON policy elements: Condition operators" for the operators; "Set operators for multivalued context
/// keys" for `ForAllValues:` and `ForAnyValue:`.
fn one(operator: &str, key: &str, values: &Json, variables: bool) -> Condition {
    let (set, rest) = match operator.split_once(':') {
        Some(("ForAllValues", rest)) => (Some(Set::All), rest),
        Some(("ForAnyValue", rest)) => (Some(Set::Any), rest),
        Some(_) | None => (None, operator),
    };
    let (name, if_exists) = rest.strip_suffix("IfExists").map_or((rest, false), |name| (name, true));
    let (positive, negated) = match name {
        "StringNotEquals" => ("StringEquals", true),
        "StringNotEqualsIgnoreCase" => ("StringEqualsIgnoreCase", true),
        "StringNotLike" => ("StringLike", true),
        "NumericNotEquals" => ("NumericEquals", true),
        "DateNotEquals" => ("DateEquals", true),
        "NotIpAddress" => ("IpAddress", true),
        "ArnNotEquals" | "ArnNotLike" => ("ArnLike", true),
        "ArnEquals" => ("ArnLike", false),
        _ => (name, false),
    };
    let test = if positive == "Null" && (if_exists || set.is_some()) {
        Err(format!("the condition operator {operator} is not understood"))
    } else {
        texts(values)
            .and_then(|texts| test(positive, &texts, variables))
            .map_err(|problem| format!("the condition {operator} on {key}: {problem}"))
    };
    let test = test.unwrap_or_else(|problem| Test::Unclear(problem.into()));
    Condition { key: key.to_lowercase().into(), set, if_exists, negated, test }
}

/// The values of a condition: strings, numbers and booleans are all texts ("Grammar of the IAM JSON policy language").
fn texts(values: &Json) -> Result<Vec<&str>, String> {
    let mut texts = Vec::new();
    for value in values.as_list() {
        texts.push(match value {
            Json::Text(text) | Json::Number(text) => text.as_str(),
            Json::Bool(true) => "true",
            Json::Bool(false) => "false",
            Json::Null | Json::List(_) | Json::Map(_) => return Err(format!("a value is {}", value.kind())),
        });
    }
    if texts.is_empty() { Err("there is no value".to_owned()) } else { Ok(texts) }
}

fn test(operator: &str, texts: &[&str], variables: bool) -> Result<Test, String> {
    if let Some(compare) = operator.strip_prefix("Numeric").and_then(Compare::named) {
        return all(texts, "no number", Decimal::parse).map(|values| Test::Number(compare, values));
    }
    if let Some(compare) = operator.strip_prefix("Date").and_then(Compare::named) {
        return all(texts, "no date", instant).map(|values| Test::Date(compare, values));
    }
    let pattern = |wildcards| {
        move |text: &&str| {
            Pattern::parse(text, Syntax { wildcards, variables }).map_err(|problem| format!("{text:?} has {problem}"))
        }
    };
    match operator {
        "Null" => all(texts, "neither true nor false", boolean).map(Test::Null),
        "Bool" => all(texts, "neither true nor false", boolean).map(Test::Bool),
        "StringEquals" | "StringEqualsIgnoreCase" => {
            let values = texts.iter().map(pattern(false)).collect::<Result<_, _>>()?;
            Ok(Test::Text { values, folded: operator.ends_with("IgnoreCase") })
        }
        "StringLike" => {
            let values = texts.iter().map(pattern(true)).collect::<Result<_, _>>()?;
            Ok(Test::Text { values, folded: false })
        }
        "BinaryEquals" => all(texts, "no base64", |text| is_base64(text).then(|| text.into())).map(Test::Binary),
        "IpAddress" => all(texts, "no range of addresses", Cidr::parse).map(Test::Address),
        "ArnLike" => {
            let arn =
                |text: &&str| ArnPattern::parse(text, variables).map_err(|problem| format!("{text:?}: {problem}"));
            texts.iter().map(arn).collect::<Result<_, _>>().map(Test::Arn)
        }
        _ => Err("the operator is not understood".to_owned()),
    }
}

fn all<T>(texts: &[&str], problem: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    texts.iter().map(|text| read(text).ok_or_else(|| format!("{text:?} is {problem}"))).collect()
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

impl Condition {
    /// Whether the condition holds.
    ///
    /// Without the key a positive operator fails and a negated one holds; with `IfExists` both hold; `ForAllValues`
    /// holds and `ForAnyValue` fails. Sources: "IAM JSON policy elements: Condition operators"; "Conditions with
    /// multiple context keys or values" for NOR; "Set operators for multivalued context keys" for the empty value.
    pub(super) fn holds<'a>(&'a self, facts: &'a Facts<'_>) -> Truth<'a> {
        if let Test::Unclear(problem) = &self.test {
            return Truth::Maybe(Why::Unclear(problem));
        }
        let values = match facts.look_up(&self.key) {
            Lookup::Unknown => return Truth::Maybe(Why::Key(&self.key)),
            Lookup::Absent => None,
            Lookup::Values(values) => Some(values),
        };
        if let Test::Null(wanted) = &self.test {
            // An empty value is null where a user may define it ("IAM JSON policy elements: Condition").
            return match values {
                None => wanted.contains(&true).into(),
                Some([value]) if value.is_empty() => {
                    Truth::from(wanted.contains(&true)).agreeing(wanted.contains(&false).into(), Why::Value(&self.key))
                }
                Some(_) => wanted.contains(&false).into(),
            };
        }
        let Some(values) = values else {
            return match self.set {
                _ if self.if_exists => Truth::Yes,
                None => self.negated.into(),
                Some(Set::All) => Truth::Yes,
                Some(Set::Any) => Truth::No,
            };
        };
        let each = || values.iter().map(|value| self.matches(value, facts).negate_if(self.negated));
        match (self.set, values) {
            (Some(Set::All), [value]) if value.is_empty() => {
                Truth::all(each()).agreeing(Truth::Yes, Why::Value(&self.key))
            }
            (Some(Set::Any), [value]) if value.is_empty() => {
                Truth::any(each()).agreeing(Truth::No, Why::Value(&self.key))
            }
            (Some(Set::All), _) => Truth::all(each()),
            (Some(Set::Any), _) => Truth::any(each()),
            (None, [value]) => self.matches(value, facts).negate_if(self.negated),
            // Several values need a set operator. Where no reading of it could hold, it does not.
            (None, _) if self.negated && Truth::all(each()) == Truth::No => Truth::No,
            (None, _) if !self.negated && Truth::any(each()) == Truth::No => Truth::No,
            (None, _) => Truth::Maybe(Why::Values(&self.key)),
        }
    }

    /// Whether a value of the request matches any of the condition's values.
    fn matches<'a>(&'a self, value: &str, facts: &'a Facts<'_>) -> Truth<'a> {
        let wrong_type = Truth::Maybe(Why::Value(&self.key));
        match &self.test {
            Test::Text { values, folded: false } => Truth::any(values.iter().map(|it| it.matches(value, facts))),
            Test::Text { values, folded: true } => Truth::any(values.iter().map(|it| it.matches_folded(value, facts))),
            Test::Number(compare, values) => Decimal::parse(value)
                .map_or(wrong_type, |value| values.iter().any(|it| compare.holds(value.cmp(it))).into()),
            Test::Date(compare, values) => {
                instant(value).map_or(wrong_type, |value| values.iter().any(|it| compare.holds(value.cmp(it))).into())
            }
            Test::Bool(values) => boolean(value).map_or(wrong_type, |value| values.contains(&value).into()),
            Test::Binary(values) if is_base64(value) => values.iter().any(|it| **it == *value).into(),
            Test::Address(values) => {
                value.parse().map_or(wrong_type, |address| values.iter().any(|it| it.contains(address)).into())
            }
            Test::Arn(values) => {
                Truth::any(values.iter().map(|it| it.matches_parts(value, facts).unwrap_or(wrong_type)))
            }
            Test::Binary(_) | Test::Null(_) | Test::Unclear(_) => wrong_type,
        }
    }
}
