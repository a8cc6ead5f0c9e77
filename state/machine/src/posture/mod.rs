//! What a session rests on: facts as AWS tells them, and the evidence they come to.
//!
//! The shell asks and hands over what it was told, each answer a [`Asked`]; [`assess`] decides, three-valued, with the
//! reason in words (I11). Nothing in here knows how the questions are asked.

mod assess;
mod assess_ask;
mod assess_bucket;
mod assess_caller;
mod assess_node;
mod assess_role;
mod depends;
mod facts;
mod log;
mod look;
mod memory;
mod places;
pub mod snapshot;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

pub use assess::{assess, session_type};
pub use depends::rests_on;
pub use facts::Facts;
pub use log::{WRITTEN_EARLY_MS_MAX, combine_logs, judge_object, judge_stream, sessions_of_key};
pub use look::{Look, Pool, Pooled, Pools};
pub use memory::Memory;
pub use places::{Places, object_keys, places};

use crate::ids::{AccountId, EventTime};

/// Why a question was not answered. None of these is an answer about a session (I11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallError {
    /// Too many calls; try later.
    #[error("throttled")]
    Throttled,
    /// The caller may not do this.
    #[error("denied")]
    Denied,
    /// The thing does not exist.
    #[error("gone")]
    Gone,
    /// Anything else: a time-out, a broken answer.
    #[error("no answer")]
    Unknown,
}

impl CallError {
    /// One word, for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
        }
    }
}

/// What came of asking for a fact; shared by all sessions that rest on it.
pub type Asked<T> = Result<Arc<T>, CallError>;

/// The tags of a node, a role or a user, by key.
pub type Tags = BTreeMap<Arc<str>, Arc<str>>;

/// A policy's text, as IAM, Organizations, S3, KMS or EC2 gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyText {
    /// What people call it: an ARN with its version, an inline policy's name, `the bucket's policy`.
    pub name: Arc<str>,
    /// The JSON text, not percent-encoded.
    pub text: Arc<str>,
}

/// Where a node has its role from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleFrom {
    /// The instance profile of this name (R-G4).
    InstanceProfile(Arc<str>),
    /// The hybrid activation (R-G4).
    Activation,
    /// The account's Default Host Management setting (R-W14, TH13).
    DefaultHostManagement,
}

/// Whether a node's agent answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agent {
    /// It does.
    Online,
    /// It does not, since about then, while the machine runs (TH15, TH31).
    Lost(EventTime),
    /// The machine itself does not run.
    Stopped,
}

/// A node: an instance or a hybrid node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Node {
    /// The role's name and where it comes from; `None`: the node has none.
    pub role: Option<(Arc<str>, RoleFrom)>,
    /// The id of the association with the instance profile, which some calls name instead of the instance.
    pub association: Option<Arc<str>>,
    /// Its tags.
    pub tags: Tags,
    /// Whether its agent answers.
    pub agent: Agent,
    /// The network it is in; `None` for a hybrid node.
    pub network: Option<Arc<str>>,
}

/// Whose policies are asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// A role, by its name.
    Role(Arc<str>),
    /// A user, by its name.
    User(Arc<str>),
}

/// A role or user with its policies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Its ARN, path included.
    pub arn: Arc<str>,
    /// Inline policies and the default versions of attached ones, those of groups included.
    pub policies: Vec<PolicyText>,
    /// ARNs of the attached managed policies, for what depends on them.
    pub attached: Vec<Arc<str>>,
    /// The permissions boundary.
    pub boundary: Option<PolicyText>,
    /// Its tags.
    pub tags: Tags,
}

/// What the organisation lays on an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Guards {
    /// The organisation's id; `None` where the account is in none.
    pub organization: Option<Arc<str>>,
    /// Service control policies of each level from the root to the account; empty for the management account, which
    /// none binds.
    pub scps: Vec<Vec<PolicyText>>,
    /// Resource control policies of each level.
    pub rcps: Vec<Vec<PolicyText>>,
}

/// The default version of a Systems Manager document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Document {
    /// The default version's number.
    pub version: Arc<str>,
    /// Its content as JSON.
    pub content: Arc<str>,
}

/// A bucket for logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bucket {
    /// Whose it is.
    pub account: AccountId,
    /// Its policy.
    pub policy: Option<PolicyText>,
    /// Old versions of objects are kept.
    pub versioned: bool,
    /// The ARN of the KMS key that encrypts new objects; `None`: a key of S3's own.
    pub key: Option<Arc<str>>,
    /// Object Lock is on.
    pub locked: bool,
}

/// A KMS key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Its ARN.
    pub arn: Arc<str>,
    /// It is enabled and not to be deleted.
    pub enabled: bool,
    /// Its aliases, `alias/…`, which policies can name instead of the key; `None` where they are not known.
    #[serde(default)]
    pub aliases: Option<Vec<Arc<str>>>,
    /// Its policy.
    pub policy: PolicyText,
}

/// The endpoints of a node's network, by service: `s3`, `kms`, `logs`, `ssmmessages` …. A service without an endpoint is
/// reached by other ways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Network {
    /// The endpoint of each service.
    pub endpoints: BTreeMap<Arc<str>, Endpoint>,
}

/// An endpoint of a network.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id, `vpce-…`.
    pub id: Arc<str>,
    /// Its policy.
    pub policy: PolicyText,
}

/// How a cluster logs ECS Exec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// `NONE`, `DEFAULT` or `OVERRIDE` of `executeCommandConfiguration.logging`; empty where not configured.
    pub logging: Arc<str>,
    /// With `OVERRIDE`: the bucket; empty where none.
    pub bucket: Arc<str>,
    /// With `OVERRIDE`: the log group; empty where none.
    pub log_group: Arc<str>,
}

/// A log object in a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogObject {
    /// In bytes.
    pub size_bytes: u64,
    /// When its latest version was written.
    pub written_at: EventTime,
    /// How many versions there are, deletion markers included.
    pub versions: u32,
    /// The account that wrote it, where that is known.
    pub writer: Option<AccountId>,
}

/// A log stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStream {
    /// When it was created.
    pub created_at: EventTime,
    /// The time of its last event; `None` where it has none.
    pub last_event_at: Option<EventTime>,
}
