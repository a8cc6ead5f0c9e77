//! What the guardrail's own things are to be like, and how they differ from that.
//!
//! A thing's state is a value for each of its parts, as AWS shows it. What a part is to be is known of itself (a key is
//! enabled, a trail runs), follows from the configuration (the preferences), or stands in a file that somebody has taken
//! and looked at ([`Wanted`]). A part of which nothing is wanted is left alone.

mod file;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

pub use self::file::{PLACES, Wanted, WantedError, WantedThing};
use crate::incident::Restore;

/// A thing's state: its parts by name. A part that is not there is `null`.
pub type State = BTreeMap<Arc<str>, Value>;

/// One part of a thing's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its name, as files and reports write it.
    pub name: &'static str,
    /// What it is to be where nobody says anything else.
    pub always: Option<Value>,
    /// The wanted entries are to be among those that are there; more do no harm.
    pub at_least: bool,
}

fn part(name: &'static str) -> Part {
    Part { name, always: None, at_least: false }
}

fn always(name: &'static str, value: impl Into<Value>) -> Part {
    Part { always: Some(value.into()), ..part(name) }
}

fn at_least(name: &'static str) -> Part {
    Part { at_least: true, ..part(name) }
}

impl Restore {
    /// The parts of such a thing, in the order in which they are put back.
    pub fn parts(self) -> Vec<Part> {
        match self {
            Self::Key => vec![always("enabled", true), part("policy"), at_least("grants")],
            Self::Bucket => {
                let parts = ["versioning", "encryption", "object-lock", "lifecycle", "policy"];
                parts.into_iter().map(part).collect()
            }
            Self::Rule => vec![part("rule"), part("targets"), always("state", "ENABLED")],
            Self::Trail => vec![part("trail"), part("selectors"), always("logging", true)],
            Self::SerialConsole => vec![always("access", false)],
            Self::Role => vec![part("path"), part("trust"), part("boundary"), part("inline"), part("attached")],
            Self::Policy => vec![part("document")],
            Self::Document => vec![part("content"), part("shared")],
            Self::HostManagement => vec![part("role")],
            Self::Stream => vec![part("retention-hours")],
            Self::Topic => vec![part("attributes")],
            Self::Alarm => vec![always("actions", true)],
            Self::OrganizationPolicy => vec![part("content"), at_least("targets")],
        }
    }

    /// What such a thing is to be like, as far as that is known of itself.
    pub fn always(self) -> State {
        self.parts().into_iter().filter_map(|part| Some((Arc::from(part.name), part.always?))).collect()
    }
}

/// The parts that are not as wanted, in the order in which they are put back.
pub fn differences(kind: Restore, wanted: &State, have: &State) -> Vec<Arc<str>> {
    let differs = |part: &Part| {
        let have = have.get(part.name).unwrap_or(&Value::Null);
        wanted
            .get(part.name)
            .is_some_and(|wanted| if part.at_least { !missing(wanted, have).is_empty() } else { !same(wanted, have) })
    };
    kind.parts().into_iter().filter(differs).map(|part| Arc::from(part.name)).collect()
}

/// The entries of a wanted list that are not there.
pub fn missing<'a>(wanted: &'a Value, have: &Value) -> Vec<&'a Value> {
    let entries = |list: &'a Value| list.as_array().map(Vec::as_slice).unwrap_or_default();
    let there = have.as_array().map(Vec::as_slice).unwrap_or_default();
    entries(wanted).iter().filter(|wanted| !there.iter().any(|have| same(wanted, have))).collect()
}

/// Whether two values say the same: AWS returns lists of a policy in any order, and a list of one as that one. What is
/// empty is not there.
pub fn same(one: &Value, other: &Value) -> bool {
    canonical(one) == canonical(other)
}

fn canonical(value: &Value) -> Value {
    match value {
        Value::Array(entries) => {
            let mut entries: Vec<Value> = entries.iter().map(canonical).collect();
            entries.sort_by_cached_key(Value::to_string);
            entries.dedup();
            match entries.len() {
                0 => Value::Null,
                1 => entries.remove(0),
                _ => Value::Array(entries),
            }
        }
        Value::Object(members) if members.is_empty() => Value::Null,
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), canonical(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
