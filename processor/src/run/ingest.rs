//! From candidates to news: decode, route, and park what cannot be read.

use std::collections::HashSet;

use foldhash::fast::FixedState;
use sessionwarden_machine::{
    decode::{Decoded, Decoder, Observation, What},
    ids::{EventId, EventTime, Names, Now, Subject},
    incident::{changed_thing, incidents_of},
    session::{Input, Rules, SessionEvent},
};
use sessionwarden_store::Store;

use super::source::{Candidate, Position};
use crate::{
    handle::{HandleError, Handler, Inbox, News},
    input::{Parked, ParkedError, ParkedFile},
    ports::Hands,
};

/// How many event ids are remembered for counting repetitions; beyond that a repetition counts as relevant.
const EVENTS_MAX: usize = 1 << 20;

/// Why a batch could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The core's results could not be made durable.
    #[error(transparent)]
    Handle(#[from] HandleError),
    /// What could not be read could not be parked.
    #[error(transparent)]
    Parked(#[from] ParkedError),
}

/// Takes records in.
pub struct Ingest {
    decoder: Decoder,
    names: Names,
    events: HashSet<EventId, FixedState>,
    parked: ParkedFile,
    /// What was parked in this run, the first hundred.
    pub parked_list: Vec<Parked>,
}

impl Ingest {
    /// Parks what cannot be read in `parked`.
    pub fn new(parked: ParkedFile) -> Self {
        Self {
            decoder: Decoder::default(),
            names: Names::default(),
            events: HashSet::default(),
            parked,
            parked_list: Vec::new(),
        }
    }

    /// Takes `candidates` of `file` in, does everything that follows, and adds to `position` what became of them.
    pub async fn take<S: Store, H: Hands>(
        &mut self,
        handler: &mut Handler<S, H>,
        file: &str,
        candidates: &[Candidate],
        position: &mut Position,
        now: Now,
    ) -> Result<(), IngestError> {
        let mut inbox = Inbox::new();
        let mut things = Vec::new();
        let mut newest: Option<EventTime> = None;
        let before = *position;
        for candidate in candidates {
            let mut all = Vec::new();
            if candidate.whole {
                self.decoder.decode(&candidate.bytes, &mut |one| all.push(one));
            } else {
                self.decoder.decode_fully(&candidate.bytes, &mut |one| all.push(one));
            }
            for decoded in all {
                match decoded {
                    Decoded::Relevant(seen) => {
                        newest = newest.max(Some(seen.at));
                        self.route(&seen, handler, &mut inbox, position);
                        things.extend(changed_thing(&seen, &mut self.names));
                    }
                    Decoded::Ignored(_) if candidate.whole => position.ignored += 1,
                    Decoded::Ignored(_) => {
                        self.park(file, candidate, "not a CloudTrail record: no whole record".into(), position)?;
                    }
                    Decoded::Poison(poison) => self.park(file, candidate, poison.to_string(), position)?,
                }
            }
        }
        for thing in things {
            for subject in handler.disturbed_by(&thing).await? {
                inbox.entry(subject).or_default().push(News::Session(Input::Disturbed));
            }
        }
        if position.poison > before.poison {
            self.parked.sync()?;
        }
        handler.metrics.records_relevant(position.relevant - before.relevant);
        handler.metrics.records_duplicate(position.duplicate - before.duplicate);
        handler.metrics.records_parked(position.poison - before.poison);
        handler.board.records(candidates.len() as u64, now, newest);
        let started = std::time::Instant::now();
        handler.handle(inbox, now).await?;
        handler.metrics.handle_seconds(started.elapsed().as_secs_f64());
        Ok(())
    }

    fn route<S: Store, H: Hands>(
        &mut self,
        seen: &Observation<'_>,
        handler: &mut Handler<S, H>,
        inbox: &mut Inbox,
        position: &mut Position,
    ) {
        if self.events.contains(&seen.event) {
            position.duplicate += 1;
        } else {
            position.relevant += 1;
            position.refused += u64::from(matches!(seen.what, What::Refused { .. }));
            if self.events.len() < EVENTS_MAX {
                self.events.insert(seen.event);
            }
        }
        if let Some(event) = SessionEvent::of(seen, &mut self.names) {
            let subject = Subject::Session(event.key.clone());
            inbox.entry(subject).or_default().push(News::Session(Input::Event(event)));
            return;
        }
        let mut rules = Rules { verdicts: &mut handler.verdicts, settings: &handler.settings };
        for (cause, incident) in incidents_of(seen, &mut self.names, &mut rules) {
            inbox.entry(Subject::Incident(cause)).or_default().push(News::Incident(Box::new(incident)));
        }
    }

    fn park(
        &mut self,
        file: &str,
        candidate: &Candidate,
        reason: String,
        position: &mut Position,
    ) -> Result<(), ParkedError> {
        const LISTED_MAX: usize = 100;
        position.poison += 1;
        let RecordAt { record, byte } = candidate.at;
        let content = Some(candidate.bytes.clone());
        let parked = Parked { file: file.to_owned(), record, byte, reason, content };
        tracing::warn!(%parked, "parked");
        self.parked.write(&parked)?;
        if self.parked_list.len() < LISTED_MAX {
            self.parked_list.push(Parked { content: None, ..parked });
        }
        Ok(())
    }

    /// Parks a file that could not be read to its end.
    pub fn park_file(&mut self, file: &str, reason: String) -> Result<(), ParkedError> {
        let parked = Parked { file: file.to_owned(), record: 0, byte: 0, reason, content: None };
        tracing::warn!(%parked, "parked");
        self.parked.write(&parked)?;
        self.parked.sync()?;
        self.parked_list.push(parked);
        Ok(())
    }
}

use crate::input::RecordAt;
