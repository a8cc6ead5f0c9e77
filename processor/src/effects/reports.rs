//! Where reports go: the feed and the audit trail.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::BoxFuture;
use sessionwarden_machine::{
    effect::{Effect, Report},
    ids::{EffectId, Now},
};
use tokio::sync::oneshot;

use crate::{
    audit::{AuditEntry, AuditError, AuditKind, AuditTrail},
    feed::{FeedFile, FileError},
};

/// How much is written together, in bytes of audit lines; one caller's share is never parted.
const TOGETHER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Something that everything is written to cannot be written: the service stops rather than lose a record.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The feed.
    #[error(transparent)]
    Feed(#[from] FileError),
    /// The audit trail.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Both, in one write with what others reported.
    #[error(transparent)]
    Together(Arc<WriteError>),
    /// Whoever wrote this, together with its own, stopped in the middle.
    #[error("a report was not written: the write was broken off")]
    BrokenOff,
}

/// Where reports and audit entries are written.
pub trait Ledger: fmt::Debug + Send + 'static {
    /// Writes them; durable on return.
    ///
    /// # Errors
    /// [`WriteError`]; what was to be written may then be there, and can be written again.
    fn write<'a>(
        &'a mut self,
        reports: &'a [Report],
        entries: &'a [AuditEntry],
    ) -> BoxFuture<'a, Result<(), WriteError>>;
}

/// The feed and the audit trail; a clone writes to the same. What several tasks report at the same time is written
/// together, in the order in which it came.
#[derive(Clone, Debug)]
pub struct Reports {
    /// `None` where others report.
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<VecDeque<Share>>,
    ledger: tokio::sync::Mutex<Box<dyn Ledger>>,
}

/// What one caller reports.
#[derive(Debug)]
struct Share {
    reports: Vec<Report>,
    entries: Vec<AuditEntry>,
    answer: oneshot::Sender<Result<(), Arc<WriteError>>>,
}

#[derive(Debug)]
struct Sinks {
    feed: FeedFile,
    audit: AuditTrail,
}

impl Reports {
    /// Reports to these two.
    pub fn new(feed: FeedFile, audit: impl Into<AuditTrail>) -> Self {
        Self::to(Sinks { feed, audit: audit.into() })
    }

    /// Reports to this ledger.
    pub fn to(ledger: impl Ledger) -> Self {
        let ledger = tokio::sync::Mutex::new(Box::new(ledger) as Box<dyn Ledger>);
        Self { shared: Some(Arc::new(Shared { waiting: Mutex::default(), ledger })) }
    }

    /// Reports nothing: what is to be reported stays undone, and whoever looks at its subject next reports it.
    pub fn elsewhere() -> Self {
        Self { shared: None }
    }

    /// Writes what `effects` say; durable on return. Returns the ids of what was written.
    ///
    /// # Errors
    /// [`WriteError`]; what was to be written may then stand in feed and audit trail, and can be written again.
    pub async fn write(&self, effects: &[&Effect], now: Now) -> Result<Vec<EffectId>, WriteError> {
        let Some(shared) = &self.shared else {
            return Ok(Vec::new());
        };
        let (reports, entries, ids) = told(effects, now)?;
        if entries.is_empty() {
            return Ok(ids);
        }
        for entry in &entries {
            entry.check()?;
        }
        let (answer, mut answered) = oneshot::channel();
        shared.waiting().push_back(Share { reports, entries, answer });
        let mut ledger = shared.ledger.lock().await;
        loop {
            match answered.try_recv() {
                Ok(Ok(())) => return Ok(ids),
                Ok(Err(error)) => return Err(Arc::try_unwrap(error).unwrap_or_else(WriteError::Together)),
                Err(oneshot::error::TryRecvError::Closed) => return Err(WriteError::BrokenOff),
                // Nobody wrote it while this waited for its turn.
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let (reports, entries, answers) = shared.take();
            let written = ledger.write(&reports, &entries).await.map_err(Arc::new);
            for answer in answers {
                // Whoever does not wait any more needs no answer.
                let _ = answer.send(written.clone());
            }
        }
    }
}

type Together = (Vec<Report>, Vec<AuditEntry>, Vec<oneshot::Sender<Result<(), Arc<WriteError>>>>);

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Share>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shares that are written next, at least one if any waits.
    fn take(&self) -> Together {
        let (mut together, mut bytes) = (Together::default(), 0);
        let mut waiting = self.waiting();
        while let Some(share) = waiting.front() {
            bytes += share.entries.iter().map(AuditEntry::bytes).sum::<usize>();
            if bytes > TOGETHER_BYTES_MAX && !together.2.is_empty() {
                break;
            }
            if let Some(share) = waiting.pop_front() {
                together.0.extend(share.reports);
                together.1.extend(share.entries);
                together.2.push(share.answer);
            }
        }
        together
    }
}

impl Ledger for Sinks {
    fn write<'a>(
        &'a mut self,
        reports: &'a [Report],
        entries: &'a [AuditEntry],
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(async move {
            if !reports.is_empty() {
                self.feed.append(reports)?;
                self.feed.sync()?;
            }
            Ok(self.audit.append(entries).await?)
        })
    }
}

/// Reports, audit entries, and ids of effects.
type Told = (Vec<Report>, Vec<AuditEntry>, Vec<EffectId>);

/// What effects put into the feed, what into the audit trail, and the ids of those that are done by that.
fn told(effects: &[&Effect], now: Now) -> Result<Told, AuditError> {
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
            Effect::Quarantine { id, account, lock } => {
                let body = serde_json::json!({ "lock": account, "tier": lock.tier, "principals": lock.principals });
                entries.push(AuditEntry::new(now, AuditKind::Intent, id, &body)?);
                continue;
            }
            Effect::Release { id, account } => {
                let body = serde_json::json!({ "unlock": account });
                entries.push(AuditEntry::new(now, AuditKind::Intent, id, &body)?);
                continue;
            }
            Effect::Restore { id, account, region, restore, thing, parts, act: true } => {
                let body = serde_json::json!({
                    "restore": restore, "account": account, "region": region, "thing": thing, "parts": parts,
                });
                entries.push(AuditEntry::new(now, AuditKind::Intent, id, &body)?);
                continue;
            }
            Effect::Act { id, order, who, reason, target, at } => {
                let body = serde_json::json!({
                    "order": order, "who": who, "reason": reason, "target": target, "at": at.as_event_time(),
                });
                entries.push(AuditEntry::new(now, AuditKind::Decision, id, &body)?);
            }
            // To look at a thing is nothing that has to be known of before.
            Effect::Restore { act: false, .. }
            | Effect::Count { .. }
            | Effect::Notify { .. }
            | Effect::Sweep { .. }
            | Effect::Compare { .. }
            | Effect::ToRegister { .. }
            | Effect::ToAccount { .. }
            | Effect::Conclude { .. } => continue,
        }
        ids.push(effect.id().clone());
    }
    Ok((reports, entries, ids))
}
