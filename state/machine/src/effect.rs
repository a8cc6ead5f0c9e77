//! What Sessionwarden does to the world: plain values, decided by the core and performed by the shell.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    account::AccountInput,
    ids::{AccountId, EffectId, EventId, EventTime, Now, SessionKey},
    incident::Restore,
    register::RegisterInput,
    settings::Tier,
};

/// How bad it is. The order is from harmless to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Look at it when there is time.
    Low,
    /// Look at it today.
    Medium,
    /// Look at it now.
    High,
    /// Wake somebody.
    Critical,
}

/// What a control asks for when it is violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// Report only.
    Report,
    /// Open an incident.
    Incident,
    /// End the session.
    Terminate,
}

/// Whether effects touch anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Decide and report, touch nothing. The default.
    #[default]
    Observe,
    /// Decide, report and act.
    Enforce,
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// The ARN; empty where the event gives none.
    pub arn: Arc<str>,
    /// CloudTrail's `userIdentity.type`: `IAMUser`, `AssumedRole`, `Root`, `AWSService` …; empty where not given.
    pub kind: Arc<str>,
}

/// One item of evidence, as reports and findings show it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EvidenceNote {
    /// What it is about, for example `document` or `log-writable`.
    pub name: Arc<str>,
    /// What was found, in words a person understands.
    pub value: Arc<str>,
    /// Where it was found: `cloudtrail`, `describe-sessions`, `posture`, `log`.
    pub source: Arc<str>,
    /// When it was true.
    pub at: EventTime,
}

/// A control that a session or an event violates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The finding's own id, stable over repetition.
    pub id: EffectId,
    /// The control's id, from its `@id`.
    pub control: Arc<str>,
    /// The control's sentence, from its `@title`.
    pub title: Arc<str>,
    /// From `@severity`.
    pub severity: Severity,
    /// Requirement ids, from `@requirement`.
    pub requirements: BTreeSet<Arc<str>>,
    /// MITRE ATT&CK technique ids, from `@attack`, for example `T1021.007`.
    pub techniques: BTreeSet<Arc<str>>,
    /// Hash of the policy text in force.
    pub policy: Arc<str>,
    /// The account it happened in.
    pub account: AccountId,
    /// The region it happened in.
    pub region: Arc<str>,
    /// The session; absent when an event outside a session violates the control.
    pub session: Option<SessionKey>,
    /// The node, document, role … it happened to; empty where unknown.
    pub target: Arc<str>,
    /// Who did it.
    pub principal: Principal,
    /// When the violation began.
    pub since: EventTime,
    /// The CloudTrail event behind it, where there is one.
    pub event: Option<EventId>,
    /// What the verdict rests on.
    pub evidence: Vec<EvidenceNote>,
    /// The mode the verdict was reached in.
    pub mode: Mode,
}

/// Something a person has to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentNote {
    /// The incident's own id, one for each cause.
    pub id: EffectId,
    /// What happened, in one sentence.
    pub title: Arc<str>,
    /// The control or rule that opened it, for example `log-missing` or a control id.
    pub cause: Arc<str>,
    /// How bad it is.
    pub severity: Severity,
    /// The account it happened in.
    pub account: AccountId,
    /// The region it happened in; empty for an account as a whole.
    pub region: Arc<str>,
    /// The session, where it is about one.
    pub session: Option<SessionKey>,
    /// When the cause began.
    pub opened: EventTime,
    /// When the cause was gone; absent while it lasts.
    pub resolved: Option<EventTime>,
    /// What it rests on.
    pub evidence: Vec<EvidenceNote>,
    /// Findings it was opened for.
    pub findings: Vec<EffectId>,
}

/// What was done, or would have been done, to set something right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemedyKind {
    /// End a session.
    Terminate,
    /// Attach the quarantine policy to an account.
    Quarantine,
    /// Detach it.
    Release,
    /// Put a changed thing back.
    Restore,
}

/// How a remedy ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemedyResult {
    /// Nothing was called: observe mode, replay, or a source without an organisation behind it.
    Planned,
    /// Done and confirmed.
    Done,
    /// The thing was already as wanted.
    Unneeded,
    /// It failed, with the reason; it will be tried again.
    Failed(Arc<str>),
    /// It was refused by a rule of the guardrail itself, with that rule's name.
    Refused(Arc<str>),
}

/// A remedy and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// The remedy's own id, stable over repetition.
    pub id: EffectId,
    /// What kind of remedy.
    pub kind: RemedyKind,
    /// How it ended.
    pub result: RemedyResult,
    /// Why, in one sentence.
    pub reason: Arc<str>,
    /// The account it was done in.
    pub account: AccountId,
    /// The region it was done in; empty for an account as a whole.
    pub region: Arc<str>,
    /// The session, for [`RemedyKind::Terminate`].
    pub session: Option<SessionKey>,
    /// What it was done to: a session id, an account, a document.
    pub target: Arc<str>,
    /// When it was decided.
    pub at: EventTime,
    /// Findings that caused it.
    pub findings: Vec<EffectId>,
}

/// A session call worth telling a SIEM about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivityKind {
    /// `StartSession` or `ExecuteCommand`.
    Start,
    /// `ResumeSession`.
    Resume,
    /// `TerminateSession`, or the end seen in `DescribeSessions`.
    End,
}

/// One session call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// The record's own id, stable over repetition.
    pub id: EffectId,
    /// Which call.
    pub kind: ActivityKind,
    /// The session.
    pub session: SessionKey,
    /// Who called.
    pub principal: Principal,
    /// The node; empty where unknown.
    pub target: Arc<str>,
    /// The document's name; empty where unknown.
    pub document: Arc<str>,
    /// When.
    pub at: EventTime,
    /// The CloudTrail event, where there is one.
    pub event: Option<EventId>,
}

/// What the SIEM feed can carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Report {
    /// A violated control: OCSF Detection Finding (2004).
    Finding(Box<Finding>),
    /// An incident: OCSF Incident Finding (2005).
    Incident(Box<IncidentNote>),
    /// A remedy: OCSF Remediation Activity (7001).
    Remedy(Box<Remedy>),
    /// A session call: OCSF API Activity (6003).
    Activity(Box<Activity>),
}

impl Report {
    /// The reported thing's own id.
    pub fn id(&self) -> &EffectId {
        match self {
            Self::Finding(finding) => &finding.id,
            Self::Incident(incident) => &incident.id,
            Self::Remedy(remedy) => &remedy.id,
            Self::Activity(activity) => &activity.id,
        }
    }
}

/// What the shell is asked to do. It leaves no choice to whoever does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write to the audit trail, and to the feed.
    Report(Report),
    /// Tell people about a report (R-G10, R-G11).
    Notify {
        /// `notify/` and the report's id.
        id: EffectId,
        /// What they are told.
        report: Report,
    },
    /// End a session, and say how the attempt went. Asked again until the session is seen to have ended.
    Terminate {
        /// The same for every attempt.
        id: EffectId,
        /// Which session.
        session: SessionKey,
        /// Why, for the person who is cut off.
        reason: Arc<str>,
    },
    /// Count a violating session whose end is confirmed, in its account's window.
    Count {
        /// The same for every repetition.
        id: EffectId,
        /// What is counted.
        counted: Counted,
    },
    /// Write a session's final verdict to the audit trail.
    Close {
        /// The same for every repetition.
        id: EffectId,
        /// Which session.
        session: SessionKey,
        /// How it ended: `compliant`, `violated`, `log-missing`, `unproven`.
        outcome: &'static str,
        /// The controls it violated.
        controls: BTreeSet<Arc<str>>,
        /// The waivers that excused it.
        waivers: BTreeSet<Arc<str>>,
        /// The hash of the policy text it was last judged by.
        policy: Arc<str>,
        /// What it rests on.
        evidence: Vec<EvidenceNote>,
    },
    /// Lock an account, and say how the attempt went.
    Quarantine {
        /// The episode.
        id: EffectId,
        /// Which account.
        account: AccountId,
        /// What to attach; nothing else is to be attached then.
        lock: Lock,
    },
    /// Look whether an account's lock bites, end the sessions that it denies, and say what was found.
    Sweep {
        /// The episode.
        id: EffectId,
        /// Which account.
        account: AccountId,
        /// What is attached.
        lock: Lock,
    },
    /// Unlock an account, and say how the attempt went.
    Release {
        /// The episode.
        id: EffectId,
        /// Which account.
        account: AccountId,
    },
    /// List the locks of the organisation for the register.
    Compare {
        /// The same for every comparison.
        id: EffectId,
    },
    /// Tell the register.
    ToRegister {
        /// The same for every repetition.
        id: EffectId,
        /// What.
        message: RegisterInput,
    },
    /// Tell an account.
    ToAccount {
        /// The same for every repetition.
        id: EffectId,
        /// Which.
        account: AccountId,
        /// What.
        input: AccountInput,
    },
    /// Look at a thing that was changed, put it back where that is allowed, and say how the attempt went.
    Restore {
        /// The same for every attempt.
        id: EffectId,
        /// Where.
        account: AccountId,
        /// Where.
        region: Arc<str>,
        /// How.
        restore: Restore,
        /// Its name, id or ARN; empty for a setting of the account.
        thing: Arc<str>,
        /// The parts of it that were changed.
        parts: BTreeSet<&'static str>,
        /// Whether it may be put back.
        act: bool,
    },
    /// The cause of an incident is gone.
    Conclude {
        /// The same for every repetition.
        id: EffectId,
        /// Which, by the id of its report.
        incident: EffectId,
    },
    /// Write to the audit trail what a person did.
    Act {
        /// The same for every repetition.
        id: EffectId,
        /// What.
        order: Order,
        /// Who.
        who: Arc<str>,
        /// Why; may be empty.
        reason: Arc<str>,
        /// An account, or an incident's cause.
        target: Arc<str>,
        /// When.
        at: Now,
    },
}

/// What a lock denies, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lock {
    /// How much.
    pub tier: Tier,
    /// To whom, in the tier that denies principals; ARNs as events give them.
    pub principals: BTreeSet<Arc<str>>,
}

/// What a person may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Approve a lock.
    Approve,
    /// Refuse it.
    Deny,
    /// End it.
    Release,
    /// Say that an incident is being looked at.
    Acknowledge,
    /// Say that an incident is over.
    Resolve,
}

impl Order {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Release => "release",
            Self::Acknowledge => "acknowledge",
            Self::Resolve => "resolve",
        }
    }
}

impl Effect {
    /// The effect's id.
    pub fn id(&self) -> &EffectId {
        match self {
            Self::Report(report) => report.id(),
            Self::Notify { id, .. }
            | Self::Terminate { id, .. }
            | Self::Count { id, .. }
            | Self::Close { id, .. }
            | Self::Quarantine { id, .. }
            | Self::Sweep { id, .. }
            | Self::Release { id, .. }
            | Self::Compare { id }
            | Self::ToRegister { id, .. }
            | Self::ToAccount { id, .. }
            | Self::Restore { id, .. }
            | Self::Conclude { id, .. }
            | Self::Act { id, .. } => id,
        }
    }
}

/// Adds a notification of each report that people are told one by one: all but session calls.
pub(crate) fn announce(effects: &mut Vec<Effect>) {
    let told = |effect: &Effect| match effect {
        Effect::Report(report @ (Report::Finding(_) | Report::Incident(_) | Report::Remedy(_))) => {
            let id = EffectId(format!("notify/{}", report.id().0).into());
            Some(Effect::Notify { id, report: report.clone() })
        }
        Effect::Report(Report::Activity(_))
        | Effect::Notify { .. }
        | Effect::Terminate { .. }
        | Effect::Count { .. }
        | Effect::Close { .. }
        | Effect::Quarantine { .. }
        | Effect::Sweep { .. }
        | Effect::Release { .. }
        | Effect::Compare { .. }
        | Effect::ToRegister { .. }
        | Effect::ToAccount { .. }
        | Effect::Restore { .. }
        | Effect::Conclude { .. }
        | Effect::Act { .. } => None,
    };
    let notices: Vec<Effect> = effects.iter().filter_map(told).collect();
    effects.extend(notices);
}

/// Says of incidents that were opened and are not wanted any more that their causes are gone. `opened` are ids of effects
/// that are durable.
pub(crate) fn conclude<'a>(effects: &mut Vec<Effect>, opened: impl Iterator<Item = &'a EffectId>) {
    let wanted: BTreeSet<EffectId> = effects.iter().map(|effect| effect.id().clone()).collect();
    let over = opened.filter(|id| id.0.starts_with("incident/") && !wanted.contains(*id));
    let conclude = |incident: &EffectId| Effect::Conclude {
        id: EffectId(incident.0.replacen("incident/", "conclude/", 1).into()),
        incident: incident.clone(),
    };
    effects.extend(over.map(conclude));
}

/// A violating session, as its account counts it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Counted {
    /// When the violation began, event time.
    pub at: EventTime,
    /// Which session.
    pub session: SessionKey,
    /// Who opened it; empty where unknown.
    pub principal: Arc<str>,
    /// The controls it violated.
    pub controls: BTreeSet<Arc<str>>,
    /// The worst of them.
    #[serde(default = "high")]
    pub severity: Severity,
}

/// What sessions that were counted before severities were kept are taken for.
fn high() -> Severity {
    Severity::High
}
