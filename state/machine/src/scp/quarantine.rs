//! Quarantine: no way into a session, and no way to open one.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{PROBE_DOCUMENT, ScpSettings, arns, statement::Deny};

/// Every way into a node, or to make one.
pub(super) const ACCESS: [&str; 15] = [
    "ec2-instance-connect:*",
    "ec2:EnableSerialConsoleAccess",
    "ecs:ExecuteCommand",
    "organizations:LeaveOrganization",
    "ssm-guiconnect:StartConnection",
    "ssm:CreateActivation",
    // One by one and in a batch.
    "ssm:CreateAssociation*",
    "ssm:GetAccessToken",
    "ssm:ResumeSession",
    "ssm:SendCommand",
    "ssm:StartAccessRequest",
    "ssm:StartAutomationExecution",
    "ssm:StartSession",
    // Not UpdateAssociationStatus, which is the agent's.
    "ssm:UpdateAssociation",
    "ssm:UpdateServiceSetting",
];

/// What gives a node's role other permissions, or a node another role (TH20, TH21).
pub(super) const TAMPERING: [&str; 12] = [
    "iam:AddRoleToInstanceProfile",
    "iam:AttachRolePolicy",
    "iam:CreatePolicyVersion",
    "iam:DeletePolicyVersion",
    "iam:DeleteRole",
    "iam:DeleteRolePermissionsBoundary",
    "iam:DeleteRolePolicy",
    "iam:DetachRolePolicy",
    "iam:PutRolePermissionsBoundary",
    "iam:PutRolePolicy",
    "iam:RemoveRoleFromInstanceProfile",
    "iam:SetDefaultPolicyVersion",
];

/// What writes documents, or shares them (TH26).
pub(super) const DOCUMENT_WRITES: [&str; 4] =
    ["ssm:CreateDocument", "ssm:DeleteDocument", "ssm:ModifyDocumentPermission", "ssm:UpdateDocument*"];

/// The agent's channels ("Actions, resources, and condition keys for Amazon Session Manager Message Gateway Service").
pub(super) const CHANNELS: [&str; 4] = [
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
];

/// Tiers 1 and 2: for these principals, or without any for all.
pub(super) fn access(settings: &ScpSettings, principals: &BTreeSet<String>) -> Vec<Value> {
    let spared = settings.spared();
    let held = |deny: Deny| deny.only(principals).except(&spared);
    let documents = format!("arn:{}:ssm:*:*:document/*", settings.partition);
    let session_documents = Deny::new("SessionDocuments", DOCUMENT_WRITES).on([documents]).when(
        // Where the key is missing, as in some partitions, all documents count as session documents.
        "StringEqualsIfExists",
        "ssm:DocumentType",
        ["Session".to_owned()],
    );
    let mut statements = vec![
        held(Deny::new("Access", ACCESS.into_iter().chain(TAMPERING))).build(),
        held(session_documents).build(),
        canary(settings),
    ];
    if !spared.is_empty() {
        statements.push(held(spared_roles(&spared)).build());
    }
    statements
}

/// Tier 3.
pub(super) fn channel(settings: &ScpSettings) -> Vec<Value> {
    let mut statements = access(settings, &BTreeSet::new());
    statements.push(Deny::new("Channels", CHANNELS).except(&settings.spared()).build());
    statements
}

/// Who could create a spared role, or change whom it trusts, could spare himself.
pub(super) fn spared_roles(roles: &BTreeSet<String>) -> Deny {
    Deny::new("SparedRoles", ["iam:CreateRole", "iam:UpdateAssumeRolePolicy"]).on(roles.iter().cloned())
}

/// Denied to everybody: by it the policy is known to be in force, which it is some time after it was attached.
fn canary(settings: &ScpSettings) -> Value {
    Deny::new("Canary", ["ssm:GetDocument"]).on([arns::document(&settings.partition, PROBE_DOCUMENT)]).build()
}
