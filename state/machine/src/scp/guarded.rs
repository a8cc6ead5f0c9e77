//! The kinds of things that the guardrail consists of, and what would harm each.

use std::{fmt, str::FromStr};

/// A kind of things that the guardrail consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guarded {
    /// IAM roles.
    Role,
    /// IAM managed policies.
    Policy,
    /// Systems Manager documents.
    Document,
    /// SNS topics.
    Topic,
    /// SQS queues.
    Queue,
    /// DynamoDB tables.
    Table,
    /// Kinesis streams.
    Stream,
    /// CloudWatch alarms.
    Alarm,
    /// EventBridge rules on the default bus.
    Rule,
    /// CloudTrail trails.
    Trail,
    /// Lambda functions.
    Function,
    /// Step Functions state machines.
    StateMachine,
    /// CloudFormation stacks, made alone or by a stack set of the name.
    Stack,
    /// CloudWatch log groups.
    LogGroup,
    /// S3 buckets.
    Bucket,
    /// Aliases of KMS keys, without `alias/`, and the keys behind them.
    Alias,
    /// KMS keys, by their ids.
    Key,
}

/// What harms a KMS key (TH22).
pub(super) const KEY_ACTIONS: [&str; 7] = [
    "kms:DeleteImportedKeyMaterial",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:PutKeyPolicy",
    "kms:RetireGrant",
    "kms:RevokeGrant",
    "kms:ScheduleKeyDeletion",
];

impl Guarded {
    /// All kinds.
    pub const ALL: [Self; 17] = [
        Self::Role,
        Self::Policy,
        Self::Document,
        Self::Topic,
        Self::Queue,
        Self::Table,
        Self::Stream,
        Self::Alarm,
        Self::Rule,
        Self::Trail,
        Self::Function,
        Self::StateMachine,
        Self::Stack,
        Self::LogGroup,
        Self::Bucket,
        Self::Alias,
        Self::Key,
    ];

    /// The name as the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Policy => "policy",
            Self::Document => "document",
            Self::Topic => "topic",
            Self::Queue => "queue",
            Self::Table => "table",
            Self::Stream => "stream",
            Self::Alarm => "alarm",
            Self::Rule => "rule",
            Self::Trail => "trail",
            Self::Function => "function",
            Self::StateMachine => "state-machine",
            Self::Stack => "stack",
            Self::LogGroup => "log-group",
            Self::Bucket => "bucket",
            Self::Alias => "alias",
            Self::Key => "key",
        }
    }

    /// The ARNs of the things of a name, in any account and region ("Actions, resources, and condition keys" of each
    /// service).
    pub(super) fn arns(self, partition: &str, name: &str) -> Vec<String> {
        let arn = |rest: String| format!("arn:{partition}:{rest}");
        // What lies within a thing; a name that ends openly takes it in.
        let with_inner = |outer: String, inner: &str| {
            let inner = (!name.ends_with('*')).then(|| format!("{outer}{inner}"));
            std::iter::once(outer).chain(inner).map(arn).collect()
        };
        match self {
            Self::Role => vec![arn(format!("iam::*:role/{name}"))],
            Self::Policy => vec![arn(format!("iam::*:policy/{name}"))],
            Self::Document => vec![arn(format!("ssm:*:*:document/{name}"))],
            Self::Topic => with_inner(format!("sns:*:*:{name}"), ":*"),
            Self::Queue => vec![arn(format!("sqs:*:*:{name}"))],
            Self::Table => vec![arn(format!("dynamodb:*:*:table/{name}"))],
            Self::Stream => with_inner(format!("kinesis:*:*:stream/{name}"), "/*"),
            Self::Alarm => vec![arn(format!("cloudwatch:*:*:alarm:{name}"))],
            Self::Rule => vec![arn(format!("events:*:*:rule/{name}"))],
            Self::Trail => vec![arn(format!("cloudtrail:*:*:trail/{name}"))],
            Self::Function => with_inner(format!("lambda:*:*:function:{name}"), ":*"),
            Self::StateMachine => with_inner(format!("states:*:*:stateMachine:{name}"), ":*"),
            Self::Stack => [format!("{name}/*"), format!("StackSet-{name}-*")]
                .map(|stack| arn(format!("cloudformation:*:*:stack/{stack}")))
                .into(),
            Self::LogGroup => with_inner(format!("logs:*:*:log-group:{name}"), ":*"),
            Self::Bucket => with_inner(format!("s3:::{name}"), "/*"),
            Self::Alias => vec![arn(format!("kms:*:*:alias/{name}"))],
            Self::Key => vec![arn(format!("kms:*:*:key/{name}"))],
        }
    }

    /// What harms such a thing. Nothing here reads, and nothing carries a session's log.
    pub(super) fn harms(self) -> &'static [&'static str] {
        match self {
            Self::Role => &[
                "iam:AttachRolePolicy",
                "iam:CreateRole",
                "iam:DeleteRole",
                "iam:DeleteRolePermissionsBoundary",
                "iam:DeleteRolePolicy",
                "iam:DetachRolePolicy",
                "iam:PutRolePermissionsBoundary",
                "iam:PutRolePolicy",
                "iam:UpdateAssumeRolePolicy",
                "iam:UpdateRole",
            ],
            Self::Policy => &["iam:CreatePolicy*", "iam:DeletePolicy*", "iam:SetDefaultPolicyVersion"],
            Self::Document => &super::quarantine::DOCUMENT_WRITES,
            Self::Topic => &[
                "sns:AddPermission",
                "sns:DeleteTopic",
                "sns:PutDataProtectionPolicy",
                "sns:RemovePermission",
                "sns:SetSubscriptionAttributes",
                "sns:SetTopicAttributes",
                "sns:Unsubscribe",
            ],
            Self::Queue => &[
                "sqs:AddPermission",
                "sqs:DeleteQueue",
                "sqs:PurgeQueue",
                "sqs:RemovePermission",
                "sqs:SetQueueAttributes",
            ],
            Self::Table => &[
                "dynamodb:DeleteTable",
                "dynamodb:PutResourcePolicy",
                "dynamodb:UpdateTable",
                "dynamodb:UpdateTimeToLive",
            ],
            Self::Stream => &[
                "kinesis:DecreaseStreamRetentionPeriod",
                "kinesis:DeleteResourcePolicy",
                "kinesis:DeleteStream",
                "kinesis:DeregisterStreamConsumer",
                "kinesis:PutResourcePolicy",
            ],
            Self::Alarm => &[
                "cloudwatch:DeleteAlarms",
                "cloudwatch:DisableAlarmActions",
                "cloudwatch:PutAlarmMuteRule",
                "cloudwatch:PutCompositeAlarm",
                "cloudwatch:PutMetricAlarm",
                "cloudwatch:SetAlarmState",
            ],
            Self::Rule => &[
                "events:DeleteRule",
                "events:DisableRule",
                "events:PutRule",
                "events:PutTargets",
                "events:RemoveTargets",
            ],
            Self::Trail => &[
                "cloudtrail:DeleteTrail",
                "cloudtrail:PutEventSelectors",
                "cloudtrail:StopLogging",
                "cloudtrail:UpdateTrail",
            ],
            Self::Function => &[
                "lambda:AddPermission",
                "lambda:DeleteFunction*",
                "lambda:PutFunction*",
                "lambda:RemovePermission",
                "lambda:UpdateFunction*",
            ],
            Self::StateMachine => &["states:DeleteStateMachine", "states:UpdateStateMachine"],
            Self::Stack => &[
                "cloudformation:CreateChangeSet",
                "cloudformation:DeleteStack",
                "cloudformation:ExecuteChangeSet",
                "cloudformation:SetStackPolicy",
                "cloudformation:UpdateStack",
            ],
            Self::LogGroup => &[
                "logs:AssociateKmsKey",
                "logs:DeleteLogGroup",
                "logs:DeleteLogStream",
                "logs:DeleteRetentionPolicy",
                "logs:DisassociateKmsKey",
                "logs:PutLogGroupDeletionProtection",
                "logs:PutRetentionPolicy",
            ],
            Self::Bucket => &[
                "s3:BypassGovernanceRetention",
                "s3:DeleteBucket*",
                "s3:DeleteObject*",
                "s3:PutBucket*",
                "s3:PutEncryptionConfiguration",
                "s3:PutLifecycleConfiguration",
                "s3:PutObjectLegalHold",
                "s3:PutObjectRetention",
                "s3:PutReplicationConfiguration",
            ],
            Self::Alias => &["kms:DeleteAlias", "kms:UpdateAlias"],
            Self::Key => &KEY_ACTIONS,
        }
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no kind of things.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {names}", names = Guarded::ALL.map(Guarded::as_str).join(", "))]
pub struct BadGuarded;

impl FromStr for Guarded {
    type Err = BadGuarded;

    fn from_str(text: &str) -> Result<Self, BadGuarded> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(BadGuarded)
    }
}
