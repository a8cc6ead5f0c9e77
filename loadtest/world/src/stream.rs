//! Streams of live sessions. An agent writes every few seconds; what came of that is worked out when somebody asks, or when
//! something changes on which it rests.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ops::Bound::{Included, Unbounded},
    sync::Arc,
};

use sessionwarden_machine::{
    document::log_stream_name,
    ids::{AccountId, EventTime, SessionKey},
    posture::LogStream,
};

use crate::{estate::InRegion, world::World};

/// How often an agent writes to its stream while the session lives, in milliseconds.
const STREAM_EVERY_MS: i64 = 5_000;
/// From the start of a session to the first event of its stream, in milliseconds.
const STREAM_FIRST_MS: i64 = 1_000;

/// The streams of each log group, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    kept: BTreeMap<InRegion, BTreeMap<Arc<str>, Kept>>,
    /// Whether a node can write to the streams of a group, by account, until something changes there.
    may: RefCell<BTreeMap<AccountId, Ways>>,
}

/// By node and log group.
type Ways = BTreeMap<(Arc<str>, Arc<str>), bool>;

/// A stream, and who writes to it.
#[derive(Clone, Debug)]
struct Kept {
    /// As of the last change of what the writer rests on; `None` while nothing was written.
    written: Option<LogStream>,
    writer: Option<Writer>,
}

/// An agent that writes.
#[derive(Clone, Debug)]
struct Writer {
    node: Arc<str>,
    session: Arc<str>,
    /// When it writes next, as of the last change.
    next: EventTime,
}

impl World {
    /// An agent begins to write to a session's stream.
    pub(crate) fn open_stream(&mut self, key: &SessionKey, node: &Arc<str>, group: &Arc<str>) {
        let next = self.now().as_event_time().plus_ms(STREAM_FIRST_MS);
        let writer = Writer { node: Arc::clone(node), session: Arc::clone(&key.id), next };
        let place = (key.account, Arc::clone(&key.region), Arc::clone(group));
        let name = log_stream_name(&key.id).into();
        self.streams.kept.entry(place).or_default().insert(name, Kept { written: None, writer: Some(writer) });
    }

    /// It writes once more, and then never again.
    pub(crate) fn close_stream(&mut self, key: &SessionKey, group: &Arc<str>, at: EventTime) {
        let place = (key.account, Arc::clone(&key.region), Arc::clone(group));
        let name = log_stream_name(&key.id);
        let Some(kept) = self.streams.kept.get(&place).and_then(|streams| streams.get(&*name)) else { return };
        let Some(writer) = &kept.writer else { return };
        let mut written = kept.written.clone();
        if self.writes(&place, writer) {
            let stream = written.get_or_insert(LogStream { created_at: writer.next.min(at), last_event_at: None });
            stream.last_event_at = Some(at);
        }
        let kept = self.streams.kept.get_mut(&place).and_then(|streams| streams.get_mut(&*name));
        if let Some(kept) = kept {
            *kept = Kept { written, writer: None };
        }
    }

    /// A stream as it is now.
    pub(crate) fn stream_of(&self, place: &InRegion, name: &str) -> Option<LogStream> {
        let kept = self.streams.kept.get(place)?.get(name)?;
        self.written(place, kept).0
    }

    /// What agents of this account could write until now is written, as something changes for them; `None`: of all.
    pub(crate) fn settle_streams(&mut self, account: Option<AccountId>) {
        let mut streams = std::mem::take(&mut self.streams.kept);
        let first = account.map_or(Unbounded, |account| Included((account, Arc::from(""), Arc::from(""))));
        let concerned = |place: &InRegion| account.is_none_or(|account| place.0 == account);
        for (place, streams) in streams.range_mut((first, Unbounded)).take_while(|(place, _)| concerned(place)) {
            for kept in streams.values_mut().filter(|kept| kept.writer.is_some()) {
                let (written, next) = self.written(place, kept);
                kept.written = written;
                if let (Some(writer), Some(next)) = (&mut kept.writer, next) {
                    writer.next = next;
                }
            }
        }
        self.streams.kept = streams;
        let may = self.streams.may.get_mut();
        match account {
            Some(account) => drop(may.remove(&account)),
            None => may.clear(),
        }
    }

    pub(crate) fn forget_stream(&mut self, key: &SessionKey, group: &Arc<str>) {
        let place = (key.account, Arc::clone(&key.region), Arc::clone(group));
        if let Some(streams) = self.streams.kept.get_mut(&place) {
            streams.remove(&*log_stream_name(&key.id));
        }
    }

    /// With a group go its streams.
    pub(crate) fn forget_group(&mut self, place: &InRegion) {
        self.streams.kept.remove(place);
    }

    /// A stream as it is now, and when its agent writes next.
    fn written(&self, place: &InRegion, kept: &Kept) -> (Option<LogStream>, Option<EventTime>) {
        let Some(writer) = &kept.writer else { return (kept.written.clone(), None) };
        let past_ms = self.now().as_event_time().0 - writer.next.0;
        if past_ms < 0 {
            return (kept.written.clone(), Some(writer.next));
        }
        let last = writer.next.plus_ms(past_ms - past_ms % STREAM_EVERY_MS);
        let mut written = kept.written.clone();
        if self.writes(place, writer) {
            let stream = written.get_or_insert(LogStream { created_at: writer.next, last_event_at: None });
            stream.last_event_at = Some(last);
        }
        (written, Some(last.plus_ms(STREAM_EVERY_MS)))
    }

    fn writes(&self, place: &InRegion, writer: &Writer) -> bool {
        let mut may = self.streams.may.borrow_mut();
        let way = (Arc::clone(&writer.node), Arc::clone(&place.2));
        let known = may.entry(place.0).or_default().entry(way);
        *known.or_insert_with(|| self.may_stream(place, &writer.node, &writer.session))
    }
}
