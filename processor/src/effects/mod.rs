//! Performs effects. An executor has no choice to make: what it is given is to be done, once or many times.

mod evidence;
mod lanes;
mod survey;

use std::sync::{Arc, Mutex, PoisonError};

use sessionwarden_machine::{
    effect::{Effect, RemedyResult, Report},
    ids::{EffectId, Now},
};

pub use evidence::{Question, gather};
pub(crate) use lanes::{Lane, Lanes, limit_of, within};
pub(crate) use survey::Survey;

use crate::{
    audit::{AuditEntry, AuditError, AuditFile, AuditKind},
    feed::{FeedFile, FileError},
    ports::CallError,
};

/// A file that everything is written to cannot be written: the service stops rather than lose a record.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The feed.
    #[error(transparent)]
    Feed(#[from] FileError),
    /// The audit trail.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// Where reports go: the feed and the audit trail.
#[derive(Clone, Debug)]
pub struct Reports(Arc<Mutex<Files>>);

#[derive(Debug)]
struct Files {
    feed: FeedFile,
    audit: AuditFile,
}

impl Reports {
    /// Reports to these two files.
    pub fn new(feed: FeedFile, audit: AuditFile) -> Self {
        Self(Arc::new(Mutex::new(Files { feed, audit })))
    }

    /// Writes what `effects` say; durable on return. Returns the ids of what was written.
    pub fn write(&self, effects: &[&Effect], now: Now) -> Result<Vec<EffectId>, WriteError> {
        let (mut reports, mut entries, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Report(report) => {
                    let kind = match report {
                        Report::Finding(_) | Report::Incident(_) => AuditKind::Decision,
                        Report::Remedy(_) | Report::Activity(_) => AuditKind::Effect,
                    };
                    entries.push(AuditEntry::new(now, kind, report.id(), report)?);
                    reports.push(report.clone());
                }
                Effect::Close { id, session, outcome, controls, waivers, policy, evidence } => {
                    let body = serde_json::json!({
                        "session": session, "outcome": outcome, "controls": controls, "waivers": waivers,
                        "policy": policy, "evidence": evidence,
                    });
                    entries.push(AuditEntry::new(now, AuditKind::Decision, id, &body)?);
                }
                Effect::Terminate { id, session, reason } => {
                    let body = serde_json::json!({ "terminate": session, "reason": reason });
                    entries.push(AuditEntry::new(now, AuditKind::Intent, id, &body)?);
                    continue;
                }
                Effect::Quarantine { id, account } => {
                    entries.push(AuditEntry::new(now, AuditKind::Intent, id, &serde_json::json!({ "lock": account }))?);
                    continue;
                }
                Effect::Release { id, account } => {
                    let body = serde_json::json!({ "unlock": account });
                    entries.push(AuditEntry::new(now, AuditKind::Intent, id, &body)?);
                    continue;
                }
                Effect::Count { .. } | Effect::Notify { .. } => continue,
            }
            ids.push(effect.id().clone());
        }
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !reports.is_empty() {
            files.feed.append(&reports)?;
            files.feed.sync()?;
        }
        if !entries.is_empty() {
            files.audit.append(&entries)?;
            files.audit.sync()?;
        }
        Ok(ids)
    }
}

/// How a call ended, as the core takes it. A thing that is gone needs no ending.
pub fn result_of(call: Result<(), CallError>) -> RemedyResult {
    match call {
        Ok(()) => RemedyResult::Done,
        Err(CallError::Gone) => RemedyResult::Unneeded,
        Err(error @ (CallError::Throttled | CallError::Denied | CallError::Unknown)) => {
            RemedyResult::Failed(Arc::from(error.to_string()))
        }
    }
}
