//! The table of every CloudTrail event that can matter: one row for each call of each vector in the threat catalogue.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::ids::ThingKind;

/// How an event is turned into an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `StartSession`.
    Start,
    /// `ResumeSession`.
    Resume,
    /// `TerminateSession`.
    Terminate,
    /// `ecs:ExecuteCommand`: a session into a container.
    ContainerExec,
    /// Another way onto a node or around the log; the keys name the target in `requestParameters`.
    Access(&'static [&'static str]),
    /// A change of a thing; the keys name it in `requestParameters`.
    Change(ThingKind, &'static [&'static str]),
    /// A change of an object in S3, named `bucket/key`.
    Object,
}

/// A condition that the request must meet for the event to matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Only {
    /// Always matters.
    Always,
    /// The document is of type `Session`, or it is the preferences document.
    SessionDocument,
    /// The opened ports include 22 or 3389.
    RemoteAccessPorts,
    /// The object's key looks like a session's log: `<session id>.log`.
    SessionLog,
    /// The request turns `enableExecuteCommand` on.
    ExecuteCommand,
    /// The setting is the Default Host Management role.
    HostManagement,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) source: &'static str,
    pub(super) name: &'static str,
    pub(super) threat: &'static str,
    pub(super) shape: Shape,
    pub(super) only: Only,
}

/// The row's id in the threat catalogue, the event source, and the calls.
type Group = (&'static str, &'static str, &'static [(&'static str, Shape, Only)]);

use Only::{Always, ExecuteCommand, HostManagement, RemoteAccessPorts, SessionDocument, SessionLog};
use Shape::{Access, Change, ContainerExec, Object, Resume, Start, Terminate};
use ThingKind as K;

const ROLE: Shape = Change(K::Role, &["roleName"]);
const POLICY: Shape = Change(K::Policy, &["policyArn"]);
const DOCUMENT: Shape = Change(K::Document, &["name"]);
const KEY: Shape = Change(K::Key, &["keyId", "KeyId"]);
const BUCKET: Shape = Change(K::Bucket, &["bucketName"]);
const RULE: Shape = Change(K::Rule, &["name", "rule"]);
const TRAIL: Shape = Change(K::Trail, &["name", "trailName"]);
const ORGANIZATION: Shape = Change(K::Organization, &["policyId", "accountId", "targetId"]);
const NODE: Shape = Change(K::Node, &["InstanceId", "instanceId", "AssociationId", "associationId"]);
const ENDPOINT: Shape = Change(K::Network, &["VpcEndpointId", "vpcEndpointId"]);
const ACL: Shape = Change(K::Network, &["networkAclId"]);
const ROUTES: Shape = Change(K::Network, &["routeTableId"]);
const GROUP: Shape = Change(K::Network, &["groupId", "groupName", "GroupId"]);
const STREAM: Shape = Change(K::Stream, &["streamName", "streamARN"]);
const TABLE: Shape = Change(K::Table, &["tableName"]);
const QUEUE: Shape = Change(K::Queue, &["queueUrl"]);
const TOPIC: Shape = Change(K::Topic, &["topicArn"]);
const ALARM: Shape = Change(K::Alarm, &["alarmName", "alarmNames"]);

const GROUPS: &[Group] = &[
    (
        "",
        "ssm.amazonaws.com",
        &[("StartSession", Start, Always), ("ResumeSession", Resume, Always), ("TerminateSession", Terminate, Always)],
    ),
    ("TH1", "ssm.amazonaws.com", &[("CreateDocument", DOCUMENT, SessionDocument)]),
    ("TH5", "ssm.amazonaws.com", &[("SendCommand", Access(&["instanceIds", "targets", "documentName"]), Always)]),
    (
        "TH6",
        "ssm.amazonaws.com",
        &[
            ("StartAutomationExecution", Access(&["documentName"]), Always),
            ("CreateAssociation", Access(&["instanceId", "targets", "name"]), Always),
            ("CreateAssociationBatch", Access(&["instanceId", "name"]), Always),
            ("UpdateAssociation", Access(&["associationId"]), Always),
            ("RegisterTaskWithMaintenanceWindow", Access(&["windowId"]), Always),
        ],
    ),
    (
        "TH7",
        "ecs.amazonaws.com",
        &[
            ("ExecuteCommand", ContainerExec, Always),
            ("UpdateService", Change(K::Container, &["service"]), ExecuteCommand),
            ("CreateService", Change(K::Container, &["serviceName"]), ExecuteCommand),
            ("RunTask", Change(K::Container, &["taskDefinition"]), ExecuteCommand),
            ("StartTask", Change(K::Container, &["taskDefinition"]), ExecuteCommand),
        ],
    ),
    (
        "TH9",
        "ec2-instance-connect.amazonaws.com",
        &[
            ("SendSSHPublicKey", Access(&["instanceId"]), Always),
            ("OpenTunnel", Access(&["instanceId", "instanceConnectEndpointId", "remotePort"]), Always),
        ],
    ),
    ("TH9", "ec2.amazonaws.com", &[("CreateInstanceConnectEndpoint", Access(&["SubnetId", "subnetId"]), Always)]),
    ("TH10", "ec2.amazonaws.com", &[("EnableSerialConsoleAccess", Change(K::SerialConsole, &[]), Always)]),
    (
        "TH10",
        "ec2-instance-connect.amazonaws.com",
        &[("SendSerialConsoleSSHPublicKey", Access(&["instanceId"]), Always)],
    ),
    (
        "TH11",
        "ssm.amazonaws.com",
        &[
            ("StartAccessRequest", Access(&["targets", "reason"]), Always),
            ("GetAccessToken", Access(&["accessRequestId"]), Always),
        ],
    ),
    (
        "TH12",
        "ssm-guiconnect.amazonaws.com",
        &[("StartConnection", Access(&["InstanceId", "instanceId", "target"]), Always)],
    ),
    (
        "TH13",
        "ssm.amazonaws.com",
        &[
            ("UpdateServiceSetting", Change(K::ServiceSetting, &["settingId"]), HostManagement),
            ("ResetServiceSetting", Change(K::ServiceSetting, &["settingId"]), HostManagement),
        ],
    ),
    (
        "TH14",
        "ssm.amazonaws.com",
        &[
            ("CreateActivation", Change(K::Activation, &["iamRole"]), Always),
            ("RegisterManagedInstance", Change(K::Activation, &["activationId"]), Always),
        ],
    ),
    ("TH17", "account.amazonaws.com", &[("EnableRegion", Change(K::Region, &["regionName", "RegionName"]), Always)]),
    ("TH18", "organizations.amazonaws.com", &[("RegisterDelegatedAdministrator", ORGANIZATION, Always)]),
    (
        "TH20",
        "iam.amazonaws.com",
        &[
            ("AttachRolePolicy", ROLE, Always),
            ("DetachRolePolicy", ROLE, Always),
            ("PutRolePolicy", ROLE, Always),
            ("DeleteRolePolicy", ROLE, Always),
            ("PutRolePermissionsBoundary", ROLE, Always),
            ("DeleteRolePermissionsBoundary", ROLE, Always),
            ("DeleteRole", ROLE, Always),
            ("CreatePolicyVersion", POLICY, Always),
            ("SetDefaultPolicyVersion", POLICY, Always),
            ("DeletePolicyVersion", POLICY, Always),
            ("DeletePolicy", POLICY, Always),
        ],
    ),
    (
        "TH21",
        "ec2.amazonaws.com",
        &[
            ("AssociateIamInstanceProfile", NODE, Always),
            ("DisassociateIamInstanceProfile", NODE, Always),
            ("ReplaceIamInstanceProfileAssociation", NODE, Always),
        ],
    ),
    (
        "TH21",
        "iam.amazonaws.com",
        &[
            ("AddRoleToInstanceProfile", Change(K::InstanceProfile, &["instanceProfileName"]), Always),
            ("RemoveRoleFromInstanceProfile", Change(K::InstanceProfile, &["instanceProfileName"]), Always),
        ],
    ),
    (
        "TH22",
        "kms.amazonaws.com",
        &[
            ("DisableKey", KEY, Always),
            ("ScheduleKeyDeletion", KEY, Always),
            ("PutKeyPolicy", KEY, Always),
            ("RevokeGrant", KEY, Always),
            ("RetireGrant", KEY, Always),
        ],
    ),
    (
        "TH23",
        "s3.amazonaws.com",
        &[
            ("PutBucketPolicy", BUCKET, Always),
            ("DeleteBucketPolicy", BUCKET, Always),
            ("PutBucketVersioning", BUCKET, Always),
            ("PutBucketLifecycle", BUCKET, Always),
            ("PutBucketLifecycleConfiguration", BUCKET, Always),
            ("PutBucketEncryption", BUCKET, Always),
            ("DeleteBucketEncryption", BUCKET, Always),
            ("PutObjectLockConfiguration", BUCKET, Always),
            ("PutBucketObjectLockConfiguration", BUCKET, Always),
            ("DeleteBucket", BUCKET, Always),
        ],
    ),
    (
        "TH24",
        "s3.amazonaws.com",
        &[
            ("DeleteObject", Object, SessionLog),
            ("DeleteObjects", Change(K::LogObject, &["bucketName"]), Always),
            ("PutObject", Object, SessionLog),
        ],
    ),
    (
        "TH24",
        "logs.amazonaws.com",
        &[
            ("DeleteLogGroup", Change(K::LogGroup, &["logGroupName"]), Always),
            ("DeleteLogStream", Change(K::LogGroup, &["logGroupName"]), Always),
            ("PutRetentionPolicy", Change(K::LogGroup, &["logGroupName"]), Always),
        ],
    ),
    (
        "TH25",
        "ec2.amazonaws.com",
        &[
            ("ModifyVpcEndpoint", ENDPOINT, Always),
            ("DeleteVpcEndpoints", ENDPOINT, Always),
            ("RevokeSecurityGroupEgress", GROUP, Always),
            ("CreateNetworkAclEntry", ACL, Always),
            ("ReplaceNetworkAclEntry", ACL, Always),
            ("DeleteNetworkAclEntry", ACL, Always),
            ("CreateRoute", ROUTES, Always),
            ("ReplaceRoute", ROUTES, Always),
            ("DeleteRoute", ROUTES, Always),
        ],
    ),
    (
        "TH26",
        "ssm.amazonaws.com",
        &[
            ("UpdateDocument", DOCUMENT, Always),
            ("UpdateDocumentDefaultVersion", DOCUMENT, Always),
            ("DeleteDocument", DOCUMENT, Always),
            ("ModifyDocumentPermission", DOCUMENT, Always),
        ],
    ),
    (
        "TH27",
        "events.amazonaws.com",
        &[
            ("DisableRule", RULE, Always),
            ("DeleteRule", RULE, Always),
            ("RemoveTargets", RULE, Always),
            ("PutRule", RULE, Always),
            ("PutTargets", RULE, Always),
        ],
    ),
    (
        "TH28",
        "cloudtrail.amazonaws.com",
        &[
            ("StopLogging", TRAIL, Always),
            ("DeleteTrail", TRAIL, Always),
            ("UpdateTrail", TRAIL, Always),
            ("PutEventSelectors", TRAIL, Always),
        ],
    ),
    (
        "TH29",
        "kinesis.amazonaws.com",
        &[("DeleteStream", STREAM, Always), ("DecreaseStreamRetentionPeriod", STREAM, Always)],
    ),
    ("TH29", "dynamodb.amazonaws.com", &[("DeleteTable", TABLE, Always)]),
    ("TH29", "sqs.amazonaws.com", &[("PurgeQueue", QUEUE, Always), ("DeleteQueue", QUEUE, Always)]),
    (
        "TH29",
        "monitoring.amazonaws.com",
        &[("DisableAlarmActions", ALARM, Always), ("SetAlarmState", ALARM, Always), ("DeleteAlarms", ALARM, Always)],
    ),
    ("TH29", "sns.amazonaws.com", &[("SetTopicAttributes", TOPIC, Always), ("DeleteTopic", TOPIC, Always)]),
    ("TH29", "iam.amazonaws.com", &[("UpdateAssumeRolePolicy", ROLE, Always)]),
    (
        "TH30",
        "organizations.amazonaws.com",
        &[
            ("LeaveOrganization", ORGANIZATION, Always),
            ("RemoveAccountFromOrganization", ORGANIZATION, Always),
            ("MoveAccount", ORGANIZATION, Always),
            ("DetachPolicy", ORGANIZATION, Always),
            ("UpdatePolicy", ORGANIZATION, Always),
            ("DisablePolicyType", ORGANIZATION, Always),
        ],
    ),
    (
        "TH32",
        "ec2.amazonaws.com",
        &[
            ("AuthorizeSecurityGroupIngress", GROUP, RemoteAccessPorts),
            ("ModifySecurityGroupRules", GROUP, RemoteAccessPorts),
        ],
    ),
];

/// The table, indexed by event name.
#[derive(Debug)]
pub(super) struct Catalog {
    rows_by_name: HashMap<&'static [u8], Vec<Row>, FixedState>,
    /// By first byte, the lengths that its names have, as bits: most other names need no look at the map.
    lengths: [u64; 256],
}

impl Catalog {
    pub(super) fn new() -> Self {
        let mut rows_by_name: HashMap<&'static [u8], Vec<Row>, FixedState> = HashMap::default();
        let mut lengths = [0; 256];
        for row in rows() {
            let name = row.name.as_bytes();
            lengths[usize::from(name[0])] |= length_bit(name);
            rows_by_name.entry(name).or_default().push(row);
        }
        Self { rows_by_name, lengths }
    }

    pub(super) fn knows(&self, name: &[u8]) -> bool {
        let lengths = name.first().map_or(0, |first| self.lengths[usize::from(*first)]);
        lengths & length_bit(name) != 0 && self.rows_by_name.contains_key(name)
    }

    pub(super) fn has(&self, source: &[u8], name: &[u8]) -> bool {
        let rows = self.rows_by_name.get(name);
        rows.is_some_and(|rows| rows.iter().any(|row| row.source.as_bytes() == source))
    }

    pub(super) fn find(&self, source: &str, name: &str) -> Option<Row> {
        self.rows_by_name.get(name.as_bytes())?.iter().find(|row| row.source == source).copied()
    }
}

fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

/// Every row, in the order of the catalogue.
pub(super) fn rows() -> impl Iterator<Item = Row> {
    GROUPS.iter().flat_map(|(threat, source, calls)| {
        calls.iter().map(move |(name, shape, only)| Row { source, name, threat, shape: *shape, only: *only })
    })
}
