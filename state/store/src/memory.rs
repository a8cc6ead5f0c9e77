use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Included, Unbounded},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sessionwarden_machine::ids::Now;

use crate::{Due, DueItem, Item, Saved, Store, StoreError, Write};

/// Keeps everything in memory; a clone is the same store.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    tables: Arc<Mutex<Tables>>,
}

#[derive(Debug, Default)]
struct Tables {
    items_by_key: BTreeMap<Arc<str>, Item>,
    partitions_by_due: BTreeMap<(Now, Arc<str>), Arc<str>>,
    things_and_keys: BTreeSet<(Arc<str>, Arc<str>)>,
    expiries: BTreeSet<(Now, Arc<str>)>,
    checkpoints_by_name: BTreeMap<String, Vec<u8>>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn save(&mut self, write: Write) -> Saved {
        let rev = self.items_by_key.get(&write.item.key).map_or(0, |old| old.rev);
        if rev != write.expected {
            return Saved::Conflict;
        }
        self.remove(&write.item.key);
        let item = Item { rev: rev + 1, ..write.item };
        let key = || Arc::clone(&item.key);
        if let Some(due) = &item.due {
            self.partitions_by_due.insert((due.at, key()), Arc::clone(&due.partition));
        }
        self.things_and_keys.extend(item.depends.iter().map(|thing| (Arc::clone(thing), key())));
        self.expiries.extend(item.expires.map(|at| (at, key())));
        self.items_by_key.insert(key(), item);
        Saved::Saved { rev: rev + 1 }
    }

    fn remove(&mut self, key: &str) -> Option<Item> {
        let item = self.items_by_key.remove(key)?;
        let key = || Arc::clone(&item.key);
        if let Some(due) = &item.due {
            self.partitions_by_due.remove(&(due.at, key()));
        }
        for thing in &item.depends {
            self.things_and_keys.remove(&(Arc::clone(thing), key()));
        }
        if let Some(at) = item.expires {
            self.expiries.remove(&(at, key()));
        }
        Some(item)
    }
}

impl Store for Memory {
    async fn load(&self, key: &str) -> Result<Option<Item>, StoreError> {
        Ok(self.tables().items_by_key.get(key).cloned())
    }

    async fn save(&self, writes: Vec<Write>) -> Result<Vec<Saved>, StoreError> {
        for write in &writes {
            write.item.check()?;
        }
        let mut tables = self.tables();
        Ok(writes.into_iter().map(|write| tables.save(write)).collect())
    }

    async fn due(&self, until: Now, limit: usize) -> Result<Vec<DueItem>, StoreError> {
        let tables = self.tables();
        let due = tables.partitions_by_due.iter().take_while(|((at, _), _)| *at <= until).take(limit);
        Ok(due
            .map(|((at, key), partition)| DueItem {
                key: Arc::clone(key),
                due: Due { partition: Arc::clone(partition), at: *at },
            })
            .collect())
    }

    async fn dependents(&self, thing: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        let thing: Arc<str> = Arc::from(thing);
        let from = match after {
            Some(key) => Excluded((Arc::clone(&thing), Arc::from(key))),
            None => Included((Arc::clone(&thing), Arc::from(""))),
        };
        let tables = self.tables();
        let entries = tables.things_and_keys.range((from, Unbounded)).take_while(|(of, _)| *of == thing).take(limit);
        Ok(entries.map(|(_, key)| Arc::clone(key)).collect())
    }

    async fn expired(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        let tables = self.tables();
        let expired = tables.expiries.iter().take_while(|(at, _)| *at < now).take(limit);
        Ok(expired.filter_map(|(_, key)| tables.items_by_key.get(key).cloned()).collect())
    }

    async fn collect(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        let mut tables = self.tables();
        let expired: Vec<Arc<str>> = tables
            .expiries
            .iter()
            .take_while(|(at, _)| *at < now)
            .take(limit)
            .map(|(_, key)| Arc::clone(key))
            .collect();
        Ok(expired.iter().filter_map(|key| tables.remove(key)).collect())
    }

    async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        let from = match after {
            Some(key) if key >= prefix => Excluded(key),
            Some(_) | None => Included(prefix),
        };
        let tables = self.tables();
        let keys = tables.items_by_key.range::<str, _>((from, Unbounded)).map(|(key, _)| key);
        Ok(keys.take_while(|key| key.starts_with(prefix)).take(limit).cloned().collect())
    }

    async fn checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.tables().checkpoints_by_name.get(name).cloned())
    }

    async fn set_checkpoint(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.tables().checkpoints_by_name.insert(name.to_owned(), value.to_vec());
        Ok(())
    }
}
