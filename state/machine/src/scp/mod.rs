//! Service control policies: what locks an account, what protects the guardrail, what narrows sessions.
//!
//! A policy is rendered from plain settings, always to the same text, so that its hash says whether what is attached is
//! what was meant. Everything in it is a Deny: a service control policy grants nothing, and the `FullAWSAccess` beside
//! it stays ("Service control policies (SCPs)", Organizations guide).
//!
//! What no such policy does: end a session that runs, bind the management account, or bind a service-linked role (the
//! same guide; W29). Whoever locks an account has to end its sessions besides.

mod arns;
mod documents;
mod error;
mod guarded;
mod protection;
mod quarantine;
mod settings;
mod statement;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use error::ScpError;
pub use guarded::Guarded;
pub use settings::{ScpSettings, document_problem, name_problem, partition_problem, role_problem};

use crate::document::canonical_text;
use settings::List;

/// How many characters a rendered policy may have. Organizations allows 10,240 since 2026; the quota of before is kept,
/// so that a policy is also accepted where the new one does not hold yet.
pub const QUOTA_CHARS: usize = 5_120;

/// The document that the policies of quarantine forbid everybody to read, the exempt roles included. It need not exist:
/// whoever asks for it learns by `AccessDenied` that the policy is in force, and by `InvalidDocument` that it is not.
pub const PROBE_DOCUMENT: &str = "sessionwarden-probe";

/// The policies there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScpName {
    /// Tier 1 of quarantine: what tier 2 denies, for the given principals only.
    QuarantinePrincipal,
    /// Tier 2: no way into a session, for a whole account.
    QuarantineAccess,
    /// Tier 3: tier 2, and the agents' channels are cut.
    QuarantineChannel,
    /// Nobody but its own roles and its deployer touches the guardrail.
    Protection,
    /// Sessions use the allowed documents only, and nobody writes session documents.
    Documents,
    /// No session without a check of the caller's permission for its document.
    DocumentCheck,
}

impl ScpName {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 6] = [
        Self::QuarantinePrincipal,
        Self::QuarantineAccess,
        Self::QuarantineChannel,
        Self::Protection,
        Self::Documents,
        Self::DocumentCheck,
    ];

    /// The name as commands and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QuarantinePrincipal => "quarantine-principal",
            Self::QuarantineAccess => "quarantine-access",
            Self::QuarantineChannel => "quarantine-channel",
            Self::Protection => "protection",
            Self::Documents => "documents",
            Self::DocumentCheck => "document-check",
        }
    }

    /// What it is for, in a few words.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::QuarantinePrincipal => "quarantine, tier 1: given principals get no session",
            Self::QuarantineAccess => "quarantine, tier 2: nobody in the account gets a session",
            Self::QuarantineChannel => "quarantine, tier 3: tier 2, and agents are cut off",
            Self::Protection => "permanent: nobody touches the guardrail",
            Self::Documents => "permanent: sessions use the allowed documents only",
            Self::DocumentCheck => "permanent: no session without the check of its document",
        }
    }

    /// Whether it names the principals that it holds for.
    pub fn names_principals(self) -> bool {
        self == Self::QuarantinePrincipal
    }
}

impl fmt::Display for ScpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ScpName {
    type Err = ScpError;

    fn from_str(text: &str) -> Result<Self, ScpError> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| ScpError::UnknownName(text.to_owned()))
    }
}

/// A rendered policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scp {
    /// Which it is.
    pub name: ScpName,
    /// JSON without white space, in ASCII.
    pub text: String,
    /// The SHA-256 of the text, as 64 hexadecimal digits.
    pub hash: String,
    /// How many characters the text has, at most [`QUOTA_CHARS`].
    pub chars: usize,
}

/// Renders a policy. The same settings always give the same text.
///
/// `principals` are ARNs of users, roles or sessions of roles; only [`ScpName::QuarantinePrincipal`] looks at them.
///
/// # Errors
/// A setting that cannot stand in a policy; no principal, or one that cannot be named; a text of more than
/// [`QUOTA_CHARS`].
pub fn render(name: ScpName, settings: &ScpSettings, principals: &BTreeSet<Arc<str>>) -> Result<Scp, ScpError> {
    settings.check()?;
    let patterns = if name.names_principals() {
        let patterns = arns::principals(&settings.partition, principals)?;
        if patterns.is_empty() {
            return Err(ScpError::NoPrincipal);
        }
        patterns
    } else {
        BTreeSet::new()
    };
    let text = text(name, settings, &patterns);
    let chars = text.chars().count();
    if chars > QUOTA_CHARS {
        let list = longest_list(name, settings, &patterns, chars);
        return Err(ScpError::TooLong { name, chars, list });
    }
    let digest = Sha256::digest(text.as_bytes());
    let hash = digest.iter().fold(String::with_capacity(64), |hash, byte| hash + &format!("{byte:02x}"));
    Ok(Scp { name, text, hash, chars })
}

fn text(name: ScpName, settings: &ScpSettings, principals: &BTreeSet<String>) -> String {
    let statements: Vec<Value> = match name {
        ScpName::QuarantinePrincipal | ScpName::QuarantineAccess => quarantine::access(settings, principals),
        ScpName::QuarantineChannel => quarantine::channel(settings),
        ScpName::Protection => protection::statements(settings),
        ScpName::Documents => documents::only_allowed(settings),
        ScpName::DocumentCheck => documents::checked(settings),
    };
    canonical_text(&json!({ "Version": "2012-10-17", "Statement": statements }))
}

/// The list without which the text would be shortest.
fn longest_list(name: ScpName, settings: &ScpSettings, principals: &BTreeSet<String>, chars: usize) -> String {
    let without_principals = chars.saturating_sub(text(name, settings, &BTreeSet::new()).len());
    let lists = List::all().map(|list| {
        let shorter = text(name, &settings.without(list), principals).len();
        (chars.saturating_sub(shorter), list.to_string())
    });
    let all = std::iter::once((without_principals, "principals".to_owned())).chain(lists);
    // The first of equals, so that the answer is the same each time.
    all.fold((0, String::new()), |most, one| if one.0 > most.0 { one } else { most }).1
}
