//! The texts of policies and documents, each built once for an organisation and shared by all that carry it.

use std::sync::Arc;

use sessionwarden_machine::{document::WantedPreferences, ids::AccountId};

/// The name of the managed policy that lets a node write session logs.
pub const LOG_POLICY: &str = "SessionLogWrite";
/// The inline policy with which a role is kept from writing session logs.
pub const DENY_POLICY: &str = "no-session-log";
/// The role of the instance profile [`OPEN_PROFILE`], which opens sessions and cannot write their logs.
pub const OPEN_ROLE: &str = "open-role";
/// An instance profile whose role cannot write session logs.
pub const OPEN_PROFILE: &str = "open-profile";
/// The log group of every account and region.
pub const LOG_GROUP: &str = "sessionwarden-sessions";
/// The alias, in every account and region, of the key of the sessions' traffic.
pub const SESSION_KEY: &str = "alias/sessionwarden-sessions";
/// The cluster of every account's containers.
pub const CLUSTER: &str = "apps";
/// The tag that nodes must have for sessions to be opened on them, and its value.
pub const NODE_TAG: (&str, &str) = ("SessionAccess", "allowed");
/// The organisational unit in which each session needs a reason: that of the log archive.
pub const REASON_UNIT: &str = "security";
/// The role of a third party, tagged with the party's name.
pub const THIRD_PARTY_ROLE: &str = "third-party-support";
/// The tag that a third party and its nodes have in common, and the party's name.
pub const THIRD_PARTY_TAG: (&str, &str) = ("ExternalAccessGrantedTo", "acme");

const PREFIX: &str = "{account}/{region}";
const RUN_AS_USER: &str = "sessions";

/// AWS's policy of this name, as an ARN.
pub(crate) fn aws_policy(name: &str) -> Arc<str> {
    format!("arn:aws:iam::aws:policy/{name}").into()
}

/// AWS's own managed policies that the model knows, by name.
pub(crate) const AWS_POLICIES: [(&str, &str); 3] = [
    (
        "AmazonSSMManagedInstanceCore",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ssm:DescribeAssociation","ssm:GetDeployablePatchSnapshotForInstance","ssm:GetDocument","ssm:DescribeDocument","ssm:GetManifest","ssm:GetParameter","ssm:GetParameters","ssm:ListAssociations","ssm:ListInstanceAssociations","ssm:PutInventory","ssm:PutComplianceItems","ssm:PutConfigurePackageResult","ssm:UpdateAssociationStatus","ssm:UpdateInstanceAssociationStatus","ssm:UpdateInstanceInformation"],"Resource":"*"},{"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"},{"Effect":"Allow","Action":["ec2messages:AcknowledgeMessage","ec2messages:DeleteMessage","ec2messages:FailMessage","ec2messages:GetEndpoint","ec2messages:GetMessages","ec2messages:SendReply"],"Resource":"*"}]}"#,
    ),
    (
        "ReadOnlyAccess",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:Describe*","iam:Get*","iam:List*","kms:Describe*","kms:List*","logs:Describe*","logs:Get*","s3:Get*","s3:List*","ssm:Describe*","ssm:Get*","ssm:List*"],"Resource":"*"}]}"#,
    ),
    ("AdministratorAccess", r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#),
];

/// An inline policy that keeps its role from writing session logs.
pub const DENY_LOG: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"NoLog","Effect":"Deny","Action":["s3:PutObject","kms:GenerateDataKey","logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"}]}"#;
/// A version of the log policy that lets nobody write logs.
pub const USELESS_LOG: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:UpdateInstanceInformation","Resource":"*"}]}"#;
/// A policy of a key that admits its administrators only; `$A` stands for the account.
const ADMINISTRATORS_ONLY: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Administrators","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::$A:role/KeyAdministrator"},"Action":"kms:*","Resource":"*"}]}"#;
/// A policy of an endpoint that lets nothing through but reading.
pub const CLOSED_ENDPOINT: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:GetObject","kms:Describe*"],"Resource":"*"}]}"#;

pub(crate) const OPEN_ENDPOINT: &str =
    r#"{"Statement":[{"Action":"*","Effect":"Allow","Principal":"*","Resource":"*"}]}"#;
pub(crate) const FULL_ACCESS: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
pub(crate) const NO_ROOT_USER: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"NoRootUser","Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:PrincipalArn":"arn:aws:iam::*:root"}}}]}"#;
pub(crate) const RCP_FULL_ACCESS: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;
pub(crate) const QUARANTINE: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Quarantine","Effect":"Deny","Action":["ssm:StartSession","ssm:ResumeSession","ssm:SendCommand","ssm:StartAutomationExecution","ssm:CreateAssociation","ssm:UpdateAssociation","ecs:ExecuteCommand","ec2-instance-connect:*","iam:DetachRolePolicy","iam:PutRolePolicy"],"Resource":"*","Condition":{"ArnNotLike":{"aws:PrincipalArn":["arn:aws:iam::*:role/SessionwardenMember","arn:aws:iam::*:role/BreakGlass"]}}}]}"#;

const BOUNDARY: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"NodesMay","Effect":"Allow","Action":["s3:*","kms:*","logs:*","ssm:*","ssmmessages:*","ec2messages:*","cloudwatch:*"],"Resource":"*"},{"Sid":"NodesMayNot","Effect":"Deny","Action":["s3:DeleteObject*","s3:PutBucket*","kms:ScheduleKeyDeletion","kms:DisableKey"],"Resource":"*"}]}"#;
const OPERATOR: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Start","Effect":"Allow","Action":"ssm:StartSession","Resource":["arn:aws:ec2:*:*:instance/*","arn:aws:ssm:*:*:managed-instance/*","arn:aws:ecs:*:*:task/*","arn:aws:ssm:*:*:document/SSM-SessionManagerRunShell","arn:aws:ssm:*:*:document/debug-shell","arn:aws:ssm:*:*:document/database-tunnel","arn:aws:ssm:*:*:document/process-list","arn:aws:ssm:*::document/AWS-StartPortForwardingSession","arn:aws:ssm:*::document/AWS-StartPortForwardingSessionToRemoteHost","arn:aws:ssm:*::document/AWS-StartSSHSession","arn:aws:ssm:*::document/AWS-StartInteractiveCommand","arn:aws:ssm:*::document/AWS-StartNonInteractiveCommand"],"Condition":{"BoolIfExists":{"ssm:SessionDocumentAccessCheck":"true"}}},{"Sid":"Own","Effect":"Allow","Action":["ssm:TerminateSession","ssm:ResumeSession"],"Resource":"arn:aws:ssm:*:*:session/${aws:userid}-*"}]}"#;
const THIRD_PARTY: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Start","Effect":"Allow","Action":"ssm:StartSession","Resource":"arn:aws:ec2:*:*:instance/*","Condition":{"StringEquals":{"ssm:resourceTag/ExternalAccessGrantedTo":"${aws:PrincipalTag/ExternalAccessGrantedTo}"},"BoolIfExists":{"ssm:SessionDocumentAccessCheck":"true"}}},{"Sid":"Document","Effect":"Allow","Action":"ssm:StartSession","Resource":"arn:aws:ssm:*:*:document/SSM-SessionManagerRunShell","Condition":{"BoolIfExists":{"ssm:SessionDocumentAccessCheck":"true"}}},{"Sid":"Own","Effect":"Allow","Action":["ssm:TerminateSession","ssm:ResumeSession"],"Resource":"arn:aws:ssm:*:*:session/${aws:userid}-*"}]}"#;

const LOG: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"WriteLog","Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::$B/${aws:PrincipalAccount}/*"},{"Sid":"ReadEncryption","Effect":"Allow","Action":"s3:GetEncryptionConfiguration","Resource":"arn:aws:s3:::$B"},{"Sid":"UseKeys","Effect":"Allow","Action":["kms:GenerateDataKey","kms:Decrypt"],"Resource":"$K"},{"Sid":"UseOwnKeys","Effect":"Allow","Action":["kms:GenerateDataKey","kms:Decrypt"],"Resource":"arn:aws:kms:*:*:key/*","Condition":{"StringEquals":{"aws:ResourceAccount":"${aws:PrincipalAccount}"}}},{"Sid":"Stream","Effect":"Allow","Action":["logs:CreateLogStream","logs:PutLogEvents","logs:DescribeLogGroups","logs:DescribeLogStreams"],"Resource":"*"}]}"#;
const BUCKET: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"OnlyTls","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::$B","arn:aws:s3:::$B/*"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}},{"Sid":"OwnPrefix","Effect":"Allow","Principal":{"AWS":"*"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::$B/${aws:PrincipalAccount}/*","Condition":{"StringEquals":{"aws:PrincipalOrgID":"$O"}}},{"Sid":"ReadEncryption","Effect":"Allow","Principal":{"AWS":"*"},"Action":"s3:GetEncryptionConfiguration","Resource":"arn:aws:s3:::$B","Condition":{"StringEquals":{"aws:PrincipalOrgID":"$O"}}}]}"#;
const OPEN_BUCKET: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Anywhere","Effect":"Allow","Principal":{"AWS":"*"},"Action":["s3:PutObject","s3:GetEncryptionConfiguration"],"Resource":["arn:aws:s3:::$B","arn:aws:s3:::$B/*"],"Condition":{"StringEquals":{"aws:PrincipalOrgID":"$O"}}}]}"#;
const CLOSED_BUCKET: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"NoLogs","Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::$B/*"}]}"#;
const KEY: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Administrators","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::$A:root"},"Action":"kms:*","Resource":"*"},{"Sid":"Organisation","Effect":"Allow","Principal":{"AWS":"*"},"Action":["kms:GenerateDataKey","kms:Decrypt"],"Resource":"*","Condition":{"StringEquals":{"aws:PrincipalOrgID":"$O"}}}]}"#;
const RCP_ORGANISATION_ONLY: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"OrganisationOnly","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"StringNotEqualsIfExists":{"aws:PrincipalOrgID":"$O"},"BoolIfExists":{"aws:PrincipalIsAWSService":"false"}}}]}"#;
const PREFERENCES: &str = r#"{"schemaVersion":"1.0","description":"Session Manager preferences","sessionType":"Standard_Stream","inputs":{"s3BucketName":"$B","s3KeyPrefix":"$P","s3EncryptionEnabled":true,"cloudWatchLogGroupName":"$G","cloudWatchEncryptionEnabled":true,"cloudWatchStreamingEnabled":true,"kmsKeyId":"$K","runAsEnabled":true,"runAsDefaultUser":"$U","idleSessionTimeout":"20","maxSessionDuration":"60","shellProfile":{"windows":"","linux":""}}}"#;
/// Preferences that log nothing.
pub const UNLOGGED_PREFERENCES: &str = r#"{"schemaVersion":"1.0","description":"Session Manager preferences","sessionType":"Standard_Stream","inputs":{"s3BucketName":"","idleSessionTimeout":"60","runAsEnabled":false}}"#;

/// Custom documents of every account and region, by name: a shell that logs nothing, a tunnel and a command.
pub(crate) const CUSTOM_DOCUMENTS: [(&str, &str); 3] = [
    (
        "debug-shell",
        r#"{"schemaVersion":"1.0","description":"A shell for debugging","sessionType":"Standard_Stream","inputs":{"runAsEnabled":false}}"#,
    ),
    (
        "database-tunnel",
        r#"{"schemaVersion":"1.0","description":"A way to the database","sessionType":"Port","parameters":{"portNumber":{"type":"String","default":"5432"}},"properties":{"portNumber":"{{ portNumber }}"}}"#,
    ),
    (
        "process-list",
        r#"{"schemaVersion":"1.0","description":"What runs","sessionType":"InteractiveCommands","properties":{"linux":{"commands":"top","runAsElevated":false}}}"#,
    ),
];

/// The content of one of AWS's own session documents; `None` for any other name.
pub(crate) fn aws_document(name: &str) -> Option<&'static str> {
    const PORT: &str = r#"{"schemaVersion":"1.0","description":"Forwards a port","sessionType":"Port","parameters":{"portNumber":{"type":"String"}},"properties":{"portNumber":"{{ portNumber }}","type":"LocalPortForwarding"}}"#;
    Some(match name {
        "AWS-StartPortForwardingSession"
        | "AWS-StartPortForwardingSessionToRemoteHost"
        | "AWS-StartPortForwardingSessionToSocket"
        | "AWS-StartSSHSession" => PORT,
        "AWS-StartInteractiveCommand" => {
            r#"{"schemaVersion":"1.0","description":"Runs a command","sessionType":"InteractiveCommands","parameters":{"command":{"type":"String"}},"properties":{"linux":{"commands":"{{ command }}","runAsElevated":false}}}"#
        }
        "AWS-StartNonInteractiveCommand" => {
            r#"{"schemaVersion":"1.0","description":"Runs a command","sessionType":"NonInteractiveCommands","parameters":{"command":{"type":"String"}},"properties":{"linux":{"commands":"{{ command }}","runAsElevated":false}}}"#
        }
        _ => return None,
    })
}

/// Texts that name the organisation, its bucket or its key.
#[derive(Clone, Debug)]
pub(crate) struct Texts {
    pub(crate) organization: Arc<str>,
    pub(crate) bucket_name: Arc<str>,
    pub(crate) log: Arc<str>,
    pub(crate) useless_log: Arc<str>,
    pub(crate) bucket: Arc<str>,
    pub(crate) open_bucket: Arc<str>,
    pub(crate) closed_bucket: Arc<str>,
    pub(crate) boundary: Arc<str>,
    pub(crate) operator: Arc<str>,
    pub(crate) third_party: Arc<str>,
    pub(crate) open_endpoint: Arc<str>,
    pub(crate) rcp: Arc<str>,
}

impl Texts {
    pub(crate) fn new(organization: Arc<str>, archive: AccountId, bucket_key: &str) -> Self {
        let bucket_name: Arc<str> = format!("sessionwarden-logs-{archive}").into();
        let fill = |text: &str| -> Arc<str> {
            text.replace("$B", &bucket_name).replace("$K", bucket_key).replace("$O", &organization).into()
        };
        Self {
            log: fill(LOG),
            useless_log: Arc::from(USELESS_LOG),
            bucket: fill(BUCKET),
            open_bucket: fill(OPEN_BUCKET),
            closed_bucket: fill(CLOSED_BUCKET),
            boundary: Arc::from(BOUNDARY),
            operator: Arc::from(OPERATOR),
            third_party: Arc::from(THIRD_PARTY),
            open_endpoint: Arc::from(OPEN_ENDPOINT),
            rcp: fill(RCP_ORGANISATION_ONLY),
            organization,
            bucket_name,
        }
    }

    /// The policy of a key of `account`.
    pub(crate) fn key(&self, account: AccountId) -> Arc<str> {
        KEY.replace("$A", &account.to_string()).replace("$O", &self.organization).into()
    }

    pub(crate) fn preferences(&self, account: AccountId, region: &str) -> Arc<str> {
        let prefix = PREFIX.replace("{account}", &account.to_string()).replace("{region}", region);
        let marks =
            [("$B", &*self.bucket_name), ("$P", &prefix), ("$G", LOG_GROUP), ("$K", SESSION_KEY), ("$U", RUN_AS_USER)];
        marks.iter().fold(PREFERENCES.to_owned(), |text, (mark, value)| text.replace(mark, value)).into()
    }

    /// The wanted preferences, but for the stream.
    pub(crate) fn unstreamed(&self, account: AccountId, region: &str) -> Arc<str> {
        let streamed = r#""cloudWatchStreamingEnabled":true"#;
        self.preferences(account, region).replace(streamed, r#""cloudWatchStreamingEnabled":false"#).into()
    }

    pub(crate) fn wanted(&self) -> WantedPreferences {
        WantedPreferences {
            s3_bucket: Some(Arc::clone(&self.bucket_name)),
            s3_prefix: Some(Arc::from(PREFIX)),
            s3_encryption: Some(true),
            log_group: Some(Arc::from(LOG_GROUP)),
            log_group_encryption: Some(true),
            streaming: Some(true),
            kms_key: Some(Arc::from(SESSION_KEY)),
            run_as: Some(true),
            run_as_user: Some(Arc::from(RUN_AS_USER)),
            idle_minutes_max: Some(20),
            max_minutes_max: Some(60),
            ..WantedPreferences::default()
        }
    }
}

/// A policy of a key of `account` that admits nobody but the key's administrators.
pub fn administrators_only(account: AccountId) -> Arc<str> {
    ADMINISTRATORS_ONLY.replace("$A", &account.to_string()).into()
}
