//! Judges history as if the organisation had always been as a snapshot shows it.

use std::{collections::BTreeMap, sync::Arc};

use sessionwarden_machine::{
    compliance::{EvidenceKind, Judge},
    ids::{EventTime, Now, SessionKey},
    session::{Described, Input, Life, Session},
    settings::Settings,
};

use crate::{
    effects::{Question, SharedMemory, gather},
    snapshot::Snapshot,
};

/// A snapshot with what was concluded from it already.
pub(super) struct Past<'s> {
    snapshot: &'s Snapshot,
    memory: SharedMemory,
}

impl<'s> Past<'s> {
    pub(super) fn new(snapshot: &'s Snapshot) -> Self {
        Self { snapshot, memory: SharedMemory::of_history() }
    }

    /// Adds to each session whose opening is known the evidence that the snapshot gives, as of the session's beginning.
    pub(super) fn tell(
        &mut self,
        sessions: &mut [Box<Session>],
        settings: &Settings,
        judge: &Judge,
    ) -> std::io::Result<()> {
        // Whether an agent answers is true of one moment, and says nothing of the time before it.
        let wanted: Vec<EvidenceKind> = judge.evidence().filter(|kind| *kind != EvidenceKind::AgentOnline).collect();
        let known = sessions.iter().filter(|session| session.is_opened());
        let lives: BTreeMap<SessionKey, Life> =
            known.map(|session| (session.key.clone(), Life::Alive(described(session)))).collect();
        let questions = lives.keys().map(|key| (key.clone(), Question::Life)).collect();
        let hands = self.snapshot.with(lives);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let gathered = gather(&hands, settings, &wanted, &self.memory, &questions, Now(0));
        let mut gathered: BTreeMap<SessionKey, _> =
            runtime.block_on(gathered).into_iter().map(|found| (found.key, found.gathered)).collect();
        let taken = self.snapshot.taken();
        let taken = taken.map_or_else(|| "snapshot".to_owned(), |taken| format!("snapshot of {taken}"));
        for session in sessions {
            let Some((mut told, born)) = gathered.remove(&session.key).zip(session.born_at()) else {
                continue;
            };
            // What rests on no fact has no source. A session keeps only the beginning of a longer reason.
            for answered in told.evidence.values_mut().filter(|answered| !answered.source.is_empty()) {
                answered.reason = format!("{taken}: {}", answered.reason).into();
            }
            told.at = Now(born.0);
            session.absorb(Input::Gathered(Box::new(told)), Now(born.0));
        }
        Ok(())
    }
}

/// What AWS would have said of a session when it began.
fn described(session: &Session) -> Described {
    let reason = session.start.as_ref().and_then(|start| start.reason.clone());
    Described {
        started_at: session.born_at().unwrap_or(EventTime(0)),
        owner: session.principal().arn,
        target: session.target().into(),
        document: session.document().into(),
        reason,
        access_type: Arc::default(),
    }
}
