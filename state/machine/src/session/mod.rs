//! One session: the sum of its facts.
//!
//! Facts only ever accumulate, each by a rule that does not care for order or repetition (the earliest, the latest, the
//! union). What follows from them (phase, verdict, effects, when to look again) is derived and never stored beside
//! them. Only violations are kept once found, with the policy they were found under, so that a later policy does not
//! rewrite what was decided.

mod judge;
mod plan;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

pub use judge::{Rules, Unproven, Verdict};
pub use plan::{Outcome, Phase, document_kind, target_kind};

use crate::{
    compliance::{EvidenceKind, Tri},
    decode::{Observation, Opened, What},
    effect::{Effect, Principal, RemedyResult, Response, Severity},
    ids::{EffectId, EventId, EventTime, Names, Now, SessionKey, Thing},
};

/// How many resumptions are kept: the first ones.
pub const RESUMES_MAX: usize = 4;
/// How long a text taken from an event may be, in characters; AWS's own limits are lower.
pub const TEXT_CHARS_MAX: usize = 512;

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

/// What is known of one kind of evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The first time that AWS said no while the session was alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_no: Option<EventTime>,
    /// The latest answer, yes or no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<(EventTime, bool)>,
}

/// The session's log, once found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogSeen {
    /// When it was written.
    pub written_at: EventTime,
    /// Its size in bytes.
    pub size_bytes: u64,
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
    /// Its first resumptions, in order, at most [`RESUMES_MAX`].
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
    /// What has been done: effects that are durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Box<BTreeSet<EffectId>>>,
    /// When this session was first heard of, processing time.
    pub heard_at: Now,
}

/// What AWS answered about a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The description with the earliest start; there should be only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub described: Option<Described>,
    /// The last time AWS showed it alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alive_at: Option<EventTime>,
    /// When it had ended, as AWS showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<EventTime>,
    /// Evidence by kind.
    #[serde(default)]
    pub evidence: BTreeMap<EvidenceKind, Known>,
    /// What it rests on.
    #[serde(default)]
    pub depends: BTreeSet<Thing>,
    /// The log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSeen>,
    /// The last time it was looked for and was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_absent_at: Option<Now>,
    /// The last time anything was gathered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gathered_at: Option<Now>,
    /// The last time something it rests on changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbed_at: Option<Now>,
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
    /// Something it rests on changed.
    Disturbed,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLook {
    /// Nobody looked, or the answer was no answer.
    Unknown,
    /// It is not there.
    Absent,
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
    pub evidence: BTreeMap<EvidenceKind, Tri>,
    /// What it rests on.
    pub depends: BTreeSet<Thing>,
    /// Its log.
    pub log: LogLook,
}

impl SessionEvent {
    /// The session event in an observation, if it is one.
    pub fn of(seen: &Observation<'_>, names: &mut Names) -> Option<Self> {
        let (session, call) = match &seen.what {
            What::Start(Opened { session, target, document, reason, container }) => (
                session,
                Call::Start {
                    target: names.get(clip(target)),
                    document: document.as_deref().map(|name| names.get(clip(name))),
                    reason: reason.as_deref().map(|reason| Arc::from(clip(reason))),
                    container: *container,
                },
            ),
            What::Resume { session } => (session, Call::Resume),
            What::Terminate { session } => (session, Call::Terminate),
            What::Refused { .. } | What::Access { .. } | What::Change { .. } => return None,
        };
        Some(Self {
            key: SessionKey { account: seen.account, region: names.get(clip(&seen.region)), id: Arc::from(&**session) },
            mark: Mark {
                at: seen.at,
                event: seen.event,
                principal: Principal {
                    arn: names.get(clip(&seen.principal_arn)),
                    kind: names.get(clip(&seen.principal_kind)),
                },
            },
            call,
        })
    }
}

/// The first [`TEXT_CHARS_MAX`] characters.
pub(crate) fn clip(text: &str) -> &str {
    if text.len() <= TEXT_CHARS_MAX {
        return text;
    }
    text.char_indices().nth(TEXT_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

fn earliest<T: Ord>(kept: &mut Option<T>, new: T) {
    match kept {
        Some(old) if *old <= new => {}
        Some(_) | None => *kept = Some(new),
    }
}

fn latest<T: Ord>(kept: &mut Option<T>, new: T) {
    match kept {
        Some(old) if *old >= new => {}
        Some(_) | None => *kept = Some(new),
    }
}

impl Session {
    /// A session of which nothing is known yet, first heard of at `now`.
    pub fn new(key: SessionKey, now: Now) -> Self {
        Self {
            key,
            start: None,
            resumes: Vec::new(),
            terminated: None,
            seen: None,
            violations: None,
            done: None,
            heard_at: now,
        }
    }

    /// Takes one input in, judges, and returns the effects that are wanted and not yet done, in a stable order.
    /// Total: no input is an error. Deterministic: nothing but the arguments decides.
    pub fn step(&mut self, input: Input, now: Now, rules: &mut Rules<'_>) -> Vec<Effect> {
        self.absorb(input, now);
        let verdict = self.judge(rules);
        self.wanted(&verdict, now, rules.settings)
    }

    /// Adds facts without judging.
    pub fn absorb(&mut self, input: Input, now: Now) {
        match input {
            Input::Event(event) => self.absorb_event(event),
            Input::Gathered(gathered) => self.absorb_gathered(*gathered),
            Input::Tried { result } => {
                let seen = self.seen_mut();
                earliest(&mut seen.terminate_asked_at, now);
                latest(&mut seen.terminate_tried_at, now);
                seen.terminate_failure = match result {
                    RemedyResult::Failed(why) | RemedyResult::Refused(why) => Some(why),
                    RemedyResult::Planned | RemedyResult::Done | RemedyResult::Unneeded => None,
                };
            }
            Input::Done(effects) => self.done.get_or_insert_default().extend(effects),
            Input::Disturbed => latest(&mut self.seen_mut().disturbed_at, now),
            Input::Wake => {}
        }
    }

    /// Adds a CloudTrail event.
    pub fn absorb_event(&mut self, event: SessionEvent) {
        let SessionEvent { mark, call, .. } = event;
        match call {
            Call::Start { target, document, reason, container } => {
                earliest(&mut self.start, Start { mark, target, document, reason, container });
            }
            Call::Resume => self.add_resume(mark),
            Call::Terminate => earliest(&mut self.terminated, mark),
        }
    }

    fn add_resume(&mut self, mark: Mark) {
        if let Err(at) = self.resumes.binary_search(&mark) {
            self.resumes.insert(at, mark);
            self.resumes.truncate(RESUMES_MAX);
        }
    }

    fn absorb_gathered(&mut self, gathered: Gathered) {
        let seen = self.seen_mut();
        let at = gathered.at.as_event_time();
        latest(&mut seen.gathered_at, gathered.at);
        match gathered.life {
            Life::Unknown => {}
            Life::Alive(described) => {
                latest(&mut seen.alive_at, at);
                earliest(&mut seen.described, described);
                for (kind, answer) in gathered.evidence {
                    let known = seen.evidence.entry(kind).or_default();
                    match answer {
                        Tri::Unknown => {}
                        Tri::Yes => latest(&mut known.last, (at, true)),
                        Tri::No => {
                            latest(&mut known.last, (at, false));
                            earliest(&mut known.first_no, at);
                        }
                    }
                }
                seen.depends.extend(gathered.depends);
            }
            Life::Ended(ended_at) => earliest(&mut seen.ended_at, ended_at),
        }
        match gathered.log {
            LogLook::Found(log) => earliest(&mut seen.log, log),
            LogLook::Absent => latest(&mut seen.log_absent_at, gathered.at),
            LogLook::Unknown => {}
        }
    }

    /// Adds the facts of the same session, gathered elsewhere. The order of merging does not matter.
    pub fn merge(&mut self, other: Self) {
        if let Some(start) = other.start {
            earliest(&mut self.start, start);
        }
        for mark in other.resumes {
            self.add_resume(mark);
        }
        if let Some(mark) = other.terminated {
            earliest(&mut self.terminated, mark);
        }
        self.heard_at = self.heard_at.min(other.heard_at);
        debug_assert!(other.seen.is_none() && other.done.is_none(), "only what events say is gathered in two places");
    }

    fn seen_mut(&mut self) -> &mut Seen {
        self.seen.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests;
