//! What people change around sessions, and the other ways onto a node.

use std::sync::Arc;

use sessionwarden_machine::ids::AccountId;

use crate::{
    background, catalogue,
    cloudtrail::Caller,
    session::DEFAULT_DOCUMENT,
    template::{Scene, Template},
    world::{Call, CallError, World},
};

/// A call that changes what sessions rest on, or opens another way onto a node. Things are named as AWS names them:
/// managed policies and keys by ARN, all else by name or id.
#[expect(missing_docs, reason = "the fields are named as AWS names them")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `iam:AttachRolePolicy` of a managed policy to a role (TH20).
    AttachRolePolicy { role: Arc<str>, policy: Arc<str> },
    /// `iam:DetachRolePolicy` of a managed policy from a role.
    DetachRolePolicy { role: Arc<str>, policy: Arc<str> },
    /// `iam:PutRolePolicy` of an inline policy.
    PutRolePolicy { role: Arc<str>, name: Arc<str>, text: Arc<str> },
    /// `iam:DeleteRolePolicy` of an inline policy.
    DeleteRolePolicy { role: Arc<str>, name: Arc<str> },
    /// `iam:PutRolePermissionsBoundary`: a managed policy becomes a role's boundary.
    PutBoundary { role: Arc<str>, policy: Arc<str> },
    /// `iam:DeleteRolePermissionsBoundary`.
    DeleteBoundary { role: Arc<str> },
    /// `iam:CreatePolicyVersion`, made the default one.
    CreatePolicyVersion { policy: Arc<str>, text: Arc<str> },
    /// `iam:SetDefaultPolicyVersion`.
    SetDefaultPolicyVersion { policy: Arc<str>, version: u32 },
    /// `iam:DeletePolicyVersion` of the newest version that is not the default one.
    DeletePolicyVersion { policy: Arc<str> },
    /// `iam:DeleteRole`; refused while policies are attached or a profile holds the role, as in AWS.
    DeleteRole { role: Arc<str> },
    /// `iam:TagRole`.
    TagRole { role: Arc<str>, key: Arc<str>, value: Arc<str> },
    /// `ec2:AssociateIamInstanceProfile` with an instance that has none (TH21).
    AssociateProfile { node: Arc<str>, profile: Arc<str> },
    /// `ec2:ReplaceIamInstanceProfileAssociation`.
    ReplaceProfile { node: Arc<str>, profile: Arc<str> },
    /// `ec2:DisassociateIamInstanceProfile`.
    DisassociateProfile { node: Arc<str> },
    /// `iam:AddRoleToInstanceProfile`.
    AddRoleToProfile { profile: Arc<str>, role: Arc<str> },
    /// `iam:RemoveRoleFromInstanceProfile`.
    RemoveRoleFromProfile { profile: Arc<str>, role: Arc<str> },
    /// `ec2:DeleteTags` of one tag of an instance.
    Untag { node: Arc<str>, key: Arc<str> },
    /// `ec2:CreateTags` of one tag of an instance.
    Tag { node: Arc<str>, key: Arc<str>, value: Arc<str> },
    /// `ssm:UpdateServiceSetting` of the Default Host Management role (TH13).
    SetHostManagement { role: Arc<str> },
    /// `ssm:ResetServiceSetting`: instances without a profile have no role.
    ResetHostManagement,
    /// `kms:DisableKey` (TH22).
    DisableKey { key: Arc<str> },
    /// `kms:EnableKey`.
    EnableKey { key: Arc<str> },
    /// `kms:ScheduleKeyDeletion`.
    ScheduleKeyDeletion { key: Arc<str> },
    /// `kms:PutKeyPolicy`.
    PutKeyPolicy { key: Arc<str>, text: Arc<str> },
    /// `s3:PutBucketPolicy` of the log bucket (TH23).
    PutBucketPolicy { text: Arc<str> },
    /// `s3:DeleteBucketPolicy` of the log bucket.
    DeleteBucketPolicy,
    /// `s3:PutBucketVersioning` of the log bucket: suspended.
    SuspendVersioning,
    /// `s3:PutBucketEncryption` of the log bucket: with a key of S3's own.
    UseOwnEncryption,
    /// `s3:DeleteObject` of a log (TH24).
    DeleteLog { key: Arc<str> },
    /// `s3:PutObject` over a log.
    OverwriteLog { key: Arc<str> },
    /// `logs:DeleteLogGroup`.
    DeleteLogGroup { group: Arc<str> },
    /// `ec2:ModifyVpcEndpoint` of an endpoint's policy (TH25).
    PutEndpointPolicy { endpoint: Arc<str>, text: Arc<str> },
    /// `ec2:DeleteVpcEndpoints` of one.
    DeleteEndpoint { endpoint: Arc<str> },
    /// `ssm:CreateDocument` of a session document (TH1).
    CreateDocument { name: Arc<str>, content: Arc<str> },
    /// `ssm:UpdateDocument`: a new version, which is not the default one (TH26).
    UpdateDocument { name: Arc<str>, content: Arc<str> },
    /// `ssm:UpdateDocumentDefaultVersion`; `None`: the newest one.
    SetDocumentVersion { name: Arc<str>, version: Option<u32> },
    /// `ssm:DeleteDocument`.
    DeleteDocument { name: Arc<str> },
    /// `ssm:ModifyDocumentPermission`.
    ShareDocument { name: Arc<str>, with: AccountId },
    /// `ecs:UpdateCluster`: how ECS Exec is logged, `NONE`, `DEFAULT` or `OVERRIDE` (TH7).
    SetClusterLogging { cluster: Arc<str>, logging: Arc<str> },
    /// `organizations:DetachPolicy` of the quarantine policy from an account (TH30).
    DetachQuarantine { account: AccountId },
    /// A call of the catalogue, by service and name, that changes nothing the model knows; to this node, where the call
    /// names one. The model goes on delivering events whatever happens to rules and trails: others bring them too.
    Other(&'static str, &'static str, Arc<str>),
}

impl Change {
    /// `ssm:UpdateDocument` of the preferences.
    pub fn update_preferences(content: &str) -> Self {
        Self::UpdateDocument { name: Arc::from(DEFAULT_DOCUMENT), content: Arc::from(content) }
    }

    /// `ssm:UpdateDocumentDefaultVersion` of the preferences.
    pub fn set_preferences(version: Option<u32>) -> Self {
        Self::SetDocumentVersion { name: Arc::from(DEFAULT_DOCUMENT), version }
    }
}

impl World {
    /// Makes the change in the caller's account and emits its event, of a refused call too. Changing what is already so
    /// succeeds, as in AWS.
    ///
    /// # Errors
    /// [`CallError::Denied`] in quarantine and for things of another account, [`CallError::Gone`] where the thing is
    /// unknown, [`CallError::Unknown`] where AWS refuses for another reason, or the catalogue knows no such call.
    pub fn change(&mut self, caller: &Caller, region: &str, change: &Change) -> Result<(), CallError> {
        let region: Arc<str> = Arc::from(region);
        let (source, name, request, node) = match change {
            Change::Other(source, name, node) => (*source, *name, None, &**node),
            _ => {
                let (source, name, request) = self.told(caller.account, &region, change).ok_or(CallError::Unknown)?;
                (source, name, Some(request.to_string()), "")
            }
        };
        let template = catalogue::find(source, name).ok_or(CallError::Unknown)?;
        let parameters = request.as_deref().unwrap_or("null");
        let call = Call { source, name, region: template.region(&region), request: parameters };
        self.permitted(caller, &call)?;
        // What the management account changes holds for all.
        let management = self.account(caller.account).is_some_and(|account| account.management);
        self.settle_streams((!management).then_some(caller.account));
        if let Err(error) = self.apply(caller.account, &region, change) {
            let (code, message) = match error {
                CallError::Denied => ("AccessDenied", "Access denied."),
                CallError::Gone => ("NoSuchEntityException", "It does not exist."),
                CallError::Throttled | CallError::Unknown => ("DeleteConflict", "It is in use."),
            };
            self.emit_failure(caller, &call, code, message);
            return Err(error);
        }
        self.emit_template(template, caller, &region, node, "", request.as_deref());
        Ok(())
    }

    /// Emits one ordinary event that has nothing to do with sessions, in the caller's account.
    pub fn background(&mut self, caller: &Caller, region: &str, node: &str, role: &str) {
        let template = background::pick(&mut self.dice);
        self.emit_template(template, caller, region, node, role, None);
    }

    fn emit_template(
        &mut self,
        template: &Template,
        caller: &Caller,
        region: &str,
        node: &str,
        role: &str,
        request: Option<&str>,
    ) {
        let scene = Scene { caller, region, node, role, time: self.now.as_event_time() };
        let mut line = String::with_capacity(2048);
        template.write_envelope(&scene, request, &mut self.dice, &mut line);
        self.deliver(line);
    }
}
