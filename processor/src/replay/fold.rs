//! What one thread gathers from the events it reads. Everything in it merges in any order.

use std::{
    collections::{BTreeMap, HashSet},
    hash::BuildHasher,
    ops::Range,
    sync::Arc,
};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use sessionwarden_machine::{
    compliance::{Judge, Verdicts},
    decode::{Decoded, Decoder, Ignored, Observation, Piece, Poison, Splitter, What},
    ids::{EventId, EventTime, Names, Now, SessionKey},
    incident::{Incident, incidents_of},
    session::{Rules, Session, SessionEvent},
    settings::Settings,
};

use crate::input::{Parked, RecordAt, Sink};

/// Sessions and event ids are kept in this many parts, so that threads can merge side by side.
pub(super) const PARTS: usize = 16;
/// How many bytes of parked records one thread keeps in memory at the most.
const PARKED_BYTES_MAX: usize = 256 << 20;
/// How many parked records one thread keeps at the most; more are counted.
const PARKED_MAX: usize = 100_000;

/// The events to look at: from (inclusive) and to (exclusive).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// Not before.
    pub from: Option<EventTime>,
    /// Before.
    pub to: Option<EventTime>,
}

impl Period {
    fn holds(&self, at: EventTime) -> bool {
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at < to)
    }
}

/// How many records of a chunk there were, and what became of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Values in the file, for numbering parked ones.
    pub(super) values: u64,
    pub(super) relevant: u64,
    pub(super) ignored: u64,
    pub(super) poison: u64,
    /// Relevant records outside the period.
    pub(super) outside: u64,
    pub(super) parked: Vec<Parked>,
}

/// Sessions by key. The key stands in the session only, so that a slot is one pointer and more of them fit a cache.
#[derive(Debug, Default)]
pub(super) struct SessionTable {
    slots: HashTable<Box<Session>>,
}

impl SessionTable {
    fn hash(key: &SessionKey) -> u64 {
        FixedState::default().hash_one(key)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The session of this key, whose hash is `hash`; a new one where there was none.
    fn get(&mut self, hash: u64, key: &SessionKey, now: Now) -> &mut Session {
        let fresh = || Box::new(Session::new(key.clone(), now));
        let slot = self.slots.entry(hash, |known| known.key == *key, |known| Self::hash(&known.key));
        slot.or_insert_with(fresh).into_mut()
    }

    fn merge(&mut self, session: Box<Session>) {
        let hash = Self::hash(&session.key);
        match self.slots.find_mut(hash, |known| known.key == session.key) {
            Some(known) => known.merge(*session),
            None => {
                self.slots.insert_unique(hash, session, |session| Self::hash(&session.key));
            }
        }
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Box<Session>> {
        self.slots.drain()
    }
}

/// One part of the sessions and event ids.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) sessions: SessionTable,
    pub(super) events: HashSet<EventId, FixedState>,
    /// Session calls that AWS refused, by event.
    pub(super) refused: HashSet<EventId, FixedState>,
}

impl Part {
    pub(super) fn merge(&mut self, mut other: Self) {
        if self.sessions.len() < other.sessions.len() {
            let smaller = std::mem::replace(self, other);
            return self.merge(smaller);
        }
        self.events.extend(other.events);
        self.refused.extend(other.refused);
        for session in other.sessions.drain() {
            self.sessions.merge(session);
        }
    }
}

/// What one thread has gathered.
pub(super) struct Fold<'a> {
    decoder: &'a Decoder,
    settings: &'a Settings,
    period: Period,
    keep_parked: bool,
    names: Names,
    verdicts: Verdicts,
    pub(super) parts: Vec<Part>,
    pub(super) incidents: BTreeMap<Arc<str>, Incident>,
    pub(super) counts: Counts,
    file: String,
    kept: usize,
    kept_bytes: usize,
}

impl<'a> Fold<'a> {
    pub(super) fn new(
        decoder: &'a Decoder,
        judge: &Arc<Judge>,
        settings: &'a Settings,
        period: Period,
        keep_parked: bool,
    ) -> Self {
        Self {
            decoder,
            settings,
            period,
            keep_parked,
            names: Names::default(),
            verdicts: Verdicts::new(Arc::clone(judge)),
            parts: std::iter::repeat_with(Part::default).take(PARTS).collect(),
            incidents: BTreeMap::new(),
            counts: Counts::default(),
            file: String::new(),
            kept: 0,
            kept_bytes: 0,
        }
    }

    /// Begins to read another file or part of one, and returns the counts of the last.
    pub(super) fn begin(&mut self, file: String) -> Counts {
        self.file = file;
        std::mem::take(&mut self.counts)
    }

    pub(super) fn into_gathered(self) -> (Vec<Part>, BTreeMap<Arc<str>, Incident>) {
        (self.parts, self.incidents)
    }

    fn take(&mut self, decoded: Decoded<'_>, value: &[u8], at: RecordAt) {
        match decoded {
            Decoded::Ignored(
                Ignored::OtherEvent | Ignored::OtherSource | Ignored::Harmless | Ignored::NotCloudTrail,
            ) => self.counts.ignored += 1,
            Decoded::Poison(poison) => self.park(&poison, value, at),
            Decoded::Relevant(seen) => self.observe(&seen),
        }
    }

    fn observe(&mut self, seen: &Observation<'_>) {
        if !self.period.holds(seen.at) {
            self.counts.outside += 1;
            return;
        }
        self.counts.relevant += 1;
        // A repeated event is taken in again: that changes nothing, and where two records share an id but differ, the
        // answer does not depend on which came first.
        let part = (seen.event.0 as usize) % PARTS;
        self.parts[part].events.insert(seen.event);
        if let Some(event) = SessionEvent::of(seen, &mut self.names) {
            let hash = SessionTable::hash(&event.key);
            let part = (hash >> 48) as usize % PARTS;
            let session = self.parts[part].sessions.get(hash, &event.key, Now(event.mark.at.0));
            session.absorb_event(event);
            return;
        }
        if let What::Refused { .. } = seen.what {
            self.parts[part].refused.insert(seen.event);
            return;
        }
        let mut rules = Rules { verdicts: &mut self.verdicts, settings: self.settings };
        for (cause, incident) in incidents_of(seen, &mut self.names, &mut rules) {
            merge_incident(&mut self.incidents, cause, incident);
        }
    }

    /// Takes a value apart that is not one: several records can stand in one line.
    #[cold]
    fn apart(&mut self, poison: &Poison, value: &[u8], at: RecordAt) {
        let (decoder, mut splitter, mut begin) = (self.decoder, Splitter::default(), 0);
        loop {
            let (piece, done) = splitter.next(&value[begin..], true);
            let place = |range: &Range<usize>| RecordAt { byte: at.byte + (begin + range.start) as u64, ..at };
            match piece {
                Piece::Whole(range) if range.len() < value.len() => {
                    let (one, place) = (&value[begin + range.start..begin + range.end], place(&range));
                    decoder.decode(one, &mut |decoded| self.take(decoded, one, place));
                }
                Piece::Broken(range) if range.len() < value.len() => {
                    self.park(poison, &value[begin + range.start..begin + range.end], place(&range));
                }
                Piece::End => return,
                Piece::Whole(_) | Piece::Broken(_) | Piece::TooLong(_) | Piece::More => {
                    return self.park(poison, &value[begin..], at);
                }
            }
            begin += done;
        }
    }

    #[cold]
    fn park(&mut self, poison: &Poison, value: &[u8], at: RecordAt) {
        self.counts.poison += 1;
        if self.kept >= PARKED_MAX {
            return;
        }
        self.kept += 1;
        let keep = self.keep_parked && self.kept_bytes + value.len() <= PARKED_BYTES_MAX;
        self.kept_bytes += if keep { value.len() } else { 0 };
        self.counts.parked.push(Parked {
            file: self.file.clone(),
            record: at.record,
            byte: at.byte,
            reason: poison.to_string(),
            bytes: None,
            stream: None,
            content: keep.then(|| value.to_owned()),
        });
    }
}

/// Adds an incident to those of the same cause.
pub(super) fn merge_incident(all: &mut BTreeMap<Arc<str>, Incident>, cause: Arc<str>, incident: Incident) {
    match all.get_mut(&cause) {
        Some(known) => known.merge(incident),
        None => {
            all.insert(cause, incident);
        }
    }
}

impl Sink for Fold<'_> {
    fn whole(&mut self, value: &[u8], at: RecordAt) {
        self.counts.values += 1;
        let decoder = self.decoder;
        let (mut records, mut malformed) = (0, None);
        decoder.decode(value, &mut |decoded| {
            records += 1;
            match decoded {
                Decoded::Poison(poison @ Poison::Malformed(_)) if records == 1 => malformed = Some(poison),
                Decoded::Poison(_) | Decoded::Ignored(_) | Decoded::Relevant(_) => self.take(decoded, value, at),
            }
        });
        match malformed {
            Some(poison) if records == 1 => self.apart(&poison, value, at),
            Some(poison) => self.park(&poison, value, at),
            None => {}
        }
    }

    fn broken(&mut self, value: &[u8], at: RecordAt) {
        self.counts.values += 1;
        let decoder = self.decoder;
        decoder.decode_fully(value, &mut |decoded| match decoded {
            // What has no whole frame is parked, even where it happens to parse.
            Decoded::Ignored(_) => {
                self.park(&Poison::Malformed("no whole record".into()), value, at);
            }
            Decoded::Relevant(_) | Decoded::Poison(_) => self.take(decoded, value, at),
        });
    }

    fn too_long(&mut self, value: &[u8], at: RecordAt) {
        self.counts.values += 1;
        self.park(&Poison::TooLong, &value[..value.len().min(1 << 20)], at);
    }
}
