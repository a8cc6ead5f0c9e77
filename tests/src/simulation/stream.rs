//! The stream and its lease table.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use sessionwarden::stream::{EventStream, LeaseTable, Reading, Record, StreamError};
use sessionwarden_machine::{
    decode::{Decoded, Decoder, What},
    ids::{Now, SessionKey},
    lease::{Answer, Checkpoint, HashRange, Lease, ListedShard, ReadFrom, SequenceNumber, ShardId, WorkerId, Write},
};
use sessionwarden_store::StoreError;

use super::{
    chance::{Fault, mix},
    host::SimHost,
    sim::{Sim, lock},
};

/// How many records one reading gives.
const RECORDS_MAX: usize = 500;
/// After how long without being used a place expires, in milliseconds.
const PLACE_MS_MAX: i64 = 300_000;

/// What has to follow from a record before it may be checkpointed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing.
    Nothing,
    /// The opening call of a session.
    Start(SessionKey),
    /// A resumption.
    Resume(SessionKey),
    /// A termination.
    Terminate(SessionKey),
    /// It is parked.
    Unreadable,
}

impl Meaning {
    /// What the core's own decoder makes of it.
    pub fn of(decoder: &Decoder, data: &[u8]) -> Self {
        let mut meaning = Self::Nothing;
        decoder.decode(data, &mut |one| match one {
            Decoded::Relevant(seen) => {
                let key = |id: &str| SessionKey {
                    account: seen.account,
                    region: Arc::from(&*seen.region),
                    id: Arc::from(id),
                };
                meaning = match &seen.what {
                    What::Start(opened) => Self::Start(key(&opened.session)),
                    What::Resume { session } => Self::Resume(key(session)),
                    What::Terminate { session } => Self::Terminate(key(session)),
                    What::Refused { .. } | What::Access { .. } | What::Change { .. } => Self::Nothing,
                };
            }
            Decoded::Poison(_) => meaning = Self::Unreadable,
            Decoded::Ignored(_) => {}
        });
        meaning
    }
}

struct Stored {
    number: u64,
    arrived: Now,
    key: Arc<str>,
    data: Vec<u8>,
    meaning: Meaning,
}

struct Shard {
    parents: BTreeSet<ShardId>,
    range: HashRange,
    records: Vec<Stored>,
    closed: bool,
    children: Vec<ShardId>,
    /// How many records were checkpointed, and found to have been handled.
    checked: usize,
}

/// Shards, and the rows of their leases.
pub struct Shards {
    all: BTreeMap<ShardId, Shard>,
    /// The rows.
    pub rows: BTreeMap<ShardId, Lease>,
    numbers: u64,
    late: BTreeMap<(Now, u64), Write>,
}

/// A place in a shard.
#[derive(Debug)]
pub struct Place {
    shard: ShardId,
    at: usize,
    used: Now,
}

impl Shards {
    /// So many shards of equal size.
    pub fn new(count: usize) -> Self {
        let part = u128::MAX / count.max(1) as u128;
        let range = |at: usize| HashRange {
            start: part * at as u128 + u128::from(at > 0),
            end: if at + 1 == count { u128::MAX } else { part * (at as u128 + 1) },
        };
        let mut shards = Self { all: BTreeMap::new(), rows: BTreeMap::new(), numbers: 0, late: BTreeMap::new() };
        for at in 0..count {
            shards.add(BTreeSet::new(), range(at));
        }
        shards
    }

    fn add(&mut self, parents: BTreeSet<ShardId>, range: HashRange) -> ShardId {
        let id = ShardId::from(format!("shardId-{:012}", self.all.len()).as_str());
        let shard = Shard { parents, range, records: Vec::new(), closed: false, children: Vec::new(), checked: 0 };
        self.all.insert(id.clone(), shard);
        id
    }

    /// Adds a record.
    pub fn put(&mut self, key: &str, data: Vec<u8>, meaning: Meaning, now: Now) {
        let hashed = key.bytes().fold(7, |hash, byte| mix(hash, 3_000, u64::from(byte)));
        let hashed = u128::from(hashed) << 64 | u128::from(mix(hashed, 3_001, 0));
        self.numbers += 1;
        let number = self.numbers;
        let open = self.all.values_mut().find(|it| !it.closed && it.range.start <= hashed && hashed <= it.range.end);
        if let Some(shard) = open {
            shard.records.push(Stored { number, arrived: now, key: Arc::from(key), data, meaning });
        }
    }

    fn open_shards(&self) -> Vec<ShardId> {
        self.all.iter().filter(|(_, shard)| !shard.closed).map(|(id, _)| id.clone()).collect()
    }

    fn close(&mut self, parents: &[ShardId], children: &[HashRange]) {
        let ids: Vec<ShardId> =
            children.iter().map(|range| self.add(parents.iter().cloned().collect(), *range)).collect();
        for parent in parents {
            if let Some(shard) = self.all.get_mut(parent) {
                (shard.closed, shard.children) = (true, ids.clone());
            }
        }
    }

    /// Splits one of the open shards.
    pub fn split(&mut self, drawn: u64) {
        let open = self.open_shards();
        let Some(parent) = open.get(drawn as usize % open.len().max(1)).cloned() else { return };
        let HashRange { start, end } = self.all[&parent].range;
        let middle = start + (end - start) / 2;
        self.close(&[parent], &[HashRange { start, end: middle }, HashRange { start: middle + 1, end }]);
    }

    /// Merges two of the open shards that lie side by side, where there are any.
    pub fn merge(&mut self, drawn: u64) {
        let mut open: Vec<(HashRange, ShardId)> =
            self.open_shards().into_iter().map(|id| (self.all[&id].range, id)).collect();
        open.sort_unstable();
        if open.len() < 2 {
            return;
        }
        let at = drawn as usize % (open.len() - 1);
        let range = HashRange { start: open[at].0.start, end: open[at + 1].0.end };
        self.close(&[open[at].1.clone(), open[at + 1].1.clone()], &[range]);
    }

    /// Somebody else takes a lease over, who never shows again.
    pub fn steal(&mut self, drawn: u64) {
        let held: Vec<&ShardId> =
            self.rows.values().filter(|row| row.owner.is_some() && !row.ended()).map(|row| &row.shard).collect();
        let Some(shard) = held.get(drawn as usize % held.len().max(1)).map(|shard| (*shard).clone()) else { return };
        if let Some(row) = self.rows.get_mut(&shard) {
            row.owner = Some(WorkerId::from(format!("thief:{drawn:x}").as_str()));
            row.counter += 1;
            row.fence += 1;
            row.hand_off_to = None;
        }
    }

    fn listed(&self, id: &ShardId) -> Option<ListedShard> {
        let shard = self.all.get(id)?;
        Some(ListedShard { shard: id.clone(), parents: shard.parents.clone(), range: shard.range })
    }

    /// Records that no checkpoint covers.
    pub fn waiting(&self) -> usize {
        self.all.values().map(|shard| shard.records.len() - shard.checked).sum()
    }

    /// Shards that a reader would have to wait for before it opens this one.
    fn unfinished_parents(&self, id: &ShardId) -> Vec<ShardId> {
        let parents = self.all.get(id).map(|shard| shard.parents.clone()).unwrap_or_default();
        let unfinished = |parent: &ShardId| {
            let shard = self.all.get(parent);
            shard.is_some_and(|shard| shard.checked < shard.records.len())
        };
        parents.into_iter().filter(|parent| unfinished(parent)).collect()
    }

    /// The records that a new checkpoint of a shard covers and the last one did not.
    fn cover(&mut self, shard: &ShardId, checkpoint: &Checkpoint) -> Vec<(String, Meaning)> {
        let Some(stored) = self.all.get_mut(shard) else { return Vec::new() };
        let until = match checkpoint {
            Checkpoint::ShardEnd => stored.records.len(),
            Checkpoint::Sequence(position) => {
                let number = position.sequence.as_str().parse().unwrap_or(u64::MAX);
                stored.records.partition_point(|record| record.number <= number)
            }
            Checkpoint::TrimHorizon | Checkpoint::Latest | Checkpoint::AtTimestamp(_) => 0,
        };
        let from = stored.checked;
        stored.checked = stored.checked.max(until);
        let fresh = stored.records.get(from..until).unwrap_or_default();
        fresh.iter().map(|one| (format!("{shard}/{}", one.number), one.meaning.clone())).collect()
    }
}

/// The stream, as one worker sees it.
pub struct SimStream(pub Arc<SimHost>);

impl EventStream for SimStream {
    type Place = Place;

    async fn shards(&self) -> Result<Vec<ListedShard>, StreamError> {
        self.0.way().await;
        if self.0.sim.happens(Fault::ListFails).is_some() {
            return Err(StreamError::Throttled("injected".to_owned()));
        }
        let shards = lock(&self.0.sim.shards);
        Ok(shards.all.keys().filter_map(|id| shards.listed(id)).collect())
    }

    async fn retention_ms(&self) -> Result<u64, StreamError> {
        Ok(24 * 3_600_000)
    }

    async fn open(&self, shard: &ShardId, from: &ReadFrom) -> Result<Place, StreamError> {
        self.0.way().await;
        let sim = &self.0.sim;
        let (at, unfinished) = {
            let shards = lock(&sim.shards);
            let Some(stored) = shards.all.get(shard) else {
                return Err(StreamError::Gone(shard.to_string()));
            };
            let number = |sequence: &SequenceNumber| sequence.as_str().parse::<u64>().unwrap_or(u64::MAX);
            let at = match from {
                ReadFrom::TrimHorizon => 0,
                ReadFrom::Latest => stored.records.len(),
                ReadFrom::AtTimestamp(time) => stored.records.partition_point(|one| one.arrived.0 < time.0),
                ReadFrom::At(sequence) => stored.records.partition_point(|one| one.number < number(sequence)),
                ReadFrom::After(sequence) => stored.records.partition_point(|one| one.number <= number(sequence)),
            };
            (at, shards.unfinished_parents(shard))
        };
        if !unfinished.is_empty() {
            sim.broken("I2", shard.to_string(), format!("opened although {unfinished:?} is not at its end"));
        }
        self.0.note(format_args!("opens {shard} at {at}"));
        Ok(Place { shard: shard.clone(), at, used: sim.now() })
    }

    async fn read(&self, place: &mut Place) -> Result<Reading, StreamError> {
        let sim = &self.0.sim;
        if sim.happens(Fault::ReadHangs).is_some() {
            sim.disturbed_until(sim.now().plus_ms(120_000));
            std::future::pending::<()>().await;
        }
        self.0.way().await;
        if sim.happens(Fault::ReadThrottled).is_some() {
            return Err(StreamError::Throttled("injected".to_owned()));
        }
        let now = sim.now();
        if now > place.used.plus_ms(PLACE_MS_MAX) || sim.happens(Fault::IteratorExpired).is_some() {
            return Err(StreamError::Expired("injected".to_owned()));
        }
        let partial = sim.happens(Fault::PartialBatch);
        let shards = lock(&sim.shards);
        let Some(shard) = shards.all.get(&place.shard) else {
            return Err(StreamError::Gone(place.shard.to_string()));
        };
        let there = shard.records.get(place.at..).unwrap_or_default();
        let most = partial.map_or(RECORDS_MAX, |drawn| drawn as usize % 4).min(there.len());
        let record = |one: &Stored| {
            let sequence = SequenceNumber::parse(&one.number.to_string()).ok()?;
            let (partition_key, arrived) = (Arc::clone(&one.key), Some(one.arrived.as_event_time()));
            Some(Record { sequence, partition_key, arrived, data: one.data.clone() })
        };
        let records: Vec<Record> = there.iter().take(most).filter_map(record).collect();
        (place.at, place.used) = (place.at + records.len(), now);
        let rest = shard.records.get(place.at);
        let ended = shard.closed && rest.is_none();
        let children =
            if ended { shard.children.iter().filter_map(|id| shards.listed(id)).collect() } else { Vec::new() };
        let behind_ms = rest.map_or(0, |one| (now.0 - one.arrived.0).unsigned_abs());
        drop(shards);
        if !records.is_empty() || ended {
            self.0.note(format_args!("reads {} of {}", records.len(), place.shard));
        }
        Ok(Reading { records, ended, behind_ms, children })
    }
}

/// The lease table, as one worker sees it.
pub struct SimLeases(pub Arc<SimHost>);

impl SimLeases {
    async fn call(&self) -> Result<(), StoreError> {
        self.0.way().await;
        match self.0.sim.happens(Fault::LeaseFails) {
            None => Ok(()),
            Some(_) => Err(StoreError::Unavailable { why: "injected".to_owned() }),
        }
    }
}

/// Does what was on its way; tells of every checkpoint that is not covered by what is durable (I2).
pub fn apply(sim: &Sim, write: &Write) -> Answer {
    let (answer, fresh) = {
        let mut shards = lock(&sim.shards);
        let Some(row) = shards.rows.get(&write.shard) else { return Answer::Refused(None) };
        if !write.holds_for(row) {
            return Answer::Refused(Some(row.clone()));
        }
        let after = write.apply_to(row);
        shards.rows.insert(write.shard.clone(), after);
        let fresh = write.checkpoint.as_ref().map(|checkpoint| shards.cover(&write.shard, checkpoint));
        (Answer::Done, fresh.unwrap_or_default())
    };
    for (place, meaning) in fresh {
        super::watch::is_durable(sim, &place, &meaning);
    }
    answer
}

/// Writes that arrive late.
pub fn arrive(sim: &Sim) {
    loop {
        let write = {
            let mut shards = lock(&sim.shards);
            match shards.late.first_key_value() {
                Some(((due, _), _)) if *due <= sim.now() => shards.late.pop_first().map(|(_, write)| write),
                Some(_) | None => None,
            }
        };
        let Some(write) = write else { return };
        let answer = apply(sim, &write);
        sim.note(None, format_args!("a late write of {} arrives: {}", write.shard, answer == Answer::Done));
    }
}

impl LeaseTable for SimLeases {
    async fn list(&self) -> Result<Vec<Lease>, StoreError> {
        self.call().await?;
        Ok(lock(&self.0.sim.shards).rows.values().cloned().collect())
    }

    async fn create(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.call().await?;
        let fresh = {
            let mut shards = lock(&self.0.sim.shards);
            let fresh = !shards.rows.contains_key(&lease.shard);
            if fresh {
                shards.rows.insert(lease.shard.clone(), lease.clone());
            }
            fresh
        };
        self.0.note(format_args!("creates the row of {}: {fresh}", lease.shard));
        self.0.may_die(Fault::CrashAfterEffect).await;
        if self.0.sim.happens(Fault::LeaseAnswerLost).is_some() {
            return Err(StoreError::Unavailable { why: "injected".to_owned() });
        }
        Ok(fresh)
    }

    async fn write(&self, write: &Write) -> Result<Answer, StoreError> {
        self.call().await?;
        let sim = &self.0.sim;
        if let Some(drawn) = sim.happens(Fault::LeaseLate) {
            let due = sim.now().plus_ms(500 + (drawn % 8_000) as i64);
            lock(&sim.shards).late.insert((due, drawn), write.clone());
            return Err(StoreError::Unavailable { why: "injected".to_owned() });
        }
        let answer = apply(sim, write);
        let (done, owner) = (answer == Answer::Done, write.becomes.owner.as_ref().map(|owner| &*owner.0));
        let checkpoint = write.checkpoint.as_ref().map(Checkpoint::text);
        self.0.note(format_args!("writes {} for {owner:?}, {checkpoint:?}: {done}", write.shard));
        self.0.may_die(Fault::CrashAfterEffect).await;
        if sim.happens(Fault::LeaseAnswerLost).is_some() {
            return Err(StoreError::Unavailable { why: "injected".to_owned() });
        }
        Ok(answer)
    }

    async fn delete(&self, shard: &ShardId, fence: u64) -> Result<bool, StoreError> {
        self.call().await?;
        let mut shards = lock(&self.0.sim.shards);
        let fits = shards.rows.get(shard).is_some_and(|row| row.ended() && row.fence == fence);
        if fits {
            shards.rows.remove(shard);
        }
        Ok(fits)
    }
}

/// Waits a little; for loops of the models.
pub async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
