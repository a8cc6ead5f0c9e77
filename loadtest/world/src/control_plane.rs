//! What the control plane answers when asked about accounts, roles, documents and quarantine. Nothing in here emits events.

use std::sync::Arc;

use sessionwarden_machine::ids::{AccountId, EventId};

use crate::{
    organisation::{Account, LOG_POLICY},
    world::{CallError, World},
};

/// The wanted content of the preferences document, in canonical form.
pub const WANTED_PREFERENCES: &str = r#"{"description":"Session Manager preferences","inputs":{"cloudWatchEncryptionEnabled":true,"cloudWatchLogGroupName":"/sessions","cloudWatchStreamingEnabled":true,"idleSessionTimeout":"20","kmsKeyId":"alias/sessions","maxSessionDuration":"60","runAsEnabled":false,"s3BucketName":"session-logs","s3EncryptionEnabled":true},"schemaVersion":"1.0","sessionType":"Standard_Stream"}"#;
const CHANGED_PREFERENCES: &str = r#"{"description":"Session Manager preferences","inputs":{"idleSessionTimeout":"60","runAsEnabled":false,"s3BucketName":""},"schemaVersion":"1.0","sessionType":"Standard_Stream"}"#;

/// What the node's role lets it do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePosture {
    /// The name of the role behind the node; `None` for a node that is not known.
    pub role: Option<Arc<str>>,
    /// Whether the node can write a session's log; `None` where that cannot be known.
    pub log_writable: Option<bool>,
    /// Why, in words a person understands.
    pub log_writable_why: String,
}

impl World {
    /// Every account, the management account and the log archive first.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// One account; `None` for one of somebody else's.
    pub fn account(&self, account: AccountId) -> Option<&Account> {
        self.indexes_by_account.get(&account).and_then(|at| self.accounts.get(*at))
    }

    /// The regions in use.
    pub fn regions(&self) -> &[Arc<str>] {
        &self.shape.regions
    }

    /// The role behind a node, and whether it can write logs.
    pub fn node_posture(&self, account: AccountId, region: &str, node: &str) -> NodePosture {
        let name = self.account(account).and_then(|account| account.node(region, node)).map(|node| &node.role);
        let role = name.and_then(|name| self.roles_by_account.get(&account)?.get(name));
        let (log_writable, why) = match (name, role) {
            (Some(name), Some(role)) => match role.denying.first() {
                Some(policy) => (Some(false), format!("inline policy {policy} of role {name} denies writing the log")),
                None if !role.attached.contains(LOG_POLICY) => {
                    (Some(false), format!("policy {LOG_POLICY} is not attached to role {name}"))
                }
                None => (Some(true), format!("policy {LOG_POLICY} is attached to role {name}")),
            },
            _ => (None, format!("node {node} is not known in {region}")),
        };
        NodePosture { role: name.cloned(), log_writable, log_writable_why: why }
    }

    /// Whether the preferences document has the wanted content; `None` for an unknown account or a region not in use.
    pub fn preferences_as_wanted(&self, account: AccountId, region: &str) -> Option<bool> {
        self.preferences(account, region).map(|content| content == WANTED_PREFERENCES)
    }

    /// The hash of the preferences document's canonical content, 128 bits as a UUID is written; `None` as above.
    pub fn preferences_hash(&self, account: AccountId, region: &str) -> Option<String> {
        self.preferences(account, region).map(|content| EventId::of_content(content.as_bytes()).to_string())
    }

    /// Attaches the quarantine policy. It bites after the shape's delay, ends no session that runs, and never binds
    /// the management account. Attaching it again succeeds and keeps the first time.
    ///
    /// # Errors
    /// [`CallError::Gone`] for an unknown account.
    pub fn attach_quarantine(&mut self, account: AccountId) -> Result<(), CallError> {
        if self.account(account).is_none() {
            return Err(CallError::Gone);
        }
        let now = self.now;
        self.quarantined_since.entry(account).or_insert(now);
        Ok(())
    }

    /// Detaches the quarantine policy at once. Detaching it again succeeds.
    ///
    /// # Errors
    /// [`CallError::Gone`] for an unknown account.
    pub fn detach_quarantine(&mut self, account: AccountId) -> Result<(), CallError> {
        if self.account(account).is_none() {
            return Err(CallError::Gone);
        }
        self.quarantined_since.remove(&account);
        Ok(())
    }

    /// Accounts with the quarantine policy attached, whether it bites already or not.
    pub fn quarantined(&self) -> Vec<AccountId> {
        self.quarantined_since.keys().copied().collect()
    }

    pub(crate) fn quarantine_bites(&self, account: AccountId) -> bool {
        let bound = self.account(account).is_some_and(|account| !account.management);
        let since = self.quarantined_since.get(&account);
        bound && since.is_some_and(|since| since.plus_ms(self.shape.quarantine_delay_ms) <= self.now)
    }

    fn preferences(&self, account: AccountId, region: &str) -> Option<&'static str> {
        let known = self.account(account).is_some() && self.shape.regions.iter().any(|here| &**here == region);
        let changed = self.changed_preferences.contains(&(account, Arc::from(region)));
        known.then_some(if changed { CHANGED_PREFERENCES } else { WANTED_PREFERENCES })
    }
}
