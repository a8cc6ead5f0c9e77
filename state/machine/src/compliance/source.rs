//! Policy texts, and those that ship with the product.

/// The Cedar schema that policies are checked against.
pub const SCHEMA: &str = include_str!("../../../../infra/policies/sessionwarden.cedarschema");

/// What a policy file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyRole {
    /// `forbid` policies.
    Controls,
    /// `permit` policies.
    Waivers,
}

/// One policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySource {
    /// Its name, for messages.
    pub file: String,
    /// Its text.
    pub text: String,
    /// What it holds.
    pub role: PolicyRole,
}

macro_rules! shipped {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../../../infra/policies/controls/", $name)))),+]
    };
}

const SHIPPED: [(&str, &str); 8] = shipped![
    "access.cedar",
    "callers.cedar",
    "containers.cedar",
    "documents.cedar",
    "logging.cedar",
    "nodes.cedar",
    "other-ways.cedar",
    "tampering.cedar",
];

/// The controls that ship with the product; no waivers.
pub fn shipped_sources() -> Vec<PolicySource> {
    SHIPPED
        .iter()
        .map(|(name, text)| PolicySource {
            file: format!("controls/{name}"),
            text: (*text).to_owned(),
            role: PolicyRole::Controls,
        })
        .collect()
}
