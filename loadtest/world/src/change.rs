//! What people change around sessions, and the other ways onto a node.

use std::sync::Arc;

use sessionwarden_machine::ids::AccountId;

use crate::{
    background, catalogue,
    cloudtrail::Caller,
    organisation::{DENY_POLICY, LOG_POLICY},
    template::{Scene, Template},
    world::{Call, CallError, World},
};

/// A call that changes what sessions depend on, or opens another way onto a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `iam:DetachRolePolicy` of the mandatory log policy from the role of this name.
    DetachLogPolicy(Arc<str>),
    /// `iam:AttachRolePolicy` of the mandatory log policy to the role of this name.
    AttachLogPolicy(Arc<str>),
    /// `iam:PutRolePolicy` of an inline policy that denies this role to write logs.
    PutInlineDeny(Arc<str>),
    /// `iam:DeleteRolePolicy` of that inline policy.
    DeleteInlineDeny(Arc<str>),
    /// `ssm:UpdateDocument` of the preferences: logging is switched off.
    ChangePreferences,
    /// `ssm:UpdateDocument` of the preferences: the wanted content is back.
    RestorePreferences,
    /// `ec2-instance-connect:SendSSHPublicKey` to this node.
    SendSshPublicKey(Arc<str>),
    /// `ssm:SendCommand` with a shell document to this node.
    SendCommand(Arc<str>),
    /// `events:DisableRule` of the rule that brings the events. The model goes on delivering: a second rule brings them too.
    DisableRule,
    /// `cloudtrail:StopLogging` of the account's trail. The model goes on delivering: a second trail records them too.
    StopTrail,
}

impl World {
    /// Makes the change in the caller's account and emits its event. Changing what is already so succeeds, as in AWS.
    ///
    /// # Errors
    /// [`CallError::Denied`] in quarantine, [`CallError::Gone`] where the account or the role is unknown.
    pub fn change(&mut self, caller: &Caller, region: &str, change: &Change) -> Result<(), CallError> {
        let account = caller.account;
        let region: Arc<str> = Arc::from(region);
        let (source, name, node, role) = match change {
            Change::DetachLogPolicy(role) => ("iam", "DetachRolePolicy", None, Some(role)),
            Change::AttachLogPolicy(role) => ("iam", "AttachRolePolicy", None, Some(role)),
            Change::PutInlineDeny(role) => ("iam", "PutRolePolicy", None, Some(role)),
            Change::DeleteInlineDeny(role) => ("iam", "DeleteRolePolicy", None, Some(role)),
            Change::ChangePreferences | Change::RestorePreferences => ("ssm", "UpdateDocument", None, None),
            Change::SendSshPublicKey(node) => ("ec2-instance-connect", "SendSSHPublicKey", Some(node), None),
            Change::SendCommand(node) => ("ssm", "SendCommand", Some(node), None),
            Change::DisableRule => ("events", "DisableRule", None, None),
            Change::StopTrail => ("cloudtrail", "StopLogging", None, None),
        };
        let template = catalogue::find(source, name).ok_or(CallError::Unknown)?;
        let call = Call { source, name, region: template.region(&region), request: "null" };
        self.permitted(caller, &call)?;
        self.apply(account, &region, change)?;
        let node = node.map_or("", |node| &**node);
        let role = role.map_or("", |role| &**role);
        self.emit_template(template, caller, &region, node, role);
        Ok(())
    }

    /// Emits one ordinary event that has nothing to do with sessions, in the caller's account.
    pub fn background(&mut self, caller: &Caller, region: &str, node: &str, role: &str) {
        let template = background::pick(&mut self.dice);
        self.emit_template(template, caller, region, node, role);
    }

    fn apply(&mut self, account: AccountId, region: &Arc<str>, change: &Change) -> Result<(), CallError> {
        let place = (account, Arc::clone(region));
        if !self.indexes_by_account.contains_key(&account) {
            return Err(CallError::Gone);
        }
        match change {
            Change::DetachLogPolicy(role) => {
                self.role_mut(account, role)?.attached.remove(LOG_POLICY);
            }
            Change::AttachLogPolicy(role) => {
                self.role_mut(account, role)?.attached.insert(Arc::from(LOG_POLICY));
            }
            Change::PutInlineDeny(role) => {
                self.role_mut(account, role)?.denying.insert(Arc::from(DENY_POLICY));
            }
            Change::DeleteInlineDeny(role) => {
                self.role_mut(account, role)?.denying.remove(DENY_POLICY);
            }
            Change::ChangePreferences => {
                self.changed_preferences.insert(place);
            }
            Change::RestorePreferences => {
                self.changed_preferences.remove(&place);
            }
            Change::SendSshPublicKey(_) | Change::SendCommand(_) | Change::DisableRule | Change::StopTrail => {}
        }
        Ok(())
    }

    fn role_mut(&mut self, account: AccountId, role: &str) -> Result<&mut crate::organisation::Role, CallError> {
        self.roles_by_account.get_mut(&account).and_then(|roles| roles.get_mut(role)).ok_or(CallError::Gone)
    }

    fn emit_template(&mut self, template: &Template, caller: &Caller, region: &str, node: &str, role: &str) {
        let scene = Scene { caller, region, node, role, time: self.now.as_event_time() };
        let mut line = String::with_capacity(2048);
        template.write_envelope(&scene, &mut self.dice, &mut line);
        self.deliver(line);
    }
}
