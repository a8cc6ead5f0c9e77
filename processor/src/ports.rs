//! What Sessionwarden asks of an organisation, and does to it. No type of any SDK passes through here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sessionwarden_machine::{
    ids::{AccountId, SessionKey},
    session::{Described, Life, LogLook},
};

/// Why a call was not answered. None of these is an answer (I11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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

/// Session Manager.
pub trait Sessions: Send + Sync {
    /// Says of each session of one account and region whether it is alive, in one chain of calls for all of them.
    fn describe(
        &self,
        account: AccountId,
        region: &str,
        sessions: &BTreeSet<SessionKey>,
    ) -> impl Future<Output = Result<BTreeMap<SessionKey, Life>, CallError>> + Send;

    /// All sessions of one account and region that are alive.
    fn active(
        &self,
        account: AccountId,
        region: &str,
    ) -> impl Future<Output = Result<Vec<(SessionKey, Described)>, CallError>> + Send;

    /// Ends a session. Ending one that has ended is no error.
    fn terminate(&self, session: &SessionKey) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// What the role behind a node allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePosture {
    /// The role's name, where there is one.
    pub role: Option<Arc<str>>,
    /// Whether it may write the session's log; `None` where that cannot be said.
    pub log_writable: Option<bool>,
}

/// Nodes, roles and documents.
pub trait Posture: Send + Sync {
    /// What the role behind a node allows.
    fn node(
        &self,
        account: AccountId,
        region: &str,
        node: &str,
    ) -> impl Future<Output = Result<NodePosture, CallError>> + Send;

    /// Whether the default version of the preferences document is the wanted one; `None` where that cannot be said.
    fn preferences_as_wanted(
        &self,
        account: AccountId,
        region: &str,
    ) -> impl Future<Output = Result<Option<bool>, CallError>> + Send;
}

/// Session logs.
pub trait Logs: Send + Sync {
    /// Whether a session's log is there.
    fn look(&self, session: &SessionKey) -> impl Future<Output = Result<LogLook, CallError>> + Send;
}

/// The organisation as a whole.
pub trait Organization: Send + Sync {
    /// Its accounts, and the regions in which sessions can run.
    fn places(&self) -> impl Future<Output = Result<(Vec<AccountId>, Vec<Arc<str>>), CallError>> + Send;

    /// Locks an account. Locking a locked one is no error.
    fn lock(&self, account: AccountId) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Unlocks an account. Unlocking one that is not locked is no error.
    fn unlock(&self, account: AccountId) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// Everything that can be asked and done.
pub trait Hands: Sessions + Posture + Logs + Organization {}

impl<T: Sessions + Posture + Logs + Organization> Hands for T {}
