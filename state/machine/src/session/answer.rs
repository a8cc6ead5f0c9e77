//! What is kept of answers about a session: its evidence, and its log.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{compliance::Tri, ids::EventTime};

/// What is known of one kind of evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The first time that AWS said no while the session was alive.
    #[serde(rename = "no", default, skip_serializing_if = "Option::is_none")]
    pub first_no: Option<EventTime>,
    /// The latest answer, yes or no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<(EventTime, bool)>,
    /// Why: the first no, else the latest answer, one that is none included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
}

/// An answer to one question about a session, with where it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answered {
    /// The answer.
    pub value: Tri,
    /// Who answered: `iam`, `ssm`, `s3` …; empty where nobody was asked.
    pub source: Arc<str>,
    /// Why, in words that name the statement, document or tag; one sentence without a full stop.
    pub reason: Arc<str>,
}

impl Answered {
    /// An answer of `source`.
    pub fn new(value: Tri, source: impl Into<Arc<str>>, reason: impl Into<Arc<str>>) -> Self {
        Self { value, source: source.into(), reason: reason.into() }
    }
}

impl From<Tri> for Answered {
    /// An answer without a reason.
    fn from(value: Tri) -> Self {
        Self { value, ..Self::default() }
    }
}

/// An answer as it is kept, with its time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(EventTime, Tri, Arc<str>, Arc<str>)", into = "(EventTime, Tri, Arc<str>, Arc<str>)")]
pub struct Told {
    /// When it was given.
    pub at: EventTime,
    /// The answer.
    pub value: Tri,
    /// Who answered.
    pub source: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
}

// A session has many of these, and is small as JSON.
impl From<(EventTime, Tri, Arc<str>, Arc<str>)> for Told {
    fn from((at, value, source, reason): (EventTime, Tri, Arc<str>, Arc<str>)) -> Self {
        Self { at, value, source, reason }
    }
}

impl From<Told> for (EventTime, Tri, Arc<str>, Arc<str>) {
    fn from(told: Told) -> Self {
        (told.at, told.value, told.source, told.reason)
    }
}

/// The session's log, once found.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogSeen {
    /// When it was written; of a stream, when it last was.
    pub written_at: EventTime,
    /// Its size in bytes; 0 for a stream, whose size nobody tells.
    pub size_bytes: u64,
    /// Where: `s3://bucket/key`, or the log group and stream.
    #[serde(default)]
    pub place: Arc<str>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub flaws: BTreeSet<LogFlaw>,
}

impl LogSeen {
    /// The names of its flaws, each after a comma.
    pub(crate) fn flaw_names(&self) -> String {
        self.flaws.iter().flat_map(|flaw| [", ", flaw.as_str()]).collect()
    }
}

/// What can be wrong with a log that is there (R-W22, R-W23, TH24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFlaw {
    /// It is smaller than any log of a shell.
    Small,
    /// It has more than one version.
    WrittenTwice,
    /// It was written before the session ended.
    WrittenEarly,
    /// Another account wrote it.
    ForeignWriter,
    /// It does not lie where the account's logs belong.
    ForeignPlace,
    /// Its stream ends long before the session did.
    Gap,
}

impl LogFlaw {
    /// Every flaw, in the order of the enum.
    pub const ALL: [Self; 6] =
        [Self::Small, Self::WrittenTwice, Self::WrittenEarly, Self::ForeignWriter, Self::ForeignPlace, Self::Gap];

    /// What is wrong, to stand after "the log".
    pub(super) fn says(self) -> &'static str {
        match self {
            Self::Small => "is smaller than a log can be",
            Self::WrittenTwice => "was written more than once",
            Self::WrittenEarly => "was written before the session ended",
            Self::ForeignWriter => "was written by another account",
            Self::ForeignPlace => "lies where it does not belong",
            Self::Gap => "stops long before the session's end",
        }
    }

    /// The name reports use, in kebab case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::WrittenTwice => "written-twice",
            Self::WrittenEarly => "written-early",
            Self::ForeignWriter => "foreign-writer",
            Self::ForeignPlace => "foreign-place",
            Self::Gap => "gap",
        }
    }
}
