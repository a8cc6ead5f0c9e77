//! Statements. A service control policy has no Principal; a Deny may have `NotResource` and a Condition ("SCP syntax",
//! Organizations guide). A Sid has letters and digits only.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::arns::PRINCIPAL_ARN;

/// A Deny under construction.
pub(super) struct Deny {
    members: Map<String, Value>,
    conditions: Map<String, Value>,
}

impl Deny {
    /// Denies these actions for all resources.
    pub(super) fn new<'a>(sid: &str, actions: impl IntoIterator<Item = &'a str>) -> Self {
        let actions: BTreeSet<&str> = actions.into_iter().collect();
        let mut members = Map::new();
        members.insert("Sid".to_owned(), sid.into());
        members.insert("Effect".to_owned(), "Deny".into());
        members.insert("Action".to_owned(), list(actions));
        members.insert("Resource".to_owned(), "*".into());
        Self { members, conditions: Map::new() }
    }

    /// For these resources only.
    pub(super) fn on(mut self, resources: impl IntoIterator<Item = String>) -> Self {
        self.members.insert("Resource".to_owned(), list(resources.into_iter().collect::<BTreeSet<_>>()));
        self
    }

    /// For all resources but these.
    pub(super) fn not_on(mut self, resources: impl IntoIterator<Item = String>) -> Self {
        self.members.remove("Resource");
        self.members.insert("NotResource".to_owned(), list(resources.into_iter().collect::<BTreeSet<_>>()));
        self
    }

    /// Only where this holds too.
    pub(super) fn when(mut self, operator: &str, key: &str, values: impl IntoIterator<Item = String>) -> Self {
        let values = list(values.into_iter().collect::<BTreeSet<_>>());
        let keys = self.conditions.entry(operator).or_insert_with(|| json!({}));
        keys[key] = values;
        self
    }

    /// For these callers only; no caller: for all.
    pub(super) fn only(self, callers: &BTreeSet<String>) -> Self {
        if callers.is_empty() { self } else { self.when("ArnLike", PRINCIPAL_ARN, callers.iter().cloned()) }
    }

    /// For all callers but these. `ArnNotLike` holds where none of its values matches, and where there is no such key
    /// ("IAM JSON policy elements: Condition operators").
    pub(super) fn except(self, callers: &BTreeSet<String>) -> Self {
        if callers.is_empty() { self } else { self.when("ArnNotLike", PRINCIPAL_ARN, callers.iter().cloned()) }
    }

    pub(super) fn build(mut self) -> Value {
        if !self.conditions.is_empty() {
            self.members.insert("Condition".to_owned(), Value::Object(self.conditions));
        }
        Value::Object(self.members)
    }
}

/// One value stands for a list of it, which saves characters.
fn list<T: Into<Value>>(values: BTreeSet<T>) -> Value {
    let mut values: Vec<Value> = values.into_iter().map(Into::into).collect();
    match values.pop() {
        Some(only) if values.is_empty() => only,
        last => {
            values.extend(last);
            Value::Array(values)
        }
    }
}
