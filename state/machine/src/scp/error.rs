use super::{QUOTA_CHARS, ScpName};

/// Why a policy cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScpError {
    /// No policy has this name.
    #[error("{0:?} is no policy; there are {names}", names = ScpName::ALL.map(ScpName::as_str).join(", "))]
    UnknownName(String),
    /// A setting that cannot stand in a policy.
    #[error("{list} has {value:?}, which {problem}")]
    BadSetting {
        /// The setting, by its name in the configuration.
        list: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The first tier of quarantine names whom it holds for.
    #[error("{} needs at least one principal", ScpName::QuarantinePrincipal)]
    NoPrincipal,
    /// A principal whom a policy cannot name, or should not.
    #[error("the principal {given:?} {problem}")]
    BadPrincipal {
        /// The principal.
        given: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Longer than [`QUOTA_CHARS`].
    #[error("{name} has {chars} characters, {over} more than {QUOTA_CHARS}; {list} takes the most of it", over = chars - QUOTA_CHARS)]
    TooLong {
        /// The policy.
        name: ScpName,
        /// How many characters it would have.
        chars: usize,
        /// The list that takes the most of them: a setting by its name in the configuration, or `principals`.
        list: String,
    },
}
