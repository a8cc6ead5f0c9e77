//! Changes of the guardrail's own things that are put back (the rows of the threat catalogue with R): the thing is made
//! again what it is to be ([`crate::wanted`]). Where that is not known, it is for people.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Incident;
use crate::{
    account::next_attempt,
    effect::{Effect, Mode, Remedy, RemedyKind, RemedyResult, Report, Response},
    ids::{EffectId, Now},
    settings::Settings,
};

/// What kind of thing is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restore {
    /// A KMS key (TH22).
    Key,
    /// A bucket (TH23).
    Bucket,
    /// An EventBridge rule of the default bus (TH27).
    Rule,
    /// A trail (TH28).
    Trail,
    /// Access to the EC2 serial console (TH10).
    SerialConsole,
    /// A role (TH20, TH29).
    Role,
    /// A managed policy of IAM (TH20).
    Policy,
    /// A Systems Manager document, preferences too (TH26).
    Document,
    /// The Default Host Management role (TH13).
    HostManagement,
    /// A Kinesis stream (TH29).
    Stream,
    /// An SNS topic (TH29).
    Topic,
    /// A CloudWatch alarm (TH29).
    Alarm,
    /// A policy of the organisation (TH30).
    OrganizationPolicy,
}

impl Restore {
    /// All.
    pub const ALL: [Self; 13] = [
        Self::Key,
        Self::Bucket,
        Self::Rule,
        Self::Trail,
        Self::SerialConsole,
        Self::Role,
        Self::Policy,
        Self::Document,
        Self::HostManagement,
        Self::Stream,
        Self::Topic,
        Self::Alarm,
        Self::OrganizationPolicy,
    ];

    /// Its name, as configuration, files and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Bucket => "bucket",
            Self::Rule => "rule",
            Self::Trail => "trail",
            Self::SerialConsole => "serial-console",
            Self::Role => "role",
            Self::Policy => "policy",
            Self::Document => "document",
            Self::HostManagement => "host-management",
            Self::Stream => "stream",
            Self::Topic => "topic",
            Self::Alarm => "alarm",
            Self::OrganizationPolicy => "organization-policy",
        }
    }

    /// What is put back after this call: the thing, and the parts of it that the call can have changed. `None` for what
    /// nobody can put back: data that is deleted, an account that has left or was moved, a policy type that was disabled.
    pub fn of(call: &str) -> Option<(Self, &'static [&'static str])> {
        Some(match call {
            "DisableKey" | "ScheduleKeyDeletion" => (Self::Key, &["enabled"]),
            "PutKeyPolicy" => (Self::Key, &["policy"]),
            "RevokeGrant" | "RetireGrant" => (Self::Key, &["grants"]),
            "PutBucketPolicy" | "DeleteBucketPolicy" => (Self::Bucket, &["policy"]),
            "PutBucketVersioning" => (Self::Bucket, &["versioning"]),
            "PutBucketLifecycle" | "PutBucketLifecycleConfiguration" => (Self::Bucket, &["lifecycle"]),
            "PutBucketEncryption" | "DeleteBucketEncryption" => (Self::Bucket, &["encryption"]),
            "PutObjectLockConfiguration" | "PutBucketObjectLockConfiguration" => (Self::Bucket, &["object-lock"]),
            "DisableRule" => (Self::Rule, &["state"]),
            "PutRule" => (Self::Rule, &["rule", "state"]),
            "RemoveTargets" | "PutTargets" => (Self::Rule, &["targets"]),
            "DeleteRule" => (Self::Rule, &["rule", "targets", "state"]),
            "StopLogging" => (Self::Trail, &["logging"]),
            "UpdateTrail" => (Self::Trail, &["trail"]),
            "PutEventSelectors" => (Self::Trail, &["selectors"]),
            "DeleteTrail" => (Self::Trail, &["trail", "selectors", "logging"]),
            "EnableSerialConsoleAccess" => (Self::SerialConsole, &["access"]),
            "AttachRolePolicy" | "DetachRolePolicy" => (Self::Role, &["attached"]),
            "PutRolePolicy" | "DeleteRolePolicy" => (Self::Role, &["inline"]),
            "PutRolePermissionsBoundary" | "DeleteRolePermissionsBoundary" => (Self::Role, &["boundary"]),
            "UpdateAssumeRolePolicy" => (Self::Role, &["trust"]),
            "DeleteRole" => (Self::Role, &["path", "trust", "boundary", "inline", "attached"]),
            "CreatePolicyVersion" | "SetDefaultPolicyVersion" | "DeletePolicyVersion" | "DeletePolicy" => {
                (Self::Policy, &["document"])
            }
            "UpdateDocument" | "UpdateDocumentDefaultVersion" | "DeleteDocument" | "CreateDocument" => {
                (Self::Document, &["content"])
            }
            "ModifyDocumentPermission" => (Self::Document, &["shared"]),
            "UpdateServiceSetting" | "ResetServiceSetting" => (Self::HostManagement, &["role"]),
            "DecreaseStreamRetentionPeriod" => (Self::Stream, &["retention-hours"]),
            "SetTopicAttributes" => (Self::Topic, &["attributes"]),
            "DisableAlarmActions" => (Self::Alarm, &["actions"]),
            "UpdatePolicy" => (Self::OrganizationPolicy, &["content"]),
            "DetachPolicy" => (Self::OrganizationPolicy, &["targets"]),
            _ => return None,
        })
    }
}

/// What looking at a thing came to, and putting it back.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// The parts that are not, or were not, as wanted.
    pub changes: Vec<Arc<str>>,
    /// `Planned`: it was only looked at. `Refused`: it cannot be put back, with the reason.
    pub result: RemedyResult,
}

/// Attempts to put a change back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restoring {
    /// The last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Now>,
    /// How many failed.
    pub failures: u32,
    /// Why the last one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Arc<str>>,
    /// When it was seen to be as wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Now>,
    /// It was looked at without being touched.
    pub looked: bool,
    /// The parts that were not as wanted, as last looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Arc<str>>,
    /// Why it is not put back, and will not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Arc<str>>,
}

impl Restoring {
    /// Notes an attempt; tells whether the thing is as wanted.
    pub(super) fn tried(&mut self, restored: Restored, now: Now) -> bool {
        self.tried_at = Some(now);
        if !matches!(restored.result, RemedyResult::Failed(_)) {
            (self.changes, self.failures, self.failure) = (restored.changes, 0, None);
        }
        match restored.result {
            RemedyResult::Done | RemedyResult::Unneeded => self.done_at = Some(now),
            RemedyResult::Planned => self.looked = true,
            RemedyResult::Refused(why) => self.refused = Some(why),
            RemedyResult::Failed(why) => (self.failures, self.failure) = (self.failures + 1, Some(why)),
        }
        self.done_at.is_some()
    }

    fn rests_until(&self) -> Option<Now> {
        self.tried_at.filter(|_| self.failures > 0).map(|at| next_attempt(at, self.failures))
    }
}

/// What is next with a change that can be put back.
enum Next {
    /// It is said how it stands.
    Say(RemedyResult),
    /// The thing is looked at, and put back if that is allowed.
    Call {
        /// It is.
        act: bool,
    },
    /// Nothing until the next attempt.
    Rest,
}

impl Incident {
    /// What is put back, and which of its parts were changed; `None` where that is for people, where nobody has to look at
    /// it, and where AWS refused each call.
    pub fn restore(&self) -> Option<(Restore, BTreeSet<&'static str>)> {
        if self.note.is_some() || self.attempt || self.response == Response::Report {
            return None;
        }
        let calls = self.calls.iter().chain([&self.call]);
        let changed: Vec<_> = calls.filter_map(|call| Restore::of(call)).collect();
        let (restore, _) = changed.first()?;
        Some((*restore, changed.iter().flat_map(|(_, parts)| parts.iter().copied()).collect()))
    }

    /// When the next attempt may be made.
    pub(super) fn restore_due(&self, now: Now, settings: &Settings) -> Option<Now> {
        let (restore, _) = self.restore()?;
        match self.next(restore, now, settings) {
            Next::Say(_) => None,
            Next::Call { .. } | Next::Rest => self.restoring.rests_until().filter(|_| self.resolved.is_none()),
        }
    }

    fn next(&self, restore: Restore, now: Now, settings: &Settings) -> Next {
        let Restoring { done_at, looked, refused, changes, .. } = &self.restoring;
        let act = settings.mode == Mode::Enforce && settings.restore.contains(&restore);
        if done_at.is_some() {
            Next::Say(if changes.is_empty() { RemedyResult::Unneeded } else { RemedyResult::Done })
        } else if let Some(why) = refused {
            Next::Say(RemedyResult::Refused(Arc::clone(why)))
        } else if !settings.organization || (*looked && !act) {
            Next::Say(RemedyResult::Planned)
        } else if self.resolved.is_none() && self.restoring.rests_until().is_none_or(|until| now >= until) {
            Next::Call { act }
        } else {
            Next::Rest
        }
    }

    /// The thing is put back, or it is said how it would be.
    pub(super) fn want_restore(&self, now: Now, settings: &Settings, effects: &mut Vec<Effect>) {
        let Some((restore, parts)) = self.restore() else { return };
        match self.next(restore, now, settings) {
            Next::Say(result) => effects.push(self.restore_remedy(restore, result)),
            Next::Call { act } => effects.push(Effect::Restore {
                id: EffectId(format!("restoring/{}-{}", self.cause, self.round).into()),
                account: self.account,
                region: Arc::clone(&self.region),
                restore,
                thing: Arc::clone(&self.target),
                parts,
                act,
            }),
            Next::Rest => {}
        }
    }

    fn restore_remedy(&self, restore: Restore, result: RemedyResult) -> Effect {
        let verb = match &result {
            RemedyResult::Planned => "restore",
            RemedyResult::Refused(_) => "restore-refused",
            RemedyResult::Done | RemedyResult::Unneeded | RemedyResult::Failed(_) => "restored",
        };
        Effect::Report(Report::Remedy(Box::new(Remedy {
            id: EffectId(format!("{verb}/{}-{}", self.cause, self.round).into()),
            kind: RemedyKind::Restore,
            reason: self.says(restore, &result).into(),
            result,
            account: self.account,
            region: Arc::clone(&self.region),
            session: None,
            target: Arc::clone(&self.target),
            at: self.first.at,
            findings: Vec::new(),
        })))
    }

    fn says(&self, restore: Restore, result: &RemedyResult) -> String {
        let (what, parts) = (restore.as_str(), self.restoring.changes.join(", "));
        match result {
            RemedyResult::Refused(why) => format!("the {what} is not put back: {why}"),
            RemedyResult::Planned if !self.restoring.looked => format!("the {what} would be put back as it is to be"),
            RemedyResult::Planned if parts.is_empty() => format!("the {what} is as it is to be"),
            RemedyResult::Planned => format!("the {what} would be put back as it is to be: {parts}"),
            RemedyResult::Unneeded => format!("the {what} was as it is to be"),
            RemedyResult::Done | RemedyResult::Failed(_) => format!("the {what} is as it is to be again: {parts}"),
        }
    }
}
