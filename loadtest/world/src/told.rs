//! What the events of changes say.

use serde_json::{Value, json};
use sessionwarden_machine::ids::AccountId;

use crate::{change::Change, world::World};

/// Service, call and `requestParameters`.
pub(crate) type Told = (&'static str, &'static str, Value);

const HOST_MANAGEMENT: &str = "/ssm/managed-instance/default-ec2-instance-management-role";
const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

impl World {
    /// `None` for calls that say what the catalogue says.
    pub(crate) fn told(&self, account: AccountId, region: &str, change: &Change) -> Option<Told> {
        of_roles(change)
            .or_else(|| self.of_policies(change))
            .or_else(|| self.of_nodes(change))
            .or_else(|| of_keys(change))
            .or_else(|| self.of_bucket(region, change))
            .or_else(|| self.of_documents(account, region, change))
    }

    fn of_policies(&self, change: &Change) -> Option<Told> {
        let (name, request) = match change {
            Change::CreatePolicyVersion { policy, text } => {
                let request = json!({"policyArn": policy, "policyDocument": text, "setAsDefault": true});
                ("CreatePolicyVersion", request)
            }
            Change::SetDefaultPolicyVersion { policy, version } => {
                ("SetDefaultPolicyVersion", json!({"policyArn": policy, "versionId": format!("v{version}")}))
            }
            Change::DeletePolicyVersion { policy } => {
                let newest = self.estate.managed.get(policy).and_then(super::apply::newest_idle)?;
                ("DeletePolicyVersion", json!({"policyArn": policy, "versionId": format!("v{newest}")}))
            }
            _ => return None,
        };
        Some(("iam", name, request))
    }

    fn of_nodes(&self, change: &Change) -> Option<Told> {
        let association = |node: &str| {
            let state = self.estate.nodes.get(node).and_then(|state| state.association.as_ref());
            state.map(|(id, _)| id.to_string()).unwrap_or_default()
        };
        let tags = |node: &str, tag: Value| json!({"resourcesSet": {"items": [{"resourceId": node}]}, "tagSet": {"items": [tag]}});
        let (name, request) = match change {
            Change::AssociateProfile { node, profile } => {
                let request = json!({"IamInstanceProfile": {"Name": profile}, "InstanceId": node});
                ("AssociateIamInstanceProfile", json!({"AssociateIamInstanceProfileRequest": request}))
            }
            Change::ReplaceProfile { node, profile } => {
                let request = json!({"IamInstanceProfile": {"Name": profile}, "AssociationId": association(node)});
                let request = json!({"ReplaceIamInstanceProfileAssociationRequest": request});
                ("ReplaceIamInstanceProfileAssociation", request)
            }
            Change::DisassociateProfile { node } => {
                let request = json!({"AssociationId": association(node)});
                ("DisassociateIamInstanceProfile", json!({"DisassociateIamInstanceProfileRequest": request}))
            }
            Change::Tag { node, key, value } => ("CreateTags", tags(node, json!({"key": key, "value": value}))),
            Change::Untag { node, key } => ("DeleteTags", tags(node, json!({"key": key}))),
            Change::PutEndpointPolicy { endpoint, text } => {
                let request = json!({"VpcEndpointId": endpoint, "PolicyDocument": text});
                ("ModifyVpcEndpoint", json!({"ModifyVpcEndpointRequest": request}))
            }
            Change::DeleteEndpoint { endpoint } => {
                let request = json!({"VpcEndpointId": {"tag": 1, "content": endpoint}});
                ("DeleteVpcEndpoints", json!({"DeleteVpcEndpointsRequest": request}))
            }
            _ => return None,
        };
        Some(("ec2", name, request))
    }

    fn of_bucket(&self, region: &str, change: &Change) -> Option<Told> {
        let bucket = &self.estate.texts.bucket_name;
        let mut request = json!({"bucketName": bucket, "Host": format!("{bucket}.s3.{region}.amazonaws.com")});
        let (name, field, value) = match change {
            Change::PutBucketPolicy { text } => {
                let policy = serde_json::from_str(text).unwrap_or(Value::Null);
                ("PutBucketPolicy", "bucketPolicy", policy)
            }
            Change::DeleteBucketPolicy => ("DeleteBucketPolicy", "policy", json!("")),
            Change::SuspendVersioning => {
                ("PutBucketVersioning", "VersioningConfiguration", json!({"Status": "Suspended"}))
            }
            Change::UseOwnEncryption => (
                "PutBucketEncryption",
                "ServerSideEncryptionConfiguration",
                json!({"Rule": {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}}),
            ),
            Change::DeleteLog { key } => ("DeleteObject", "key", json!(key)),
            Change::OverwriteLog { key } => ("PutObject", "key", json!(key)),
            _ => return None,
        };
        request[field] = value;
        Some(("s3", name, request))
    }

    fn of_documents(&self, account: AccountId, region: &str, change: &Change) -> Option<Told> {
        let (name, request) = match change {
            Change::CreateDocument { name, .. } => (
                "CreateDocument",
                json!({"name": name, "content": HIDDEN, "documentType": "Session", "documentFormat": "JSON"}),
            ),
            Change::UpdateDocument { name, .. } => (
                "UpdateDocument",
                json!({"name": name, "content": HIDDEN, "documentVersion": "$LATEST", "documentFormat": "JSON"}),
            ),
            Change::SetDocumentVersion { name, version } => {
                let place = (account, region.into(), name.clone());
                let version = version.or_else(|| Some(self.estate.documents.get(&place)?.newest()));
                let version = version.unwrap_or_default().to_string();
                ("UpdateDocumentDefaultVersion", json!({"name": name, "documentVersion": version}))
            }
            Change::DeleteDocument { name } => ("DeleteDocument", json!({"name": name})),
            Change::ShareDocument { name, with } => {
                let with = with.to_string();
                let request = json!({"name": name, "permissionType": "Share", "accountIdsToAdd": [with]});
                ("ModifyDocumentPermission", request)
            }
            Change::SetHostManagement { role } => {
                ("UpdateServiceSetting", json!({"settingId": HOST_MANAGEMENT, "settingValue": role}))
            }
            Change::ResetHostManagement => ("ResetServiceSetting", json!({"settingId": HOST_MANAGEMENT})),
            _ => return None,
        };
        Some(("ssm", name, request))
    }
}

fn of_roles(change: &Change) -> Option<Told> {
    let (name, request) = match change {
        Change::AttachRolePolicy { role, policy } => {
            ("AttachRolePolicy", json!({"roleName": role, "policyArn": policy}))
        }
        Change::DetachRolePolicy { role, policy } => {
            ("DetachRolePolicy", json!({"roleName": role, "policyArn": policy}))
        }
        Change::PutRolePolicy { role, name, text } => {
            ("PutRolePolicy", json!({"roleName": role, "policyName": name, "policyDocument": text}))
        }
        Change::DeleteRolePolicy { role, name } => ("DeleteRolePolicy", json!({"roleName": role, "policyName": name})),
        Change::PutBoundary { role, policy } => {
            ("PutRolePermissionsBoundary", json!({"roleName": role, "permissionsBoundary": policy}))
        }
        Change::DeleteBoundary { role } => ("DeleteRolePermissionsBoundary", json!({"roleName": role})),
        Change::DeleteRole { role } => ("DeleteRole", json!({"roleName": role})),
        Change::TagRole { role, key, value } => {
            ("TagRole", json!({"roleName": role, "tags": [{"key": key, "value": value}]}))
        }
        Change::AddRoleToProfile { profile, role } => {
            ("AddRoleToInstanceProfile", json!({"instanceProfileName": profile, "roleName": role}))
        }
        Change::RemoveRoleFromProfile { profile, role } => {
            ("RemoveRoleFromInstanceProfile", json!({"instanceProfileName": profile, "roleName": role}))
        }
        _ => return None,
    };
    Some(("iam", name, request))
}

fn of_keys(change: &Change) -> Option<Told> {
    Some(match change {
        Change::DisableKey { key } => ("kms", "DisableKey", json!({"keyId": key})),
        Change::EnableKey { key } => ("kms", "EnableKey", json!({"keyId": key})),
        Change::ScheduleKeyDeletion { key } => {
            ("kms", "ScheduleKeyDeletion", json!({"keyId": key, "pendingWindowInDays": 7}))
        }
        Change::PutKeyPolicy { key, text } => {
            ("kms", "PutKeyPolicy", json!({"keyId": key, "policyName": "default", "policy": text}))
        }
        Change::DeleteLogGroup { group } => ("logs", "DeleteLogGroup", json!({"logGroupName": group})),
        Change::SetClusterLogging { cluster, logging } => {
            let configuration = json!({"executeCommandConfiguration": {"logging": logging}});
            ("ecs", "UpdateCluster", json!({"cluster": cluster, "configuration": configuration}))
        }
        Change::DetachQuarantine { account } => {
            let target = account.to_string();
            ("organizations", "DetachPolicy", json!({"policyId": "p-quarantine1", "targetId": target}))
        }
        _ => return None,
    })
}
