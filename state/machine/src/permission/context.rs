//! What is known about a request: its context keys.

use std::collections::{BTreeMap, BTreeSet};

use super::principal::Principal;
use crate::ids::AccountId;

/// The context keys that are given with a request.
///
/// A key is known with its values, known to be absent, or not known at all. An empty list of values counts as absent.
/// Names ignore case ("IAM JSON policy elements: Condition").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    values_by_key: BTreeMap<String, Option<Vec<String>>>,
    /// Keys with a `*` or `?` in a value; noted once, because one value may stand in thousands of patterns.
    wild_keys: BTreeSet<String>,
}

impl Context {
    /// A context of which nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key that is present with these values. Returns whether it was set before.
    pub fn set(&mut self, key: &str, values: impl IntoIterator<Item = impl Into<String>>) -> bool {
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        let key = key.to_lowercase();
        if values.iter().any(|value| value.contains(['*', '?'])) {
            self.wild_keys.insert(key.clone());
        } else {
            self.wild_keys.remove(&key);
        }
        let values = (!values.is_empty()).then_some(values);
        self.values_by_key.insert(key, values).is_some()
    }

    /// Sets a key that is known to be absent. Returns whether it was set before.
    pub fn set_absent(&mut self, key: &str) -> bool {
        self.set(key, [""; 0])
    }

    /// The same context with one more key.
    #[must_use]
    pub fn with(mut self, key: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.set(key, values);
        self
    }

    /// The same context with one more key that is known to be absent.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.set_absent(key);
        self
    }

    /// How many bytes the longest value has.
    pub(super) fn value_bytes_max(&self) -> usize {
        self.values_by_key.values().flatten().flatten().map(String::len).max().unwrap_or(0)
    }

    /// How many values there are in all, and how many bytes they have together.
    pub(super) fn size(&self) -> (usize, usize) {
        let values = self.values_by_key.values().flatten().flatten();
        values.fold((0, 0), |(count, bytes), value| (count + 1, bytes + value.len()))
    }
}

/// What is known of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup<'a> {
    /// At least one value.
    Values(&'a [String]),
    Absent,
    Unknown,
}

/// The context together with the keys that follow from the request itself. What is given goes before what follows.
///
/// Source: "AWS global condition context keys" for `aws:ResourceAccount` and those of the principal; "Actions,
/// resources, and condition keys" of S3 and KMS for `s3:ResourceAccount` and `kms:CallerAccount`.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    context: &'a Context,
    principal: &'a Principal,
    /// The action's service, in lower case.
    service: &'a str,
    resource_account: Option<[String; 1]>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(
        context: &'a Context,
        principal: &'a Principal,
        service: &'a str,
        resource_account: Option<AccountId>,
    ) -> Self {
        let resource_account = resource_account.map(|account| [account.to_string()]);
        Self { context, principal, service, resource_account }
    }

    /// Looks up a key given in lower case.
    pub(super) fn look_up(&self, key: &str) -> Lookup<'_> {
        match self.context.values_by_key.get(key) {
            Some(Some(values)) => return Lookup::Values(values),
            Some(None) => return Lookup::Absent,
            None => {}
        }
        match key.split_once(':') {
            Some(("aws", "resourceaccount")) => self.resource_account(),
            Some(("aws", _)) => self.principal.derived(key),
            Some(("s3", "resourceaccount")) if self.service == "s3" => self.resource_account(),
            Some(("kms", "calleraccount")) if self.service == "kms" => self.principal.derived("aws:principalaccount"),
            _ => Lookup::Unknown,
        }
    }

    /// Whether a value of a key, given in lower case, holds a wildcard. What follows from the request never does.
    pub(super) fn is_wild(&self, key: &str) -> bool {
        self.context.wild_keys.contains(key)
    }

    fn resource_account(&self) -> Lookup<'_> {
        self.resource_account.as_ref().map_or(Lookup::Unknown, |account| Lookup::Values(account))
    }
}
