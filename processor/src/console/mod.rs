//! What people and probes see of the running service: health, metrics and status over HTTP, and the terminal view.

mod http;
mod live;
mod page;
pub mod status;

use std::{collections::VecDeque, sync::Arc};

use serde::Serialize;
use sessionwarden_machine::{
    effect::Mode,
    ids::{AccountId, Now, SessionKey},
};

pub use http::{Console, ConsoleError};
pub use live::{Health, Pulse, Stalled};

/// A snapshot of the service, shared through a [`tokio::sync::watch`] channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// When the snapshot was taken.
    pub now: Now,
    /// Time since the start, in ms.
    pub uptime_ms: u64,
    /// Whether anything is touched.
    pub mode: Mode,
    /// Where records come from, in a few words, for example `demonstration` or a path.
    pub source: Arc<str>,
    /// Totals and present numbers.
    pub counts: Counts,
    /// Age of the newest record handled, in ms.
    pub lag_ms: u64,
    /// How long the longest overdue recheck has been due, in ms; 0 when none is.
    pub oldest_overdue_ms: u64,
    /// Live sessions, at most [`Status::SESSIONS_MAX`]; violating ones should come first.
    pub sessions: Vec<LiveSession>,
    /// Accounts that are locked now.
    pub quarantined: Vec<AccountId>,
    /// What happened last, oldest first, at most [`Status::RECENT_MAX`]. Added to by [`Status::note`].
    pub recent: VecDeque<Happening>,
    /// Records read in each of the last seconds, oldest first, at most [`Status::RATE_MAX`]. Added to by
    /// [`Status::note_rate`].
    pub records_per_second: VecDeque<u64>,
}

/// Totals since the start, except where «now» is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records taken from the source.
    pub records_read: u64,
    /// Those that said something about a subject.
    pub records_relevant: u64,
    /// Those that concern nothing that is watched.
    pub records_ignored: u64,
    /// Those that were seen before.
    pub records_duplicate: u64,
    /// Those that could not be read.
    pub records_poison: u64,
    /// Sessions live now.
    pub sessions_live: u64,
    /// Sessions seen.
    pub sessions_seen: u64,
    /// Sessions seen to start or resume, and not seen to end, now.
    pub sessions_open: u64,
    /// Distinct sessions with a violated control.
    pub sessions_violating: u64,
    /// Sessions that ended and wait for their log now.
    pub sessions_awaiting_log: u64,
    /// Sessions whose log was found.
    pub sessions_verified: u64,
    /// Terminations that were confirmed, or planned in observe mode.
    pub terminations: u64,
    /// Incidents open now.
    pub incidents_open: u64,
}

/// One live session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LiveSession {
    /// Which.
    pub key: SessionKey,
    /// Who; a short form of the principal.
    pub principal: Arc<str>,
    /// The node; empty where unknown.
    pub target: Arc<str>,
    /// The document's name; empty where unknown.
    pub document: Arc<str>,
    /// Since when, in ms.
    pub age_ms: u64,
    /// What is held of it.
    pub verdict: Verdict,
    /// Controls it violates.
    pub controls: Vec<Arc<str>>,
}

/// What is held of a live session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Not judged yet.
    Pending,
    /// All evidence is there and no control is violated.
    Compliant,
    /// Some evidence is unknown.
    Unknown,
    /// A control is violated.
    Violating,
    /// It is being ended.
    Terminating,
}

impl Verdict {
    /// The verdict as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Compliant => "compliant",
            Self::Unknown => "unknown",
            Self::Violating => "violating",
            Self::Terminating => "terminating",
        }
    }
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HappeningKind {
    /// A session started or resumed.
    Started,
    /// A session ended by itself.
    Ended,
    /// A session's log was found.
    Verified,
    /// A control was violated.
    Violated,
    /// A session was ended.
    Terminated,
    /// Something that sessions depend on was changed.
    Changed,
    /// An incident was opened.
    Incident,
    /// An incident was resolved.
    Resolved,
    /// An account was locked.
    Quarantined,
    /// An account was released.
    Released,
    /// A record was parked.
    Parked,
    /// Something about the service itself.
    Notice,
}

impl HappeningKind {
    /// The kind as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ended => "ended",
            Self::Verified => "verified",
            Self::Violated => "violated",
            Self::Terminated => "terminated",
            Self::Changed => "changed",
            Self::Incident => "incident",
            Self::Resolved => "resolved",
            Self::Quarantined => "quarantined",
            Self::Released => "released",
            Self::Parked => "parked",
            Self::Notice => "notice",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Happening {
    /// The how manieth since the start, from 1; set by [`Status::note`].
    pub number: u64,
    /// When.
    pub at: Now,
    /// What kind.
    pub kind: HappeningKind,
    /// The account, where it is about one.
    pub account: Option<AccountId>,
    /// The session's id, where it is about one.
    pub session: Option<Arc<str>>,
    /// What, in one sentence.
    pub text: Arc<str>,
}

impl Status {
    /// How many happenings are kept.
    pub const RECENT_MAX: usize = 50;
    /// How many live sessions are listed; [`Counts::sessions_live`] counts all.
    pub const SESSIONS_MAX: usize = 200;
    /// How many seconds of [`Status::records_per_second`] are kept.
    pub const RATE_MAX: usize = 120;

    /// Adds what happened; its number is set here, and the oldest is dropped beyond [`Status::RECENT_MAX`].
    pub fn note(&mut self, mut happening: Happening) {
        happening.number = self.recent.back().map_or(1, |last| last.number + 1);
        self.recent.push_back(happening);
        while self.recent.len() > Self::RECENT_MAX {
            self.recent.pop_front();
        }
    }

    /// Adds the number of records read in the second that just passed.
    pub fn note_rate(&mut self, records: u64) {
        self.records_per_second.push_back(records);
        while self.records_per_second.len() > Self::RATE_MAX {
            self.records_per_second.pop_front();
        }
    }
}

impl Happening {
    /// Something of `kind` that happened at `at`; account and session can be set afterwards.
    pub fn new(at: Now, kind: HappeningKind, text: impl Into<Arc<str>>) -> Self {
        Self { number: 0, at, kind, account: None, session: None, text: text.into() }
    }
}

/// Hours, minutes and seconds: `1:02:03`, with days in front where there are any.
pub(crate) fn clock(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let days = if days > 0 { format!("{days}d ") } else { String::new() };
    format!("{days}{hours}:{minutes:02}:{:02}", seconds % 60)
}

/// The time of day in UTC, `hh:mm:ss`.
pub(crate) fn time_of_day(at: Now) -> String {
    format!("{:0>8}", clock(at.0.rem_euclid(86_400_000) as u64))
}

/// A duration in the unit that suits it: `120 ms`, `3.4 s`, `12 min`.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{}.{} s", ms / 1_000, ms / 100 % 10),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
