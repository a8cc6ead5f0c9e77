//! The evidence about one session.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{Asked, CallError, Document, Facts, Memory, assess_bucket, assess_caller, assess_node, assess_role};
use crate::{
    compliance::{EvidenceKind, Tri},
    decode::PREFERENCES,
    document::SessionDocument,
    ids::AccountId,
    session::Answered,
};

/// The evidence about one session that is alive: an answer for each kind in `wanted`.
///
/// A question that was not answered leaves the answer unknown, unless what was answered decides already (R-W13, I11).
/// That a thing does not exist is an answer where the session cannot do without it.
pub fn assess(facts: &Facts<'_>, wanted: &[EvidenceKind], memory: &mut Memory) -> BTreeMap<EvidenceKind, Answered> {
    wanted.iter().map(|kind| (*kind, answer(facts, *kind, memory))).collect()
}

fn answer(facts: &Facts<'_>, kind: EvidenceKind, memory: &mut Memory) -> Answered {
    match kind {
        EvidenceKind::LogWritable => assess_role::log_writable(facts, memory),
        EvidenceKind::DocumentAsWanted => assess_node::document_as_wanted(facts, memory),
        EvidenceKind::ContainerLogged => assess_node::container_logged(facts),
        EvidenceKind::KeyUsable => assess_bucket::key_usable(facts, memory),
        EvidenceKind::BucketAsWanted => assess_bucket::bucket_as_wanted(facts, memory),
        EvidenceKind::AgentOnline => assess_node::agent_online(facts),
        EvidenceKind::StreamingOn => assess_node::streaming_on(facts, memory),
        EvidenceKind::StreamPresent => assess_node::stream_present(facts, memory),
        EvidenceKind::NodeAllowed => assess_node::node_allowed(facts),
        EvidenceKind::TagMatches => assess_caller::tag_matches(facts),
        EvidenceKind::RunAsAsPrescribed => assess_caller::run_as_as_prescribed(facts, memory),
        EvidenceKind::ReasonGiven => assess_caller::reason_given(facts),
        EvidenceKind::DocumentsChecked => assess_caller::documents_checked(facts, memory),
        EvidenceKind::DocumentsExplicit => assess_caller::documents_explicit(facts, memory),
    }
}

/// What the session's own document opens by its content: `Standard_Stream`, `Port` …; empty where unknown, as for the
/// documents of AWS itself, whose names say it.
pub fn session_type(facts: &Facts<'_>, memory: &mut Memory) -> Arc<str> {
    let document = match facts.document {
        Some(document) => document,
        None if is_preferences(&facts.described.document, facts.key.account) => facts.preferences,
        None => return Arc::default(),
    };
    let content = document.as_ref().ok().map(|document| &document.content);
    let read = content.and_then(|content| memory.document(content).ok());
    read.and_then(|document| document.session_type.clone()).unwrap_or_default()
}

/// Whether a session's document is the account's preferences document: not named, or by its name or ARN (R-W16).
fn is_preferences(document: &str, account: AccountId) -> bool {
    if document.is_empty() || document == PREFERENCES {
        return true;
    }
    let of_account = account_of(document) == Some(account);
    of_account && document.starts_with("arn:") && document.rsplit('/').next() == Some(PREFERENCES)
}

/// The account in an ARN.
pub(super) fn account_of(arn: &str) -> Option<AccountId> {
    arn.strip_prefix("arn:")?.split(':').nth(3)?.parse().ok()
}

/// The partition in an ARN.
pub(super) fn partition_of(arn: &str) -> &str {
    arn.split(':').nth(1).unwrap_or("aws")
}

/// A document as it was read.
#[derive(Clone, Debug)]
pub(super) enum Read {
    Known(Arc<SessionDocument>),
    /// There is none.
    Gone,
    /// It is not known, and why.
    Unknown(String),
}

/// The document of the session itself, where that is neither the preferences document nor one of AWS's, else the
/// preferences.
pub(super) fn own_document(facts: &Facts<'_>, memory: &mut Memory) -> Read {
    match facts.document {
        Some(document) => read("the session's document", document, memory),
        None => preferences(facts, memory),
    }
}

pub(super) fn preferences(facts: &Facts<'_>, memory: &mut Memory) -> Read {
    read("the preferences document", facts.preferences, memory)
}

/// What AWS has accepted and is not understood here is unknown.
fn read(what: &str, document: &Asked<Document>, memory: &mut Memory) -> Read {
    match document {
        Ok(document) => match memory.document(&document.content) {
            Ok(document) => Read::Known(document),
            Err(bad) => Read::Unknown(format!("{what}: {bad}")),
        },
        Err(CallError::Gone) => Read::Gone,
        Err(error) => Read::Unknown(format!("{what}: {error}")),
    }
}

pub(super) fn yes(source: &str, reason: impl fmt::Display) -> Answered {
    Answered::new(Tri::Yes, source, reason.to_string())
}

pub(super) fn no(source: &str, reason: impl fmt::Display) -> Answered {
    Answered::new(Tri::No, source, reason.to_string())
}

pub(super) fn unknown(source: &str, reason: impl fmt::Display) -> Answered {
    Answered::new(Tri::Unknown, source, reason.to_string())
}

/// What an error leaves.
pub(super) fn unanswered(source: &str, what: impl fmt::Display, error: CallError) -> Answered {
    unknown(source, format_args!("{what}: {error}"))
}

/// Whether the session runs in a container; ECS starts it, and neither node nor preferences have a part in it.
pub(super) fn is_container(facts: &Facts<'_>) -> bool {
    facts.cluster.is_some() || facts.described.target.starts_with("ecs:")
}
