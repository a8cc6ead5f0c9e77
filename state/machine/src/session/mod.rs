//! One session: the sum of its facts.
//!
//! Facts only ever accumulate, each by a rule that does not care for order or repetition (the earliest, the latest, the
//! union). What follows from them (phase, verdict, effects, when to look again) is derived and never stored beside
//! them. Only violations are kept once found, with the policy they were found under, so that a later policy does not
//! rewrite what was decided.
//!
//! # What I4 promises, and where it ends
//! The same inputs in any order and number give the same facts, and so the same verdict and the same effects wanted in
//! the end. Violations are kept, and ids are wanted, on the way there; they too are the same for every order as long as
//! more facts never make a session more innocent. That holds for all controls that ship. It does not hold
//! - for a control that an answer of «no» clears, or that forbids what a «yes» says;
//! - for a control or waiver that depends on `accessType`, which only AWS's description tells: before that comes, it is
//!   judged as empty; or on a `reason` or target that the opening call left out;
//! - where two records open one session, and only the one that arrives later is the innocent one, or a waiver ended
//!   between their times;
//! - without an organisation, for a waiver that names the opener, as long as only a resumption was seen, and for a
//!   waiver that ended between two reported ends of one session.
//!
//! Ids that say that something is missing (`evidence-unknown`, `termination-unconfirmed`, `log-missing`, and a session's
//! closing) depend on what was not known by a time, and so on when it came.

mod absorb;
mod answer;
mod judge;
mod plan;
mod text;
mod want;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

pub use answer::{Answered, Known, LogFlaw, LogSeen, Told};
pub use judge::{Rules, Unproven, Verdict, Waived};
pub use plan::{LATE_MS_MAX, Outcome, Phase, document_kind, target_kind};
pub use text::TEXT_CHARS_MAX;
pub(crate) use text::{clip, principal, thing, thing_id};

use crate::{
    compliance::EvidenceKind,
    decode::{Observation, Opened, What},
    effect::{ActivityKind, Principal, RemedyResult, Response, Severity},
    ids::{EffectId, EventId, EventTime, Names, Now, SessionKey, Thing},
};
use text::fit;

/// How many resumptions are kept: the first ones, and the last.
pub const RESUMES_MAX: usize = 4;
/// How many violated controls are kept: those that end the session first, then the worst.
pub const VIOLATIONS_MAX: usize = 10;
/// How many things a session rests on are kept; managed policies are the first to go. A change of one that is not kept
/// shows at the next recheck instead of at once.
pub const DEPENDS_MAX: usize = 16;

/// A call about the session, with what makes it unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub at: EventTime,
    /// CloudTrail's id of the event.
    pub event: EventId,
    /// Who called.
    pub principal: Principal,
}

/// What the opening call said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Start {
    /// The call.
    pub mark: Mark,
    /// The node or container; empty where not given.
    pub target: Arc<str>,
    /// The document's name or ARN; absent means the default shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Arc<str>>,
    /// The caller's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// Opened by `ecs:ExecuteCommand`.
    #[serde(default)]
    pub container: bool,
}

/// What `DescribeSessions` said of a session that is alive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Described {
    /// When it started.
    pub started_at: EventTime,
    /// The owner's ARN.
    pub owner: Arc<str>,
    /// The node.
    pub target: Arc<str>,
    /// The document's name.
    pub document: Arc<str>,
    /// The reason given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// `Standard` or `JustInTime`; empty where not given.
    pub access_type: Arc<str>,
}

/// A control found violated, kept with the policy it was found under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The control's sentence.
    pub title: Arc<str>,
    /// How bad.
    pub severity: Severity,
    /// What it asks for.
    pub response: Response,
    /// It counts towards the account's quarantine.
    pub quarantine: bool,
    /// Requirement ids.
    pub requirements: BTreeSet<Arc<str>>,
    /// MITRE ATT&CK technique ids.
    pub techniques: BTreeSet<Arc<str>>,
    /// The hash of the policy text.
    pub policy: Arc<str>,
    /// When it began.
    pub since: EventTime,
    /// The event that began it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Which.
    pub key: SessionKey,
    /// Its opening call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Its resumptions, in order, at most [`RESUMES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumes: Vec<Mark>,
    /// The first `TerminateSession` that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminated: Option<Mark>,
    /// What AWS answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Box<Seen>>,
    /// Controls found violated, by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violations: Option<Box<BTreeMap<Arc<str>, Violation>>>,
    /// What has been done: effects that are durable, by their ids without the session's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Box<BTreeSet<EffectId>>>,
    /// When this session was first heard of, processing time.
    pub heard_at: Now,
}

/// What AWS answered about a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Its description; where AWS's answers differ, each field for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub described: Option<Described>,
    /// The last time AWS showed it alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alive_at: Option<EventTime>,
    /// When it had ended, as AWS showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<EventTime>,
    /// The last time AWS showed that it had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_seen_at: Option<EventTime>,
    /// Evidence by kind.
    #[serde(default)]
    pub evidence: BTreeMap<EvidenceKind, Known>,
    /// What the document's content says it opens, where known.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub session_type: Arc<str>,
    /// What it rests on, at most [`DEPENDS_MAX`] things.
    #[serde(default, with = "text::things")]
    pub depends: BTreeSet<Thing>,
    /// The log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSeen>,
    /// The last time it was looked for and was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_absent_at: Option<Now>,
    /// Why it was not there, as last told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_told: Option<(Now, Arc<str>)>,
    /// The last time anything was gathered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gathered_at: Option<Now>,
    /// The last time something it rests on changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbed_at: Option<Now>,
    /// The last change of which it is known what changed, and when that was heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbed_by: Option<(Now, Thing)>,
    /// The first time its termination was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminate_asked_at: Option<Now>,
    /// The last attempt to terminate it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminate_tried_at: Option<Now>,
    /// Why the last attempt to terminate it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminate_failure: Option<Arc<str>>,
}

/// Something new about a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A CloudTrail event.
    Event(SessionEvent),
    /// An answer of the organisation.
    Gathered(Box<Gathered>),
    /// An attempt at an effect that can fail.
    Tried {
        /// How it ended.
        result: RemedyResult,
    },
    /// Effects that are durable now.
    Done(Vec<EffectId>),
    /// This thing changed, and it rests on it, or it is its log.
    Changed(Thing),
    /// Nothing new: judge again, because time has passed or the policy has changed.
    Wake,
}

/// A CloudTrail event about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEvent {
    /// Which session.
    pub key: SessionKey,
    /// The call.
    pub mark: Mark,
    /// Which call.
    pub call: Call,
}

/// Which call an event reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// It was opened.
    Start {
        /// The node or container.
        target: Arc<str>,
        /// The document, where named.
        document: Option<Arc<str>>,
        /// The reason, where given.
        reason: Option<Arc<str>>,
        /// Opened by `ecs:ExecuteCommand`.
        container: bool,
    },
    /// It was resumed.
    Resume,
    /// It was terminated.
    Terminate,
}

impl Call {
    fn kind(&self) -> ActivityKind {
        match self {
            Self::Start { .. } => ActivityKind::Start,
            Self::Resume => ActivityKind::Resume,
            Self::Terminate => ActivityKind::End,
        }
    }
}

/// Whether a session is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// AWS could not say.
    Unknown,
    /// It is.
    Alive(Described),
    /// It is not, since about then.
    Ended(EventTime),
}

/// Whether a session's log is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogLook {
    /// Nobody looked, or the answer was no answer.
    Unknown,
    /// It is not there, and why that is said: where was looked, or what was there instead.
    Absent(Arc<str>),
    /// It is.
    Found(LogSeen),
}

/// One round of questions about one session. Evidence counts only when the same round shows the session alive.
#[derive(Clone, Debug, PartialEq)]
pub struct Gathered {
    /// When.
    pub at: Now,
    /// Whether it is alive.
    pub life: Life,
    /// The evidence.
    pub evidence: BTreeMap<EvidenceKind, Answered>,
    /// What its document's content says it opens: `Standard_Stream`, `Port` …; empty where unknown.
    pub session_type: Arc<str>,
    /// What it rests on.
    pub depends: BTreeSet<Thing>,
    /// Its log.
    pub log: LogLook,
}

impl Gathered {
    /// A round at `at` that learns whether the session is alive, and nothing else yet.
    pub fn new(at: Now, life: Life) -> Self {
        let (evidence, depends) = (BTreeMap::new(), BTreeSet::new());
        Self { at, life, evidence, session_type: Arc::default(), depends, log: LogLook::Unknown }
    }
}

impl SessionEvent {
    /// The session event in an observation, if it is one.
    pub fn of(seen: &Observation<'_>, names: &mut Names) -> Option<Self> {
        let (session, call) = match &seen.what {
            What::Start(Opened { session, target, document, reason, container }) => (
                session,
                Call::Start {
                    target: names.get(&fit(target, text::TARGET_BYTES_MAX)),
                    document: document.as_deref().map(|name| names.get(&fit(name, text::DOCUMENT_BYTES_MAX))),
                    reason: reason.as_deref().map(|reason| fit(reason, text::REASON_BYTES_MAX).into()),
                    container: *container,
                },
            ),
            What::Resume { session } => (session, Call::Resume),
            What::Terminate { session } => (session, Call::Terminate),
            What::Refused { .. } | What::Access { .. } | What::Change { .. } => return None,
        };
        Some(Self {
            key: SessionKey {
                account: seen.account,
                region: names.get(&fit(&seen.region, text::REGION_BYTES_MAX)),
                id: Arc::from(&**session),
            },
            mark: Mark {
                at: seen.at,
                event: seen.event,
                principal: principal(&seen.principal_arn, &seen.principal_kind, names),
            },
            call,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
