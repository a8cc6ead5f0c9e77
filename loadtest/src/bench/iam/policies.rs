//! A node's role as organisations have them: many policies, most of which have nothing to do with its log.

use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};
use sessionwarden_machine::permission::{Caller, Context, LogTargets, Policy, Principal, Target};

const ACCOUNT: &str = "111122223333";
const ARCHIVE: &str = "444455556666";
const BUCKET: &str = "arn:aws:s3:::central-session-logs-eu-west-1";
const KEYS: [&str; 2] = [
    "arn:aws:kms:eu-west-1:444455556666:key/1a2b3c4d-5e6f-4a1b-8c2d-3e4f5a6b7c8d",
    "arn:aws:kms:eu-west-1:444455556666:key/9a8b7c6d-5e4f-4d3c-8b2a-1f0e9d8c7b6a",
];

pub(super) fn caller() -> Result<Caller> {
    let role = format!("arn:aws:sts::{ACCOUNT}:assumed-role/WorkloadNode/i-0123456789abcdef0");
    let mut caller = Caller::new(Principal::parse(&role)?);
    caller.identity = identity().iter().map(policy).collect();
    caller.boundary = Some(policy(&boundary()));
    caller.scps = scps().iter().map(|level| level.iter().map(policy).collect()).collect();
    Ok(caller)
}

pub(super) fn targets() -> Result<LogTargets> {
    let account = Some(ARCHIVE.parse()?);
    let bucket_policy = policy(&bucket());
    let s3 = |arn: String| Target { account, policy: Some(Arc::clone(&bucket_policy)), ..Target::new(arn) };
    let stream = format!("arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:/sessions/production:log-stream:ann-0abc1234");
    Ok(LogTargets {
        object: Some(s3(format!("{BUCKET}/sessions/{ACCOUNT}/eu-west-1/ann-0abcdef1234567890.log"))),
        bucket: Some(s3(BUCKET.to_owned())),
        keys: KEYS.map(|arn| Target { policy: Some(policy(&key(arn))), ..Target::new(arn) }).into(),
        stream: Some(Target::new(stream)),
        channels: Target::new("*"),
    })
}

pub(super) fn context() -> Context {
    Context::new()
        .with("aws:SecureTransport", ["true"])
        .with("aws:RequestedRegion", ["eu-west-1"])
        .with("aws:PrincipalOrgID", ["o-a1b2c3d4e5"])
        .with("aws:PrincipalTag/team", ["payments"])
        .with("aws:ResourceOrgID", ["o-a1b2c3d4e5"])
        .with("aws:SourceVpce", ["vpce-0a1b2c3d4e5f60718"])
        .with("s3:x-amz-server-side-encryption", ["aws:kms"])
        .with("kms:ViaService", ["s3.eu-west-1.amazonaws.com"])
        .with("aws:ViaAWSService", ["false"])
        .without("aws:ResourceTag/team")
        .without("aws:CalledVia")
}

/// How many characters the role's own policies have.
pub(super) fn identity_chars() -> usize {
    identity().iter().map(|it| document(it).len()).sum()
}

fn document(statements: &Value) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

fn policy(statements: &Value) -> Arc<Policy> {
    Arc::new(Policy::parse(&document(statements)))
}

/// Actions of one service.
fn of(service: &str, names: &str) -> Vec<String> {
    names.split_whitespace().map(|name| format!("{service}:{name}")).collect()
}

fn identity() -> [Value; 10] {
    [core(), session_log(), agent(), read_only(), patches(), deployment(), guard(), regions(), own_data(), platform()]
}

/// As `AmazonSSMManagedInstanceCore`.
fn core() -> Value {
    json!([
        {"Effect": "Allow", "Resource": "*", "Action": of("ssm", "DescribeAssociation \
            GetDeployablePatchSnapshotForInstance GetDocument DescribeDocument GetManifest GetParameter GetParameters \
            ListAssociations ListInstanceAssociations PutInventory PutComplianceItems PutConfigurePackageResult \
            UpdateAssociationStatus UpdateInstanceAssociationStatus UpdateInstanceInformation")},
        {"Effect": "Allow", "Resource": "*", "Action": of("ssmmessages", "CreateControlChannel CreateDataChannel \
            OpenControlChannel OpenDataChannel")},
        {"Effect": "Allow", "Resource": "*", "Action": of("ec2messages", "AcknowledgeMessage DeleteMessage FailMessage \
            GetEndpoint GetMessages SendReply")}
    ])
}

fn session_log() -> Value {
    json!([
        {"Sid": "Log", "Effect": "Allow", "Action": ["s3:PutObject", "s3:PutObjectAcl"],
            "Resource": format!("{BUCKET}/sessions/{ACCOUNT}/*"),
            "Condition": {"StringEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}},
        {"Sid": "Bucket", "Effect": "Allow", "Action": "s3:GetEncryptionConfiguration", "Resource": BUCKET},
        {"Sid": "Keys", "Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": KEYS},
        {"Sid": "Stream", "Effect": "Allow",
            "Action": of("logs", "CreateLogStream PutLogEvents DescribeLogGroups DescribeLogStreams"),
            "Resource": format!("arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:/sessions/*")}
    ])
}

/// As `CloudWatchAgentServerPolicy`.
fn agent() -> Value {
    json!([
        {"Sid": "Metrics", "Effect": "Allow", "Resource": "*", "Action": ["cloudwatch:PutMetricData",
            "ec2:DescribeVolumes", "ec2:DescribeTags", "xray:PutTraceSegments", "xray:PutTelemetryRecords",
            "xray:GetSamplingRules", "xray:GetSamplingTargets", "xray:GetSamplingStatisticSummaries"]},
        {"Sid": "Parameters", "Effect": "Allow", "Action": "ssm:GetParameter",
            "Resource": "arn:aws:ssm:*:*:parameter/AmazonCloudWatch-*"}
    ])
}

fn read_only() -> Value {
    json!([{"Effect": "Allow", "Resource": "*", "Action": [
        "ec2:Describe*", "ec2:Get*", "ec2:Search*", "autoscaling:Describe*", "elasticloadbalancing:Describe*",
        "cloudwatch:Describe*", "cloudwatch:Get*", "cloudwatch:List*", "cloudformation:Describe*",
        "cloudformation:List*", "s3:GetBucket*", "s3:ListAllMyBuckets", "s3:ListBucket", "rds:Describe*",
        "rds:ListTagsForResource", "route53:Get*", "route53:List*", "sns:Get*", "sns:List*", "sqs:Get*", "sqs:List*",
        "tag:Get*", "kms:ListAliases", "kms:DescribeKey", "logs:Describe*", "logs:FilterLogEvents", "iam:GetRole",
        "iam:ListRoles", "lambda:List*", "lambda:Get*", "ecr:Get*", "ecr:BatchGet*", "ecr:Describe*", "eks:Describe*",
        "secretsmanager:ListSecrets", "ssm:Describe*", "ssm:List*", "dynamodb:Describe*", "dynamodb:List*"]}])
}

fn patches() -> Value {
    let buckets = [
        "patch-baseline-snapshot",
        "aws-ssm",
        "aws-windows-downloads",
        "amazon-ssm",
        "amazon-ssm-packages",
        "birdwatcher-prod",
        "aws-ssm-distributor-file",
        "aws-ssm-document-attachments",
    ];
    let objects: Vec<_> = buckets.map(|bucket| format!("arn:aws:s3:::{bucket}-eu-west-1/*")).into();
    json!([
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": objects},
        {"Effect": "Allow", "Resource": "*", "Action": of("ssm", "DescribeEffectivePatchesForPatchBaseline GetPatchBaseline \
            DescribePatchBaselines GetDeployablePatchSnapshotForInstance")},
        {"Effect": "Allow", "Action": "tag:GetResources", "Resource": "*"}
    ])
}

fn deployment() -> Value {
    let artifacts: Vec<_> =
        (1..=12).map(|at| format!("arn:aws:s3:::release-artifacts-{at:02}-eu-west-1/payments/*")).collect();
    json!([
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": artifacts},
        {"Effect": "Allow", "Action": of("codedeploy", "PutLifecycleEventHookExecutionStatus GetDeployment \
            RegisterApplicationRevision"), "Resource": format!("arn:aws:codedeploy:eu-west-1:{ACCOUNT}:*:payments*")},
        {"Effect": "Allow", "Action": of("ecr", "BatchCheckLayerAvailability GetDownloadUrlForLayer BatchGetImage \
            GetAuthorizationToken"), "Resource": "*"}
    ])
}

fn guard() -> Value {
    json!([
        {"Sid": "OnlyWhatNodesDo", "Effect": "Deny", "Resource": "*", "NotAction": [
            "autoscaling:*", "cloudformation:*", "cloudwatch:*", "codedeploy:*", "dynamodb:*", "ec2:*", "ec2messages:*",
            "ecr:*", "eks:*", "elasticloadbalancing:*", "iam:Get*", "iam:List*", "kms:*", "lambda:*", "logs:*", "rds:*",
            "route53:*", "s3:*", "secretsmanager:*", "sns:*", "sqs:*", "ssm:*", "ssmmessages:*", "sts:*", "tag:*", "xray:*"]},
        {"Sid": "NoTampering", "Effect": "Deny", "Resource": "*", "Action": [
            "s3:DeleteObject*", "s3:PutBucket*", "s3:PutLifecycleConfiguration", "kms:ScheduleKeyDeletion",
            "kms:Disable*", "kms:Put*", "logs:Delete*", "logs:PutRetentionPolicy", "ec2:ModifyInstanceAttribute",
            "ec2:*IamInstanceProfile*", "ssm:*Document*Permission", "ssm:StartSession", "ssm:SendCommand"]},
        {"Sid": "NoOtherTeam", "Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": {"Null": {"aws:ResourceTag/team": "false"},
                "StringNotEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}}
    ])
}

fn regions() -> Value {
    json!([
        {"Effect": "Deny", "Resource": "*", "NotAction": ["iam:*", "sts:*", "route53:*", "cloudfront:*", "support:*",
            "organizations:*", "waf:*", "globalaccelerator:*", "health:*", "budgets:*"],
            "Condition": {"StringNotEquals": {"aws:RequestedRegion": ["eu-west-1", "eu-central-1", "eu-north-1"]}}},
        {"Effect": "Deny", "Action": "s3:*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    ])
}

fn own_data() -> Value {
    json!([
        {"Effect": "Allow", "Action": of("secretsmanager", "GetSecretValue DescribeSecret"),
            "Resource": format!("arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:${{aws:PrincipalTag/team}}/*")},
        {"Effect": "Allow", "Action": of("ssm", "GetParameter GetParameters GetParametersByPath"),
            "Resource": format!("arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter/${{aws:PrincipalTag/team, 'none'}}/*")},
        {"Effect": "Allow", "Action": of("s3", "GetObject PutObject DeleteObject AbortMultipartUpload"),
            "Resource": ["arn:aws:s3:::data-${aws:PrincipalTag/team}/*", "arn:aws:s3:::scratch/${aws:PrincipalTag/team}/*"]},
        {"Effect": "Allow", "Action": of("dynamodb", "GetItem PutItem UpdateItem DeleteItem Query BatchGetItem"),
            "Resource": format!("arn:aws:dynamodb:eu-west-1:{ACCOUNT}:table/payments-*"),
            "Condition": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["${aws:PrincipalTag/team}/*"]}}}
    ])
}

fn platform() -> Value {
    let queues: Vec<_> = (1..=10).map(|at| format!("arn:aws:sqs:eu-west-1:{ACCOUNT}:payments-{at:02}-*")).collect();
    json!([
        {"Effect": "Allow", "Action": of("sqs", "ReceiveMessage DeleteMessage SendMessage ChangeMessageVisibility"),
            "Resource": queues},
        {"Effect": "Allow", "Action": "sns:Publish", "Resource": format!("arn:aws:sns:eu-west-1:{ACCOUNT}:payments-*")},
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "arn:aws:iam::*:role/shared/ReadOnly-*",
            "Condition": {"StringEquals": {"aws:ResourceOrgID": "${aws:PrincipalOrgID}"}}},
        {"Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"],
            "Resource": format!("arn:aws:kms:eu-west-1:{ACCOUNT}:key/*"),
            "Condition": {"StringLike": {"kms:ViaService": ["s3.*.amazonaws.com", "dynamodb.*.amazonaws.com"]}}}
    ])
}

fn boundary() -> Value {
    json!([
        {"Effect": "Allow", "Resource": "*", "NotAction": ["organizations:*", "account:*", "iam:*", "sso:*"]},
        {"Effect": "Allow", "Resource": "*", "Action": ["iam:Get*", "iam:List*"]},
        {"Effect": "Deny", "Action": of("ec2", "*VpcPeering* *InternetGateway* *VpnGateway* *FlowLogs"), "Resource": "*"}
    ])
}

fn scps() -> [Vec<Value>; 3] {
    let full = || json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}]);
    let except = json!({"ArnNotLike": {"aws:PrincipalArn": ["arn:aws:iam::*:role/break-glass/*",
        "arn:aws:iam::*:role/aws-reserved/sso.amazonaws.com/*", "arn:aws:iam::*:role/Sessionwarden*"]}});
    let root = json!([
        {"Sid": "Stay", "Effect": "Deny", "Action": ["organizations:LeaveOrganization", "account:CloseAccount"], "Resource": "*"},
        {"Sid": "Trail", "Effect": "Deny", "Resource": "*", "Action": ["cloudtrail:StopLogging", "cloudtrail:DeleteTrail",
            "cloudtrail:UpdateTrail", "config:Delete*", "config:Stop*", "guardduty:Delete*", "guardduty:Disassociate*"],
            "Condition": except}
    ]);
    let regions = json!([{"Sid": "Regions", "Effect": "Deny", "Resource": "*", "NotAction": ["a4b:*", "budgets:*",
        "ce:*", "cloudfront:*", "globalaccelerator:*", "health:*", "iam:*", "kms:*", "organizations:*", "pricing:*",
        "route53:*", "route53domains:*", "s3:GetAccountPublic*", "s3:ListAllMyBuckets", "shield:*", "sts:*", "support:*",
        "trustedadvisor:*", "waf:*", "wafv2:*"],
        "Condition": {"StringNotEquals": {"aws:RequestedRegion": ["eu-west-1", "eu-central-1"]}}}]);
    let sessions = json!([
        {"Sid": "Documents", "Effect": "Deny", "Resource": "*", "Action": ["ssm:CreateDocument", "ssm:UpdateDocument*",
            "ssm:DeleteDocument", "ssm:ModifyDocumentPermission", "ssm:UpdateServiceSetting"], "Condition": except},
        {"Sid": "OtherDoors", "Effect": "Deny", "Resource": "*", "Action": ["ec2-instance-connect:*",
            "ec2:EnableSerialConsoleAccess", "ssm-guiconnect:*"], "Condition": except}
    ]);
    [vec![full(), root], vec![full(), regions], vec![full(), sessions]]
}

fn bucket() -> Value {
    let all = json!([BUCKET, format!("{BUCKET}/*")]);
    json!([
        {"Sid": "Tls", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": all,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"Sid": "Encrypted", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": format!("{BUCKET}/*"),
            "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}}},
        {"Sid": "Nodes", "Effect": "Allow", "Principal": "*", "Action": "s3:PutObject",
            "Resource": format!("{BUCKET}/sessions/${{aws:PrincipalAccount}}/*"),
            "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}},
        {"Sid": "Settings", "Effect": "Allow", "Principal": "*", "Action": "s3:GetEncryptionConfiguration",
            "Resource": BUCKET, "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}},
        {"Sid": "Keep", "Effect": "Deny", "Principal": "*", "Action": ["s3:DeleteObject*", "s3:PutBucketPolicy"],
            "Resource": all, "Condition": {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::444455556666:role/LogAdmin"}}}
    ])
}

fn key(arn: &str) -> Value {
    json!([
        {"Sid": "Own", "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{ARCHIVE}:root")}, "Action": "kms:*",
            "Resource": "*"},
        {"Sid": "Nodes", "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["kms:GenerateDataKey*", "kms:Decrypt"],
            "Resource": "*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}},
        {"Sid": "Services", "Effect": "Allow", "Principal": {"Service": ["logs.eu-west-1.amazonaws.com", "ssm.amazonaws.com"]},
            "Action": ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"],
            "Resource": "*"},
        {"Sid": "Keep", "Effect": "Deny", "Principal": "*", "Action": ["kms:ScheduleKeyDeletion", "kms:DisableKey"],
            "Resource": arn, "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}}
    ])
}
