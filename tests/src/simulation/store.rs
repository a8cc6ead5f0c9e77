//! The state table: conditional writes with fences, an index of due items that may lag, deletions before their time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use foldhash::fast::FixedState;
use sessionwarden::fleet::{Expiry, SharedStore};
use sessionwarden_machine::ids::Now;
use sessionwarden_store::{Due, DueItem, Fence, Item, Saved, Store, StoreError, Write};

use super::{
    chance::Fault,
    host::SimHost,
    sim::{Sim, lock},
    watch,
};

type Key = Arc<str>;

/// An item with what only the table knows of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The item.
    pub item: Item,
    /// The fence under which a shard's owner last wrote it.
    pub fence: Option<Fence>,
}

/// The tables.
#[derive(Debug, Default)]
pub struct Tables {
    /// Items by key.
    pub rows: HashMap<Key, Row, FixedState>,
    /// Their keys in order.
    keys: BTreeSet<Key>,
    due_by_partition: BTreeMap<Key, BTreeSet<(Now, Key)>>,
    indexed: HashMap<Key, Due, FixedState>,
    lagging: BTreeSet<(Now, Key)>,
    things_and_keys: BTreeSet<(Key, Key)>,
    checkpoints: BTreeMap<String, Vec<u8>>,
    deleted: Vec<Item>,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrote {
    Saved(u64),
    Conflict,
    Fenced(u64),
}

impl Tables {
    /// Writes an item; returns what it replaces.
    fn write(&mut self, write: Write, fence: Option<&Fence>, lags_until: Option<Now>) -> (Wrote, Option<Row>) {
        let known = self.rows.get(&write.item.key);
        let (rev, held) = known.map_or((0, None), |row| (row.item.rev, row.fence.clone()));
        if let (Some(fence), Some(held)) = (fence, &held)
            && fence.is_behind(held)
        {
            return (Wrote::Fenced(held.number), None);
        }
        if rev != write.expected {
            return (Wrote::Conflict, None);
        }
        let item = Item { rev: rev + 1, ..write.item };
        let rested_on = known.map_or(&[][..], |row| &row.item.depends);
        if rested_on != item.depends {
            for thing in rested_on {
                self.things_and_keys.remove(&(Arc::clone(thing), Arc::clone(&item.key)));
            }
            self.things_and_keys.extend(item.depends.iter().map(|thing| (Arc::clone(thing), Arc::clone(&item.key))));
        }
        let key = Arc::clone(&item.key);
        let before = self.rows.insert(Arc::clone(&key), Row { item, fence: fence.cloned().or(held) });
        if before.is_none() {
            self.keys.insert(Arc::clone(&key));
        }
        match lags_until {
            Some(until) => drop(self.lagging.insert((until, key))),
            None => self.index(&key),
        }
        (Wrote::Saved(rev + 1), before)
    }

    /// Brings the index up to an item.
    fn index(&mut self, key: &Key) {
        let due = self.rows.get(key).and_then(|row| row.item.due.clone());
        if self.indexed.get(key) == due.as_ref() {
            return;
        }
        if let Some(old) = self.indexed.remove(key)
            && let Some(entries) = self.due_by_partition.get_mut(&old.partition)
        {
            entries.remove(&(old.at, Arc::clone(key)));
        }
        if let Some(due) = due {
            self.due_by_partition.entry(Arc::clone(&due.partition)).or_default().insert((due.at, Arc::clone(key)));
            self.indexed.insert(Arc::clone(key), due);
        }
    }

    /// Brings the index up to what it may lag behind no longer.
    pub fn catch_up(&mut self, now: Now) {
        while let Some(entry) = self.lagging.first().filter(|(until, _)| *until <= now).cloned() {
            self.lagging.remove(&entry);
            self.index(&entry.1);
        }
    }

    fn due_of(&self, partition: &str, until: Now, limit: usize) -> Vec<DueItem> {
        let entries = self.due_by_partition.get_key_value(partition);
        let due = entries.into_iter().flat_map(|(partition, entries)| {
            entries.iter().take_while(|(at, _)| *at <= until).map(|(at, key)| DueItem {
                key: Arc::clone(key),
                due: Due { partition: Arc::clone(partition), at: *at },
            })
        });
        due.take(limit).collect()
    }

    /// What is due at `until` or before, by time and key.
    pub fn due(&self, until: Now, limit: usize) -> Vec<DueItem> {
        let mut all: Vec<DueItem> =
            self.due_by_partition.keys().flat_map(|partition| self.due_of(partition, until, limit)).collect();
        all.sort_unstable_by(|a, b| (a.due.at, &a.key).cmp(&(b.due.at, &b.key)));
        all.truncate(limit);
        all
    }

    /// Deletes an item, which is told through the table's stream.
    pub fn delete(&mut self, key: &Key) -> Option<Item> {
        let row = self.rows.remove(key)?;
        self.keys.remove(key);
        for thing in &row.item.depends {
            self.things_and_keys.remove(&(Arc::clone(thing), Arc::clone(key)));
        }
        self.index(key);
        self.deleted.push(row.item.clone());
        Some(row.item)
    }
}

/// The store, as one worker sees it.
#[derive(Clone)]
pub struct SimStore {
    host: Arc<SimHost>,
    fence: Option<Fence>,
}

impl SimStore {
    /// The store, for a worker.
    pub fn new(host: Arc<SimHost>) -> Self {
        Self { host, fence: None }
    }

    fn sim(&self) -> &Sim {
        &self.host.sim
    }

    async fn call(&self) -> Result<(), StoreError> {
        self.host.way().await;
        if let Some(drawn) = self.sim().happens(Fault::StoreSlow) {
            super::stream::pause(500 + drawn % 5_000).await;
        }
        self.host.may_die(Fault::CrashAfterEffect).await;
        match self.sim().happens(Fault::StoreFails) {
            None => Ok(()),
            Some(_) => Err(injected()),
        }
    }
}

fn injected() -> StoreError {
    StoreError::Unavailable { why: "injected".to_owned() }
}

impl Store for SimStore {
    async fn load(&self, key: &str) -> Result<Option<Item>, StoreError> {
        self.call().await?;
        watch::touched(self.sim(), key);
        Ok(lock(&self.sim().tables).rows.get(key).map(|row| row.item.clone()))
    }

    async fn save(&self, writes: Vec<Write>) -> Result<Vec<Saved>, StoreError> {
        for write in &writes {
            write.item.check()?;
        }
        self.call().await?;
        let sim = self.sim();
        let partial = if writes.len() > 1 { sim.happens(Fault::StorePartial) } else { None };
        let (mut saved, mut fenced) = (Vec::with_capacity(writes.len()), None);
        for (number, write) in (0_u64..).zip(writes) {
            if partial.is_some_and(|drawn| (drawn >> (number % 60)) & 1 == 0) {
                continue;
            }
            if sim.happens(Fault::StoreConflict).is_some() {
                saved.push(Saved::Conflict);
                continue;
            }
            let lags_until = sim.happens(Fault::IndexLag).map(|drawn| sim.now().plus_ms(50 + (drawn % 3_000) as i64));
            let (key, expected) = (Arc::clone(&write.item.key), write.expected);
            watch::touched(sim, &key);
            let (wrote, before) = lock(&sim.tables).write(write, self.fence.as_ref(), lags_until);
            self.host.note(format_args!("saves {key} after {expected}: {wrote:?}"));
            match wrote {
                Wrote::Saved(rev) => {
                    watch::saved(&self.host, before.as_ref(), &key, self.fence.as_ref());
                    saved.push(Saved::Saved { rev });
                }
                Wrote::Conflict => saved.push(Saved::Conflict),
                Wrote::Fenced(found) => {
                    watch::refused(&self.host, &key, self.fence.as_ref());
                    let fence = self.fence.as_ref().map_or(0, |fence| fence.number);
                    fenced = Some(StoreError::Fenced { key, fence, found });
                }
            }
        }
        self.host.may_die(Fault::CrashAfterEffect).await;
        self.host.way().await;
        if let Some(error) = fenced {
            return Err(error);
        }
        if partial.is_some() || sim.happens(Fault::StoreAnswerLost).is_some() {
            return Err(injected());
        }
        Ok(saved)
    }

    async fn due(&self, until: Now, limit: usize) -> Result<Vec<DueItem>, StoreError> {
        self.call().await?;
        let mut tables = lock(&self.sim().tables);
        tables.catch_up(self.sim().now());
        Ok(tables.due(until, limit))
    }

    async fn dependents(&self, thing: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.call().await?;
        let thing: Arc<str> = Arc::from(thing);
        let from = match after {
            Some(key) => Excluded((Arc::clone(&thing), Arc::from(key))),
            None => Included((Arc::clone(&thing), Arc::from(""))),
        };
        let tables = lock(&self.sim().tables);
        let entries = tables.things_and_keys.range((from, Unbounded)).take_while(|(of, _)| *of == thing);
        Ok(entries.take(limit).map(|(_, key)| Arc::clone(key)).collect())
    }

    async fn expired(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.call().await?;
        let tables = lock(&self.sim().tables);
        let expired = tables.rows.values().filter(|row| row.item.expires.is_some_and(|at| at < now));
        let mut expired: Vec<Item> = expired.map(|row| row.item.clone()).collect();
        expired.sort_by(|a, b| (a.expires, &a.key).cmp(&(b.expires, &b.key)));
        expired.truncate(limit);
        Ok(expired)
    }

    async fn collect(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        let expired = self.expired(now, limit).await?;
        let mut tables = lock(&self.sim().tables);
        Ok(expired.iter().filter_map(|item| tables.delete(&item.key)).collect())
    }

    async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.call().await?;
        let from = match after {
            Some(key) if key >= prefix => Excluded(key),
            Some(_) | None => Included(prefix),
        };
        let tables = lock(&self.sim().tables);
        let keys = tables.keys.range::<str, _>((from, Unbounded));
        Ok(keys.take_while(|key| key.starts_with(prefix)).take(limit).cloned().collect())
    }

    async fn checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.call().await?;
        Ok(lock(&self.sim().tables).checkpoints.get(name).cloned())
    }

    async fn set_checkpoint(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.call().await?;
        lock(&self.sim().tables).checkpoints.insert(name.to_owned(), value.to_vec());
        Ok(())
    }
}

impl SharedStore for SimStore {
    fn with_fence(&self, fence: Option<Fence>) -> Self {
        Self { host: Arc::clone(&self.host), fence }
    }

    fn units(&self) -> [f64; 2] {
        [0.0; 2]
    }

    async fn due_in(&self, partition: &str, until: Now, limit: usize) -> Result<Vec<DueItem>, StoreError> {
        self.call().await?;
        let mut tables = lock(&self.sim().tables);
        tables.catch_up(self.sim().now());
        Ok(tables.due_of(partition, until, limit))
    }
}

/// What the table's stream tells of deletions.
pub struct SimExpiry {
    host: Arc<SimHost>,
    told: usize,
}

impl SimExpiry {
    /// From the first deletion on that nobody has dealt with.
    pub fn new(host: Arc<SimHost>) -> Self {
        Self { host, told: 0 }
    }
}

impl Expiry for SimExpiry {
    async fn next(&mut self) -> Result<Vec<Item>, StoreError> {
        self.host.way().await;
        let tables = lock(&self.host.sim.tables);
        let late = if tables.deleted.is_empty() { None } else { self.host.sim.happens(Fault::TtlLate) };
        self.told = late.map_or(tables.deleted.len(), |drawn| drawn as usize % (tables.deleted.len() + 1));
        Ok(tables.deleted[..self.told].to_vec())
    }

    async fn done(&mut self) -> Result<(), StoreError> {
        let mut tables = lock(&self.host.sim.tables);
        // Told again where it is late.
        if self.host.sim.happens(Fault::TtlLate).is_none() {
            let told = std::mem::take(&mut self.told).min(tables.deleted.len());
            tables.deleted.drain(..told);
        }
        Ok(())
    }
}

impl Tables {
    /// The items whose keys begin so.
    pub fn of<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Item> {
        let keys = self.keys.range::<str, _>((Included(prefix), Unbounded));
        keys.take_while(move |key| key.starts_with(prefix)).filter_map(|key| self.rows.get(key)).map(|row| &row.item)
    }

    /// Deletions that nobody has dealt with.
    pub fn untold(&self) -> usize {
        self.deleted.len()
    }
}

impl Tables {
    /// Keys of what is due in a partition, as its items say.
    pub fn due_in(&self, partition: &str, until: Now) -> Vec<Arc<str>> {
        let due = self.due_of(partition, until, usize::MAX);
        let fresh =
            |item: &DueItem| self.rows.get(&item.key).is_some_and(|row| row.item.due.as_ref() == Some(&item.due));
        due.into_iter().filter(fresh).map(|item| item.key).collect()
    }
}
