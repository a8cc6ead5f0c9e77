//! What the hands in AWS are told: whom to be in member accounts, how often to call, how long to wait.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use sessionwarden_machine::{document::WantedPreferences, ids::AccountId, wanted::Wanted};

use super::locks::LockSettings;

/// A group of calls that share one token bucket in each account and region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// `ssm:DescribeSessions`.
    Sessions,
    /// `ssm:TerminateSession`.
    Terminate,
    /// `ssm:DescribeInstanceInformation`, `ssm:GetServiceSetting`, `ssm:ListTagsForResource`.
    Nodes,
    /// `ssm:GetDocument`.
    Documents,
    /// All of IAM, which counts by account.
    Iam,
    /// All of Organizations, which counts by organisation.
    Organizations,
    /// All of S3.
    S3,
    /// All of EC2.
    Ec2,
    /// All of KMS.
    Kms,
    /// All of CloudWatch Logs.
    Logs,
    /// All of ECS.
    Ecs,
    /// `events:PutEvents`.
    Events,
    /// What is looked at and put back of KMS, CloudTrail, EventBridge, SNS, Kinesis, CloudWatch and Systems Manager.
    Repairs,
}

/// How often calls may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Calls per second in the long run.
    pub per_second: NonZeroU32,
    /// Calls at once after a pause.
    pub burst: NonZeroU32,
}

impl Api {
    /// Every group.
    pub const ALL: [Self; 13] = [
        Self::Sessions,
        Self::Terminate,
        Self::Nodes,
        Self::Documents,
        Self::Iam,
        Self::Organizations,
        Self::S3,
        Self::Ec2,
        Self::Kms,
        Self::Logs,
        Self::Ecs,
        Self::Events,
        Self::Repairs,
    ];

    /// The group's name in settings and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Terminate => "terminate",
            Self::Nodes => "nodes",
            Self::Documents => "documents",
            Self::Iam => "iam",
            Self::Organizations => "organizations",
            Self::S3 => "s3",
            Self::Ec2 => "ec2",
            Self::Kms => "kms",
            Self::Logs => "logs",
            Self::Ecs => "ecs",
            Self::Events => "events",
            Self::Repairs => "repairs",
        }
    }

    /// What holds where the settings name no limit: a choice well below what AWS grants an account, so that others who
    /// call the same APIs there are not disturbed.
    pub fn default_limit(self) -> Limit {
        match self {
            Self::Sessions | Self::Nodes | Self::Documents | Self::Repairs => Limit::new(5, 20),
            Self::Terminate | Self::Logs | Self::Ecs => Limit::new(10, 20),
            Self::Iam => Limit::new(15, 60),
            Self::Organizations => Limit::new(3, 12),
            Self::S3 | Self::Events => Limit::new(50, 100),
            Self::Ec2 | Self::Kms => Limit::new(10, 40),
        }
    }
}

impl Limit {
    /// So many calls per second and at once; zero counts as one.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        const fn at_least_one(number: u32) -> NonZeroU32 {
            match NonZeroU32::new(number) {
                Some(number) => number,
                None => NonZeroU32::MIN,
            }
        }
        Self { per_second: at_least_one(per_second), burst: at_least_one(burst) }
    }
}

/// Settings of [`super::AwsOrganization`]. What the SDK's own chain gives is not repeated here.
#[derive(Clone, Debug)]
pub struct AwsSettings {
    /// The name of the role in member accounts, with its path, without a slash before it.
    pub role: Arc<str>,
    /// The External ID that the role's trust policy asks for ("Access to AWS accounts owned by third parties"), 2 to
    /// 1,224 characters.
    pub external_id: Arc<str>,
    /// The name of the sessions with that role, by which CloudTrail shows them, 2 to 64 characters. Default:
    /// `sessionwarden`.
    pub session_name: Arc<str>,
    /// How long credentials are asked for, 900 to 43,200 seconds; one role assuming another gets 3,600 at the most.
    /// Default: 3,600.
    pub credentials_seconds: u32,
    /// The regions in which sessions can run. Default: empty, which asks EC2 for the regions enabled in the own
    /// account.
    pub regions: Vec<Arc<str>>,
    /// The account through which Organizations is called: the management account or a delegated administrator. Default:
    /// the own account.
    pub organization_account: Option<AccountId>,
    /// The account that owns the log bucket and its key. Default: the own account.
    pub log_account: Option<AccountId>,
    /// The policies with which accounts are locked.
    pub locks: LockSettings,
    /// What the guardrail's things are to be like. Default: what is known of themselves.
    pub wanted: Wanted,
    /// What preferences documents are to say. Default: nothing is wanted.
    pub preferences: WantedPreferences,
    /// Limits other than [`Api::default_limit`].
    pub limits: BTreeMap<Api, Limit>,
    /// How long a call waits for its turn before it counts as throttled. Default: 5 s.
    pub turn_wait_max: Duration,
    /// How long one attempt of a call may take. Default: 5 s.
    pub attempt_max: Duration,
    /// How long a refused role is not asked for again. Default: 10 s.
    pub refusal_kept: Duration,
}

impl AwsSettings {
    /// Settings with all defaults.
    pub fn new(role: impl Into<Arc<str>>, external_id: impl Into<Arc<str>>) -> Self {
        Self {
            role: role.into(),
            external_id: external_id.into(),
            session_name: Arc::from("sessionwarden"),
            credentials_seconds: 3_600,
            regions: Vec::new(),
            organization_account: None,
            log_account: None,
            locks: LockSettings::default(),
            wanted: Wanted::default(),
            preferences: WantedPreferences::default(),
            limits: BTreeMap::new(),
            turn_wait_max: Duration::from_secs(5),
            attempt_max: Duration::from_secs(5),
            refusal_kept: Duration::from_secs(10),
        }
    }
}
