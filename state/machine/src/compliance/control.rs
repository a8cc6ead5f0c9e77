//! A loaded control and a loaded waiver.

use std::{collections::BTreeSet, sync::Arc};

use super::facts::EvidenceKind;
use crate::{
    effect::{Response, Severity},
    ids::EventTime,
};

/// One rule, from a `forbid` policy's annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `@id`, unique among controls.
    pub id: Arc<str>,
    /// `@title`: what it means to violate it, in a sentence a person understands.
    pub title: Arc<str>,
    /// `@severity`.
    pub severity: Severity,
    /// `@response`.
    pub response: Response,
    /// `@requirement`, a list.
    pub requirements: BTreeSet<Arc<str>>,
    /// `@attack`: MITRE ATT&CK technique ids, a list.
    pub techniques: BTreeSet<Arc<str>>,
    /// `@quarantine`: violations count towards the quarantine of the account.
    pub quarantine: bool,
    /// It judges sessions.
    pub session: bool,
    /// It judges events outside sessions.
    pub event: bool,
    /// The evidence its condition mentions, in the order of the enum.
    pub evidence: Vec<EvidenceKind>,
    /// The file it stands in.
    pub file: Arc<str>,
    /// The line it begins at, from 1.
    pub line: u32,
}

/// One exception, from a `permit` policy's annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    /// `@id`, unique among waivers.
    pub id: Arc<str>,
    /// `@control`: indexes of the controls it excuses.
    pub controls: BTreeSet<usize>,
    /// `@owner`: who answers for it.
    pub owner: Arc<str>,
    /// `@ticket`: where it was agreed.
    pub ticket: Arc<str>,
    /// `@expires`: it works strictly before this instant (I16).
    pub expires: EventTime,
    /// The file it stands in.
    pub file: Arc<str>,
    /// The line it begins at, from 1.
    pub line: u32,
}

impl Waiver {
    /// Whether it works at `at`.
    pub fn valid_at(&self, at: EventTime) -> bool {
        at < self.expires
    }
}
