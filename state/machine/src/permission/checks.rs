//! The actions that a node's role needs so that its sessions work and are logged.

use super::{Caller, Context, Decision, Request, Target, evaluate};

/// The actions of the session's channels; they know no resource.
const CHANNEL_ACTIONS: [&str; 4] = [
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
];

/// Where sessions are logged, and by which keys they are encrypted.
#[derive(Clone, Debug, PartialEq)]
pub struct LogTargets {
    /// The log object, `arn:aws:s3:::bucket/key`, with the bucket's policy. `None`: no log is kept in S3.
    pub object: Option<Target>,
    /// The bucket, with its policy.
    pub bucket: Option<Target>,
    /// The keys in use, each with its key policy.
    pub keys: Vec<Target>,
    /// The log stream in CloudWatch Logs. `None`: nothing is streamed.
    pub stream: Option<Target>,
    /// The message channels: `*`, with the policy of the endpoint where there is one.
    pub channels: Target,
}

/// One checked action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionCheck {
    /// The action.
    pub action: &'static str,
    /// The resource's ARN.
    pub resource: String,
    /// What was decided.
    pub decision: Decision,
}

/// Checks every action that a logged session needs, in a fixed order: twelve with log object, bucket, stream and
/// two keys.
///
/// The answer depends on the arguments alone, so that it may be remembered by the role's id and the versions of the
/// policies.
pub fn check_actions(caller: &Caller, targets: &LogTargets, context: &Context) -> Vec<ActionCheck> {
    let mut checks = Vec::with_capacity(12);
    let mut check = |action: &'static str, target: &Target| {
        let decision = evaluate(&Request { action, caller, target, context });
        checks.push(ActionCheck { action, resource: target.resource.clone(), decision });
    };
    if let Some(object) = &targets.object {
        check("s3:PutObject", object);
    }
    if let Some(bucket) = &targets.bucket {
        check("s3:GetEncryptionConfiguration", bucket);
    }
    for key in &targets.keys {
        check("kms:GenerateDataKey", key);
        check("kms:Decrypt", key);
    }
    if let Some(stream) = &targets.stream {
        check("logs:CreateLogStream", stream);
        check("logs:PutLogEvents", stream);
    }
    for action in CHANNEL_ACTIONS {
        check(action, &targets.channels);
    }
    checks
}
