//! From candidates to news: decode, route, and park what cannot be read.

use std::{collections::HashSet, sync::Arc};

use foldhash::fast::FixedState;
use sessionwarden_machine::{
    decode::{Decoded, Decoder, Observation, Piece, Poison, Splitter, What},
    ids::{EventId, EventTime, Names, Now, Subject, ThingKind},
    incident::{IncidentInput, changed_thing, incidents_of},
    lease::ShardId,
    mutation::{Mutation, made},
    posture::sessions_of_key,
    session::{Input, Rules, SessionEvent},
};
use sessionwarden_store::Store;

use super::source::{Candidate, Look, Position};
use crate::{
    handle::{HandleError, Handler, Inbox, News},
    input::{Parked, ParkedError, Parking, RecordAt, StreamPlace},
    ports::Hands,
    stream::Record,
};

/// How many event ids are remembered for counting repetitions; beyond that a repetition counts as relevant.
const EVENTS_MAX: usize = 1 << 20;
/// How much of something too long is parked, in bytes.
const PARKED_BYTES_MAX: usize = 1 << 20;

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

/// Where candidates come from.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A file of this name.
    File(&'a str),
    /// A shard.
    Shard {
        /// The stream's name.
        stream: &'a str,
        /// The shard.
        shard: &'a ShardId,
        /// What was read; a candidate's number counts these, from 1.
        records: &'a [Record],
    },
}

impl<'a> From<&'a str> for Origin<'a> {
    fn from(file: &'a str) -> Self {
        Self::File(file)
    }
}

impl Origin<'_> {
    /// A part of a record that could not be read.
    fn parked(&self, RecordAt { record, byte }: RecordAt, reason: String, content: &[u8]) -> Parked {
        let content = Some(content.to_owned());
        match *self {
            Self::File(file) => {
                Parked { file: file.to_owned(), record, byte, reason, bytes: None, stream: None, content }
            }
            Self::Shard { stream, shard, records } => {
                let found = record.checked_sub(1).and_then(|at| records.get(usize::try_from(at).ok()?));
                let sequence = found.map_or("0", |record| record.sequence.as_str());
                let file = format!("{stream}/{shard}/{sequence}");
                let place =
                    StreamPlace { stream: stream.into(), shard: Arc::clone(&shard.0), sequence: sequence.into() };
                Parked { file, record: 1, byte, reason, bytes: None, stream: Some(place), content }
            }
        }
    }
}

/// Takes records in.
pub struct Ingest {
    decoder: Decoder,
    names: Names,
    events: HashSet<EventId, FixedState>,
    parking: Parking,
    /// What was parked in this run, the first hundred.
    pub parked_list: Vec<Parked>,
}

impl Ingest {
    /// Parks what cannot be read in `parking`.
    pub fn new(parking: impl Into<Parking>) -> Self {
        Self {
            decoder: Decoder::default(),
            names: Names::default(),
            events: HashSet::default(),
            parking: parking.into(),
            parked_list: Vec::new(),
        }
    }

    /// Takes `candidates` in, does everything that follows, and adds to `position` what became of them.
    pub async fn take<S: Store, H: Hands>(
        &mut self,
        handler: &mut Handler<S, H>,
        origin: impl Into<Origin<'_>>,
        candidates: &[Candidate],
        position: &mut Position,
        now: Now,
    ) -> Result<(), IngestError> {
        let origin = origin.into();
        let mut inbox = Inbox::new();
        let (mut things, mut logs) = (Vec::new(), Vec::new());
        let mut newest: Option<EventTime> = None;
        let before = *position;
        for candidate in candidates {
            for found in find(&self.decoder, candidate) {
                match found {
                    Found::Relevant(seen) if candidate.known => self.note(seen.event),
                    Found::Ignored | Found::Unreadable { .. } if candidate.known => {}
                    Found::Relevant(seen) => {
                        newest = newest.max(Some(seen.at));
                        self.route(&seen, handler, &mut inbox, position);
                        let thing = changed_thing(&seen, &mut self.names);
                        if let (Some(thing), What::Change { kind: ThingKind::LogObject, id }) = (&thing, &seen.what) {
                            logs.push((sessions_of_key(id, &handler.regions), thing.clone()));
                        }
                        things.extend(thing);
                    }
                    Found::Ignored => position.ignored += 1,
                    Found::Unreadable { .. } if made(Mutation::PoisonDropped) => {}
                    Found::Unreadable { bytes, begin, why } => {
                        let at = RecordAt { byte: candidate.at.byte + begin as u64, ..candidate.at };
                        position.poison += 1;
                        self.park(origin.parked(at, why.to_string(), bytes)).await?;
                    }
                }
            }
        }
        if let (true, Some(hands)) = (things.iter().any(|it| it.kind == ThingKind::Organization), &handler.hands) {
            hands.changed().await;
        }
        for thing in things {
            for subject in handler.disturbed_by(&thing).await? {
                inbox.entry(subject).or_default().push(News::Session(Input::Changed(thing.clone())));
            }
        }
        // TH24: whoever writes or deletes a log makes its session look at it again.
        for (keys, thing) in logs {
            for key in keys {
                let subject = Subject::Session(key);
                if handler.load(&subject).await?.is_some() {
                    inbox.entry(subject).or_default().push(News::Session(Input::Changed(thing.clone())));
                }
            }
        }
        if position.poison > before.poison {
            self.parking.sync()?;
        }
        handler.metrics.records_relevant(position.relevant - before.relevant);
        handler.metrics.records_duplicate(position.duplicate - before.duplicate);
        handler.metrics.records_parked(position.poison - before.poison);
        let read = |at: &Position| at.relevant + at.ignored + at.duplicate + at.poison;
        handler.board.lock().records(read(position) - read(&before), now, newest);
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
            self.note(seen.event);
        }
        if let Some(event) = SessionEvent::of(seen, &mut self.names) {
            let subject = Subject::Session(event.key.clone());
            inbox.entry(subject).or_default().push(News::Session(Input::Event(event)));
            return;
        }
        let mut rules = Rules { verdicts: &mut handler.verdicts, settings: &handler.settings };
        for (cause, incident) in incidents_of(seen, &mut self.names, &mut rules) {
            inbox
                .entry(Subject::Incident(cause))
                .or_default()
                .push(News::Incident(IncidentInput::Seen(Box::new(incident))));
        }
    }

    fn note(&mut self, event: EventId) {
        if self.events.len() < EVENTS_MAX {
            self.events.insert(event);
        }
    }

    /// Keeps something that could not be read; it is durable after the next sync.
    async fn park(&mut self, parked: Parked) -> Result<(), ParkedError> {
        tracing::warn!(%parked, "parked");
        self.parking.park(&parked).await?;
        self.list(parked);
        Ok(())
    }

    /// Parks a record unread; it is durable on return.
    pub async fn park_record(&mut self, parked: Parked) -> Result<(), ParkedError> {
        self.park(parked).await?;
        self.parking.sync()
    }

    fn list(&mut self, parked: Parked) {
        const LISTED_MAX: usize = 100;
        if self.parked_list.len() < LISTED_MAX {
            self.parked_list.push(Parked { content: None, ..parked });
        }
    }

    /// Parks a file that could not be read to its end; `again` where an earlier run has told that already.
    pub async fn park_file(&mut self, file: &str, byte: u64, reason: String, again: bool) -> Result<(), ParkedError> {
        let parked = Parked::of_file(file.to_owned(), byte, reason);
        if !again {
            return self.park_record(parked).await;
        }
        tracing::warn!(%parked, "parked");
        self.list(parked);
        Ok(())
    }
}

/// What stands in a candidate.
#[allow(clippy::large_enum_variant)]
enum Found<'a> {
    Relevant(Observation<'a>),
    Ignored,
    Unreadable { bytes: &'a [u8], begin: usize, why: Poison },
}

fn find<'a>(decoder: &Decoder, candidate: &'a Candidate) -> Vec<Found<'a>> {
    let bytes = candidate.bytes.as_slice();
    let whole = |why| Found::Unreadable { bytes, begin: 0, why };
    let mut all = Vec::new();
    match candidate.look {
        Look::Whole => {
            decoder.decode(bytes, &mut |one| all.push(one));
            if let [Decoded::Poison(why @ Poison::Malformed(_))] = all.as_slice() {
                return apart(decoder, bytes, &why.clone());
            }
        }
        Look::Broken => decoder.decode_fully(bytes, &mut |one| {
            all.push(match one {
                // What has no whole frame is parked, even where it happens to parse.
                Decoded::Ignored(_) => Decoded::Poison(Poison::Malformed("no whole record".into())),
                Decoded::Relevant(_) | Decoded::Poison(_) => one,
            });
        }),
        Look::TooLong => {
            let bytes = &bytes[..bytes.len().min(PARKED_BYTES_MAX)];
            return vec![Found::Unreadable { bytes, begin: 0, why: Poison::TooLong }];
        }
    }
    all.into_iter().map(|one| found(one, whole)).collect()
}

fn found<'a>(one: Decoded<'a>, unreadable: impl FnOnce(Poison) -> Found<'a>) -> Found<'a> {
    match one {
        Decoded::Relevant(seen) => Found::Relevant(seen),
        Decoded::Ignored(_) => Found::Ignored,
        Decoded::Poison(why) => unreadable(why),
    }
}

/// Takes a value apart that is not one: several records can stand in one line.
fn apart<'a>(decoder: &Decoder, value: &'a [u8], why: &Poison) -> Vec<Found<'a>> {
    let (mut all, mut splitter, mut begin) = (Vec::new(), Splitter::default(), 0);
    loop {
        let (piece, done) = splitter.next(&value[begin..], true);
        match piece {
            Piece::Whole(range) if range.len() < value.len() => {
                let (from, bytes) = (begin + range.start, &value[begin + range.start..begin + range.end]);
                decoder.decode(bytes, &mut |one| {
                    all.push(found(one, |why| Found::Unreadable { bytes, begin: from, why }));
                });
            }
            Piece::Broken(range) if range.len() < value.len() => {
                let (from, bytes) = (begin + range.start, &value[begin + range.start..begin + range.end]);
                all.push(Found::Unreadable { bytes, begin: from, why: why.clone() });
            }
            Piece::End => return all,
            Piece::Whole(_) | Piece::Broken(_) | Piece::TooLong(_) | Piece::More => {
                all.push(Found::Unreadable { bytes: &value[begin..], begin, why: why.clone() });
                return all;
            }
        }
        begin += done;
    }
}
