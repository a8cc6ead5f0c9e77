//! What is known about a session or an event when it is judged.

use serde::{Deserialize, Serialize};

use crate::{
    effect::Principal,
    ids::{AccountId, EventTime, ThingKind},
};

/// An answer that can be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tri {
    /// It is so.
    Yes,
    /// It is not so.
    No,
    /// Not asked, not answered, denied or throttled.
    #[default]
    Unknown,
}

impl Tri {
    /// The name reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

impl From<bool> for Tri {
    fn from(known: bool) -> Self {
        if known { Self::Yes } else { Self::No }
    }
}

/// Something about a session that only AWS can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// The role behind the node may write the session's log and use the channels and keys for it.
    LogWritable,
    /// The default version of the account's preferences document is the wanted one.
    DocumentAsWanted,
    /// The cluster behind an ECS Exec session logs it.
    ContainerLogged,
    /// The keys of the session and its log are enabled.
    KeyUsable,
    /// The log bucket is the organisation's own, versioned, encrypted and closed to plain HTTP.
    BucketAsWanted,
    /// The node's agent answers, to this account.
    AgentOnline,
    /// The session's document streams its log where that is required.
    StreamingOn,
    /// The session's log stream exists while the session lives, where streaming is on.
    StreamPresent,
    /// The node is one on which sessions may run.
    NodeAllowed,
    /// The tag of a third party's role equals the node's (R-T2).
    TagMatches,
    /// The session runs as the operating system user that is prescribed (R-T3).
    RunAsAsPrescribed,
    /// A reason was given where one is required.
    ReasonGiven,
    /// No policy lets the caller start sessions without the document check (R-D1).
    DocumentsChecked,
    /// The caller's policies name the documents that may be used, SSH's among them (R-D2, R-D3).
    DocumentsExplicit,
}

impl EvidenceKind {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 14] = [
        Self::LogWritable,
        Self::DocumentAsWanted,
        Self::ContainerLogged,
        Self::KeyUsable,
        Self::BucketAsWanted,
        Self::AgentOnline,
        Self::StreamingOn,
        Self::StreamPresent,
        Self::NodeAllowed,
        Self::TagMatches,
        Self::RunAsAsPrescribed,
        Self::ReasonGiven,
        Self::DocumentsChecked,
        Self::DocumentsExplicit,
    ];

    /// How many kinds one control may mention: it is asked once for each assignment of those that are unknown.
    pub const IN_A_CONTROL_MAX: usize = 6;

    /// The name reports use, in kebab case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LogWritable => "log-writable",
            Self::DocumentAsWanted => "document-as-wanted",
            Self::ContainerLogged => "container-logged",
            Self::KeyUsable => "key-usable",
            Self::BucketAsWanted => "bucket-as-wanted",
            Self::AgentOnline => "agent-online",
            Self::StreamingOn => "streaming-on",
            Self::StreamPresent => "stream-present",
            Self::NodeAllowed => "node-allowed",
            Self::TagMatches => "tag-matches",
            Self::RunAsAsPrescribed => "run-as-as-prescribed",
            Self::ReasonGiven => "reason-given",
            Self::DocumentsChecked => "documents-checked",
            Self::DocumentsExplicit => "documents-explicit",
        }
    }

    /// The name policies use: `context.evidence.<attribute>`.
    pub fn attribute(self) -> &'static str {
        match self {
            Self::LogWritable => "logWritable",
            Self::DocumentAsWanted => "documentAsWanted",
            Self::ContainerLogged => "containerLogged",
            Self::KeyUsable => "keyUsable",
            Self::BucketAsWanted => "bucketAsWanted",
            Self::AgentOnline => "agentOnline",
            Self::StreamingOn => "streamingOn",
            Self::StreamPresent => "streamPresent",
            Self::NodeAllowed => "nodeAllowed",
            Self::TagMatches => "tagMatches",
            Self::RunAsAsPrescribed => "runAsAsPrescribed",
            Self::ReasonGiven => "reasonGiven",
            Self::DocumentsChecked => "documentsChecked",
            Self::DocumentsExplicit => "documentsExplicit",
        }
    }

    pub(super) fn bit(self) -> u16 {
        1 << self as u16
    }

    /// The kinds whose bits are set in `bits`, in the order of the enum.
    pub(super) fn of_bits(bits: u16) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |kind| bits & kind.bit() != 0)
    }
}

/// The evidence at hand; what was not set is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Evidence {
    yes: u16,
    no: u16,
}

impl Evidence {
    /// This evidence with `kind` set to `value`.
    #[must_use]
    pub fn with(mut self, kind: EvidenceKind, value: Tri) -> Self {
        self.set(kind, value);
        self
    }

    /// Sets `kind` to `value`.
    pub fn set(&mut self, kind: EvidenceKind, value: Tri) {
        self.yes &= !kind.bit();
        self.no &= !kind.bit();
        match value {
            Tri::Yes => self.yes |= kind.bit(),
            Tri::No => self.no |= kind.bit(),
            Tri::Unknown => {}
        }
    }

    /// What is known about `kind`.
    pub fn get(self, kind: EvidenceKind) -> Tri {
        if self.yes & kind.bit() != 0 {
            Tri::Yes
        } else if self.no & kind.bit() != 0 {
            Tri::No
        } else {
            Tri::Unknown
        }
    }

    pub(super) fn yes_bits(self) -> u16 {
        self.yes
    }

    pub(super) fn no_bits(self) -> u16 {
        self.no
    }
}

/// What a session runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// An instance, `i-…`.
    Ec2,
    /// A hybrid node, `mi-…`.
    Hybrid,
    /// A container reached through ECS Exec.
    Container,
    /// Everything else, a container reached by `StartSession` included (TH8).
    Other,
    /// Not known: the session was seen without its start.
    #[default]
    Unknown,
}

impl TargetKind {
    /// The name policies use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Hybrid => "hybrid",
            Self::Container => "container",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }
}

/// What a session document does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentKind {
    /// The account's preferences document, named or by default: a logged shell.
    DefaultShell,
    /// Port forwarding, to the node or through it.
    Port,
    /// SSH through Session Manager.
    Ssh,
    /// `AWS-StartInteractiveCommand` and its like.
    InteractiveCommand,
    /// `AWS-StartNonInteractiveCommand` and its like.
    NonInteractiveCommand,
    /// Any other document.
    Custom,
    /// Not known: the session was seen without its start.
    #[default]
    Unknown,
}

impl DocumentKind {
    /// The name policies use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DefaultShell => "default-shell",
            Self::Port => "port",
            Self::Ssh => "ssh",
            Self::InteractiveCommand => "interactive-command",
            Self::NonInteractiveCommand => "non-interactive-command",
            Self::Custom => "custom",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known about a session.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct SessionFacts<'a> {
    /// The account it runs in.
    pub account: AccountId,
    /// The region it runs in.
    pub region: &'a str,
    /// The organisational unit of the account, where known.
    pub unit: Option<&'a str>,
    /// The account is the management account or a delegated administrator.
    pub management: bool,
    /// Sessions may run in this region.
    pub region_allowed: bool,
    /// Who started it.
    pub principal: &'a Principal,
    /// The node, as AWS names it; empty where unknown.
    pub target: &'a str,
    /// What kind of node.
    pub target_kind: TargetKind,
    /// The document's name as reported; empty where unknown.
    pub document_name: &'a str,
    /// What the document does.
    pub document_kind: DocumentKind,
    /// The document belongs to another account, and not to AWS.
    pub document_shared: bool,
    /// What the document's content says it opens: `Standard_Stream`, `Port`, `InteractiveCommands` …; empty where unknown.
    pub session_type: &'a str,
    /// `Standard`, `JustInTime`; empty where unknown.
    pub access_type: &'a str,
    /// The caller's reason.
    pub reason: Option<&'a str>,
    /// It has been resumed at least once.
    pub resumed: bool,
    /// When it started; policies see it clamped to the years 1970 to 9999.
    pub started_at: EventTime,
    /// What AWS answered.
    pub evidence: Evidence,
}

/// What is known about one event outside a session.
#[derive(Clone, Copy, Debug)]
pub struct EventFacts<'a> {
    /// The account it happened in.
    pub account: AccountId,
    /// The region it happened in.
    pub region: &'a str,
    /// The organisational unit of the account, where known.
    pub unit: Option<&'a str>,
    /// The account is the management account or a delegated administrator.
    pub management: bool,
    /// Who did it.
    pub principal: &'a Principal,
    /// The row of the threat catalogue, for example `TH28`.
    pub threat: &'a str,
    /// The API call, for example `StopLogging`.
    pub event: &'a str,
    /// What kind of thing it is about; `None` where unknown.
    pub thing_kind: Option<ThingKind>,
    /// The thing's name or id; empty where the event names none.
    pub thing: &'a str,
    /// The thing belongs to the guardrail: its rule, stream, log bucket, key, role, preferences document …
    pub own: bool,
    /// AWS refused the call.
    pub failed: bool,
}
