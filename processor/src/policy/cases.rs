//! Cases beside the policies: facts, and what the policies must say of them.

mod facts;
mod load;
mod test;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sessionwarden_machine::{
    compliance::{EvidenceKind, Tri},
    ids::{AccountId, EventTime, ThingKind},
};

pub use load::{load, load_one, shipped};
pub use test::{Failed, OneSided, Tested, test};

/// How the names of case files end.
pub const SUFFIX: &str = ".cases.toml";

/// What a case expects: exactly these controls, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// Violated, and not excused.
    pub violated: BTreeSet<String>,
    /// Not decided, because evidence is missing.
    pub undecided: BTreeSet<String>,
    /// Violated, and excused by a waiver.
    pub waived: BTreeSet<String>,
}

/// A session and what is expected of it. What a case leaves out is that of a session that breaks no shipped control,
/// with all evidence there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct SessionCase {
    /// What it shows.
    pub name: String,
    /// The account it runs in, twelve digits.
    pub account: String,
    /// The region it runs in.
    pub region: String,
    /// The account's organisational unit.
    pub unit: Option<String>,
    /// The account is the management account.
    pub management: bool,
    /// Sessions may run in the region.
    pub region_allowed: bool,
    /// The caller's ARN.
    pub principal: String,
    /// The node; what kind of node follows from it.
    pub target: Option<String>,
    /// It was opened by ECS Exec.
    pub container: bool,
    /// The document's name or ARN; what kind follows from it. Empty: the default.
    pub document: String,
    /// What the document's content says it opens.
    pub session_type: Option<String>,
    /// `Standard` or `JustInTime`.
    pub access_type: String,
    /// The caller's reason.
    pub reason: Option<String>,
    /// It was resumed.
    pub resumed: bool,
    /// When it started, RFC 3339; `at` where not given.
    pub started_at: Option<String>,
    /// When it is judged, RFC 3339; the present where not given.
    pub at: Option<String>,
    /// Evidence that is not yes.
    pub evidence: BTreeMap<EvidenceKind, Tri>,
    /// Controls that must be violated, and no others.
    pub expect: Vec<String>,
    /// Controls that must be left open, and no others.
    pub undecided: Vec<String>,
    /// Controls that a waiver must excuse, and no others.
    pub waived: Vec<String>,
    /// Controls that the case comes near to and that must be clear: the other side.
    pub clear: Vec<String>,
}

/// An event outside a session and what is expected of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventCase {
    /// What it shows.
    pub name: String,
    /// The row of the threat catalogue.
    pub threat: String,
    /// The API call.
    pub event: String,
    /// What kind of thing it is about.
    pub kind: Option<ThingKind>,
    /// The thing's name or id.
    pub thing: String,
    /// The thing belongs to the guardrail.
    pub own: bool,
    /// AWS refused the call.
    pub failed: bool,
    /// The account it happened in, twelve digits.
    pub account: String,
    /// The region it happened in.
    pub region: String,
    /// The account's organisational unit.
    pub unit: Option<String>,
    /// The account is the management account.
    pub management: bool,
    /// The caller's ARN.
    pub principal: String,
    /// When it happened, RFC 3339; the present where not given.
    pub at: Option<String>,
    /// Controls that must be violated, and no others.
    pub expect: Vec<String>,
    /// Controls that a waiver must excuse, and no others.
    pub waived: Vec<String>,
    /// Controls that the case comes near to and that must be clear: the other side.
    pub clear: Vec<String>,
}

/// What a case is about.
#[derive(Clone, Debug)]
pub enum Facts {
    /// A session.
    Session(Box<SessionCase>),
    /// An event outside a session.
    Event(Box<EventCase>),
}

/// A case with its place, checked.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file.
    pub file: String,
    /// The line it begins at, from 1.
    pub line: u32,
    /// What it is about.
    pub facts: Facts,
    /// The account.
    pub account: AccountId,
    /// When it is judged, where the case says so.
    pub at: Option<EventTime>,
    /// When the session started, where the case says so.
    pub started_at: Option<EventTime>,
}

impl Facts {
    /// What it shows.
    pub fn name(&self) -> &str {
        match self {
            Self::Session(case) => &case.name,
            Self::Event(case) => &case.name,
        }
    }

    /// What it expects.
    pub fn expected(&self) -> Expected {
        let set = |ids: &[String]| ids.iter().cloned().collect();
        match self {
            Self::Session(case) => {
                Expected { violated: set(&case.expect), undecided: set(&case.undecided), waived: set(&case.waived) }
            }
            Self::Event(case) => {
                Expected { violated: set(&case.expect), undecided: BTreeSet::new(), waived: set(&case.waived) }
            }
        }
    }

    /// Controls that must be clear.
    pub fn clear(&self) -> &[String] {
        match self {
            Self::Session(case) => &case.clear,
            Self::Event(case) => &case.clear,
        }
    }
}

/// The account of a case that names none.
const ACCOUNT: &str = "111122223333";
/// The caller of a case that names none.
const CALLER: &str = "arn:aws:sts::111122223333:assumed-role/Admin/alice";
const REGION: &str = "eu-central-1";

impl Default for SessionCase {
    fn default() -> Self {
        Self {
            name: String::new(),
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            unit: None,
            management: false,
            region_allowed: true,
            principal: CALLER.to_owned(),
            target: None,
            container: false,
            document: String::new(),
            session_type: None,
            access_type: "Standard".to_owned(),
            reason: None,
            resumed: false,
            started_at: None,
            at: None,
            evidence: BTreeMap::new(),
            expect: Vec::new(),
            undecided: Vec::new(),
            waived: Vec::new(),
            clear: Vec::new(),
        }
    }
}

impl Default for EventCase {
    fn default() -> Self {
        Self {
            name: String::new(),
            threat: String::new(),
            event: String::new(),
            kind: None,
            thing: String::new(),
            own: false,
            failed: false,
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            unit: None,
            management: false,
            principal: CALLER.to_owned(),
            at: None,
            expect: Vec::new(),
            waived: Vec::new(),
            clear: Vec::new(),
        }
    }
}
