//! The settings of the policies: who is spared, what is guarded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::{Guarded, ScpError, arns};

/// What the policies are rendered from. Names may hold `*` for any characters and `?` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScpSettings {
    /// The partition in all ARNs. Default `aws`.
    pub partition: Arc<str>,
    /// Roles for emergencies, by name, with the path before it where they have one. No policy holds for them. Default:
    /// none.
    ///
    /// A `*` in a role's name reaches over `/`: `guard-*` also spares `guard-x/other`. What is spared nobody else may
    /// create or re-trust, by the same patterns, while the policy is in force; a name without `*` spares no more.
    pub break_glass_roles: BTreeSet<Arc<str>>,
    /// Roles of those who respond to incidents; as above. Default: none.
    pub responder_roles: BTreeSet<Arc<str>>,
    /// Sessionwarden's own roles; as above. Default: `sessionwarden`.
    pub own_roles: BTreeSet<Arc<str>>,
    /// Roles that deploy the guardrail: spared where the guardrail and its documents are protected, never in
    /// quarantine (R-W31). Default: `sessionwarden-deployer`.
    pub deployer_roles: BTreeSet<Arc<str>>,
    /// Names of the documents that sessions may use. Default: `SSM-SessionManagerRunShell`.
    pub session_documents: BTreeSet<Arc<str>>,
    /// What the guardrail consists of, by kind. Default: `sessionwarden*` for every kind but keys.
    pub names: BTreeMap<Guarded, BTreeSet<Arc<str>>>,
}

impl Default for ScpSettings {
    fn default() -> Self {
        let one = |name: &str| BTreeSet::from([Arc::from(name)]);
        let kinds = Guarded::ALL.into_iter().filter(|kind| *kind != Guarded::Key);
        Self {
            partition: "aws".into(),
            break_glass_roles: BTreeSet::new(),
            responder_roles: BTreeSet::new(),
            own_roles: one("sessionwarden"),
            deployer_roles: one("sessionwarden-deployer"),
            session_documents: one("SSM-SessionManagerRunShell"),
            names: kinds.map(|kind| (kind, one("sessionwarden*"))).collect(),
        }
    }
}

/// A list of the settings, named as in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    BreakGlass,
    Responders,
    Own,
    Deployers,
    Documents,
    Names(Guarded),
}

impl List {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let groups = [Self::BreakGlass, Self::Responders, Self::Own, Self::Deployers, Self::Documents];
        groups.into_iter().chain(Guarded::ALL.into_iter().map(Self::Names))
    }

    fn problem(self, value: &str) -> Option<&'static str> {
        match self {
            Self::BreakGlass | Self::Responders | Self::Own | Self::Deployers => role_problem(value),
            Self::Documents => document_problem(value),
            Self::Names(_) => name_problem(value),
        }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BreakGlass => f.write_str("break_glass_roles"),
            Self::Responders => f.write_str("responder_roles"),
            Self::Own => f.write_str("own_roles"),
            Self::Deployers => f.write_str("deployer_roles"),
            Self::Documents => f.write_str("session_documents"),
            Self::Names(kind) => write!(f, "names.{kind}"),
        }
    }
}

impl ScpSettings {
    pub(super) fn check(&self) -> Result<(), ScpError> {
        if let Some(problem) = partition_problem(&self.partition) {
            let (list, value) = ("partition".to_owned(), self.partition.to_string());
            return Err(ScpError::BadSetting { list, value, problem });
        }
        if self.session_documents.is_empty() {
            let list = List::Documents.to_string();
            return Err(ScpError::BadSetting { list, value: String::new(), problem: "would forbid every session" });
        }
        for list in List::all() {
            for value in self.list(list) {
                if let Some(problem) = list.problem(value) {
                    return Err(ScpError::BadSetting { list: list.to_string(), value: value.to_string(), problem });
                }
            }
        }
        Ok(())
    }

    fn list(&self, list: List) -> impl Iterator<Item = &Arc<str>> {
        match list {
            List::BreakGlass => Some(&self.break_glass_roles),
            List::Responders => Some(&self.responder_roles),
            List::Own => Some(&self.own_roles),
            List::Deployers => Some(&self.deployer_roles),
            List::Documents => Some(&self.session_documents),
            List::Names(kind) => self.names.get(&kind),
        }
        .into_iter()
        .flatten()
    }

    /// The same settings with one list empty.
    pub(super) fn without(&self, list: List) -> Self {
        let mut other = self.clone();
        match list {
            List::BreakGlass => other.break_glass_roles.clear(),
            List::Responders => other.responder_roles.clear(),
            List::Own => other.own_roles.clear(),
            List::Deployers => other.deployer_roles.clear(),
            List::Documents => other.session_documents.clear(),
            List::Names(kind) => drop(other.names.remove(&kind)),
        }
        other
    }

    /// The names of a kind of things.
    pub(super) fn names_of(&self, kind: Guarded) -> impl Iterator<Item = &Arc<str>> {
        self.list(List::Names(kind))
    }

    /// The ARNs of the roles that every policy spares.
    pub(super) fn spared(&self) -> BTreeSet<String> {
        let groups = [&self.break_glass_roles, &self.responder_roles, &self.own_roles];
        groups.into_iter().flatten().map(|role| arns::role(&self.partition, role)).collect()
    }

    /// Those and the deployer's.
    pub(super) fn spared_or_deployer(&self) -> BTreeSet<String> {
        let deployers = self.deployer_roles.iter().map(|role| arns::role(&self.partition, role));
        self.spared().into_iter().chain(deployers).collect()
    }
}

/// What is wrong with a partition ("Identify AWS resources with Amazon Resource Names").
pub fn partition_problem(text: &str) -> Option<&'static str> {
    let fits = text == "aws" || text.strip_prefix("aws-").is_some_and(|rest| !rest.is_empty());
    let plain = text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (!fits || !plain).then_some("is no partition such as aws, aws-cn or aws-us-gov")
}

/// What is wrong with the name of a spared role: an exemption has to say whom it means ("IAM and AWS STS quotas" for the
/// characters).
pub fn role_problem(text: &str) -> Option<&'static str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-/*?".contains(&byte);
    if text.is_empty() || text.len() > 576 || !text.bytes().all(fits) {
        return Some("is no role's name; write the path and the name without ARN");
    }
    if text.starts_with('/') || text.ends_with('/') || text.contains("//") {
        return Some("has a slash too many; write the path and the name like guard/sessionwarden");
    }
    if text.starts_with(['*', '?']) {
        return Some("begins with a wildcard and would spare roles of any name");
    }
    None
}

/// What is wrong with the name of a part of the guardrail.
pub fn name_problem(text: &str) -> Option<&'static str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-/#*?".contains(&byte);
    if text.is_empty() || text.len() > 576 || !text.bytes().all(fits) {
        return Some("is no name; write the name alone, without ARN");
    }
    if text.bytes().filter(u8::is_ascii_alphanumeric).count() < 3 {
        return Some("has fewer than three letters or digits, and would take in what is not the guardrail's");
    }
    None
}

/// What is wrong with the name of an allowed document ("`CreateDocument`").
pub fn document_problem(text: &str) -> Option<&'static str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-*?".contains(&byte);
    if !(3..=128).contains(&text.len()) || !text.bytes().all(fits) {
        return Some("is no document's name; write the name alone, without ARN");
    }
    if text.starts_with(['*', '?']) {
        return Some("begins with a wildcard and would allow documents of any name");
    }
    None
}
