//! What a principal may do: an evaluator of IAM policies with three answers.
//!
//! It decides as AWS documents it in the IAM user guide, from policies and facts that are given to it. What it does not
//! know or does not understand answers [`Answer::Unknown`] wherever that could change the answer, and never
//! [`Answer::Allow`]. The sources of its rules are cited by the titles of AWS's pages.
//!
//! Not evaluated, because no policy shows it: grants of KMS keys, access control lists of S3, S3's blocking of public
//! access, and the network.

mod apart;
mod arn;
mod checks;
mod condition;
mod context;
mod evaluate;
mod json;
mod named;
mod pattern;
mod policy;
mod principal;
mod reason;
mod statement;
#[cfg(test)]
mod tests;
mod truth;
mod values;

use std::{fmt, sync::Arc};

use serde::Serialize;

pub use checks::{ActionCheck, LogTargets, check_actions};
pub use context::Context;
pub use evaluate::{
    CONTEXT_BYTES_MAX, CONTEXT_VALUES_MAX, IDENTITY_POLICIES_MAX, IDENTITY_POLICY_CHARS_MAX, LEVELS_MAX,
    RESOURCE_POLICY_CHARS_MAX, TEXT_BYTES_MAX, evaluate,
};
pub use policy::{POLICY_BYTES_MAX, Policy};
pub use principal::{BadPrincipal, Principal};
pub use reason::REASON_BYTES_MAX;

use crate::ids::AccountId;

/// Whether a request would be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// All that must allow it does, and nothing denies it.
    Allow,
    /// Something denies it, or nothing allows it.
    Deny,
    /// It depends on something that is not known or not understood.
    Unknown,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Unknown => "unknown",
        })
    }
}

/// An answer with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub answer: Answer,
    /// Whether a Deny statement denies it. An implicit deny, where nothing allows, is not explicit.
    pub explicit: bool,
    /// Which statement of which policy decided, or which policies have none; one sentence without a full stop. Policies,
    /// statements and levels are numbered from 1. At most [`REASON_BYTES_MAX`] bytes; a longer one is cut and ends in `…`.
    pub reason: String,
}

/// Who asks, and all policies that bound it.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// Who it is.
    pub principal: Principal,
    /// Inline policies and the default versions of managed ones, those of groups included.
    pub identity: Vec<Arc<Policy>>,
    /// The permissions boundary.
    pub boundary: Option<Arc<Policy>>,
    /// Policies given when the session began.
    pub session: Vec<Arc<Policy>>,
    /// The service control policies of each level from the root down to the account. No level: none apply, as in the
    /// management account. A level without a policy allows nothing.
    pub scps: Vec<Vec<Arc<Policy>>>,
}

impl Caller {
    /// A caller without any policy.
    pub fn new(principal: Principal) -> Self {
        Self { principal, identity: Vec::new(), boundary: None, session: Vec::new(), scps: Vec::new() }
    }
}

/// What is asked for, and all policies that guard it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// The resource's ARN; `*` for actions that know no resource. Read literally.
    pub resource: String,
    /// The account that owns it. `None`: the one in the ARN, else the caller's, as the simulator of AWS assumes
    /// ("`SimulatePrincipalPolicy`", `ResourceOwner`).
    pub account: Option<AccountId>,
    /// The policy of the bucket, key or other resource.
    pub policy: Option<Arc<Policy>>,
    /// The resource control policies of each level of the owner's organisation.
    pub rcps: Vec<Vec<Arc<Policy>>>,
    /// The policy of the VPC endpoint that the request passes through.
    pub endpoint: Option<Arc<Policy>>,
}

impl Target {
    /// A resource without any policy.
    pub fn new(resource: impl Into<String>) -> Self {
        Self { resource: resource.into(), ..Self::default() }
    }

    /// Whose it is. `Err` if the ARN names another account than is given.
    fn owner(&self, principal: &Principal) -> Result<Option<AccountId>, &'static str> {
        let named = arn::split(&self.resource).and_then(|parts| parts[3].parse::<AccountId>().ok());
        match (self.account, named) {
            (Some(given), Some(named)) if given != named => {
                Err("the resource's ARN names another account than its owner")
            }
            (given, named) => Ok(given.or(named).or(principal.account())),
        }
    }
}

/// A question: may `caller` do `action` with `target`?
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Service and name, such as `s3:PutObject`; case does not matter.
    pub action: &'a str,
    /// Who asks.
    pub caller: &'a Caller,
    /// For what.
    pub target: &'a Target,
    /// What is known about the request beside.
    pub context: &'a Context,
}
