use std::{
    ops::Bound::{Excluded, Included, Unbounded},
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError, WriteTransaction,
};
use sessionwarden_machine::ids::Now;
use tokio::{sync::Mutex, task::spawn_blocking};

use self::failure::{Failure, panicked};
use crate::{Due, DueItem, Item, Saved, Store, StoreError, Write};

mod failure;

/// The layout of the tables below; another one is refused.
const FORMAT: u64 = 1;
const FILE_NAME: &str = "sessionwarden.redb";
const UNFINISHED_FILE_NAME: &str = "sessionwarden.redb.new";
/// Pages kept in memory, in bytes.
const CACHE_BYTES: usize = 64 * 1_024 * 1_024;

const FORMATS: TableDefinition<'_, &str, u64> = TableDefinition::new("format");
const ITEMS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("items");
const PARTITIONS_BY_DUE: TableDefinition<'_, (i64, &str), &str> = TableDefinition::new("due");
const THINGS_AND_KEYS: TableDefinition<'_, (&str, &str), ()> = TableDefinition::new("depends");
const EXPIRIES: TableDefinition<'_, (i64, &str), ()> = TableDefinition::new("expires");
const CHECKPOINTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("checkpoints");

/// Keeps everything in one redb file; a clone is the same store.
///
/// One process can have it open. Every write is one commit, on disk by `fdatasync` before it is answered.
#[derive(Clone)]
pub struct Embedded {
    file: Arc<DatabaseFile>,
    /// redb has one writer: the others wait here, and not on a thread each.
    writer: Arc<Mutex<()>>,
}

struct DatabaseFile {
    path: PathBuf,
    db: Database,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("path", &self.file.path).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the store in `folder`, or begins one there; the folder is made if it is missing.
    ///
    /// Reads the whole file once and compares its checksums.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it open, [`StoreError::Format`] for a file of another
    /// version, [`StoreError::Damaged`] for a file that is no store or whose checksums do not agree,
    /// [`StoreError::Io`] when the system refuses.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let folder = folder.to_owned();
        let path = folder.join(FILE_NAME);
        let opened = spawn_blocking(move || DatabaseFile::open(&folder)).await;
        let file = opened.unwrap_or_else(|panic| Err(panicked(&path, panic)))?;
        Ok(Self { file: Arc::new(file), writer: Arc::default() })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = Arc::clone(&self.file);
        let done = spawn_blocking(move || work(&file.db).map_err(|failure| failure.at(&file.path))).await;
        done.unwrap_or_else(|panic| Err(panicked(&self.file.path, panic)))
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.writer).lock_owned().await;
        self.read(move |db| {
            let _turn = turn;
            work(db)
        })
        .await
    }
}

impl DatabaseFile {
    fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE_NAME);
        std::fs::create_dir_all(folder).map_err(|source| StoreError::Io { path: folder.to_owned(), source })?;
        let db = Self::open_or_begin(folder, &path).map_err(|failure| failure.at(&path))?;
        Ok(Self { path, db })
    }

    /// A new file gets its name when it is complete: a file that has the name and is empty was damaged.
    fn open_or_begin(folder: &Path, path: &Path) -> Result<Database, Failure> {
        if !path.try_exists()? {
            let unnamed = folder.join(UNFINISHED_FILE_NAME);
            let db = match Self::create(&unnamed) {
                // A kill cut off an earlier beginning.
                Err(Failure::Damaged(_)) => {
                    std::fs::remove_file(&unnamed)?;
                    Self::create(&unnamed)?
                }
                created => created?,
            };
            if path.try_exists()? {
                std::fs::remove_file(&unnamed)?;
            } else {
                std::fs::rename(&unnamed, path)?;
                #[cfg(unix)]
                std::fs::File::open(folder)?.sync_all()?;
                return Ok(db);
            }
        }
        let mut db = builder().open(path)?;
        if !db.check_integrity()? {
            return Err(Failure::Damaged(
                "its checksums did not agree; it was taken back to its last sound state, which the next start uses"
                    .into(),
            ));
        }
        match db.begin_read()?.open_table(FORMATS) {
            Ok(formats) => match formats.get("format")?.map(|format| format.value()) {
                Some(FORMAT) => Ok(db),
                Some(found) => Err(Failure::Format(found)),
                None => Err(Failure::Damaged("it does not tell its format".into())),
            },
            Err(TableError::Storage(error)) => Err(error.into()),
            Err(_) => Err(Failure::Damaged("it is a database of another program".into())),
        }
    }

    fn create(path: &Path) -> Result<Database, Failure> {
        let db = builder().create(path)?;
        let txn = begin(&db)?;
        txn.open_table(FORMATS)?.insert("format", FORMAT)?;
        drop(Tables::open(&txn)?);
        txn.open_table(CHECKPOINTS)?;
        txn.commit()?;
        Ok(db)
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn begin(db: &Database) -> Result<WriteTransaction, Failure> {
    let mut txn = db.begin_write()?;
    txn.set_durability(Durability::Immediate).map_err(|e| Failure::Damaged(e.to_string()))?;
    Ok(txn)
}

/// The items and their indexes, open for one write transaction.
struct Tables<'txn> {
    items: Table<'txn, &'static str, &'static [u8]>,
    partitions_by_due: Table<'txn, (i64, &'static str), &'static str>,
    things_and_keys: Table<'txn, (&'static str, &'static str), ()>,
    expiries: Table<'txn, (i64, &'static str), ()>,
}

impl<'txn> Tables<'txn> {
    fn open(txn: &'txn WriteTransaction) -> Result<Self, Failure> {
        Ok(Self {
            items: txn.open_table(ITEMS)?,
            partitions_by_due: txn.open_table(PARTITIONS_BY_DUE)?,
            things_and_keys: txn.open_table(THINGS_AND_KEYS)?,
            expiries: txn.open_table(EXPIRIES)?,
        })
    }

    fn load(&self, key: &str) -> Result<Option<Item>, Failure> {
        self.items.get(key)?.map(|row| read_row(key, row.value())).transpose()
    }

    fn save(&mut self, write: Write) -> Result<Saved, Failure> {
        let old = self.load(&write.item.key)?;
        let rev = old.as_ref().map_or(0, |old| old.rev);
        if rev != write.expected {
            return Ok(Saved::Conflict);
        }
        let item = Item { rev: rev + 1, ..write.item };
        self.unindex(old.as_ref(), Some(&item))?;
        self.index(old.as_ref(), &item)?;
        self.items.insert(&*item.key, item.to_row().as_slice())?;
        Ok(Saved::Saved { rev: item.rev })
    }

    /// Takes away the entries of `old` that `new` does not have.
    fn unindex(&mut self, old: Option<&Item>, new: Option<&Item>) -> Result<(), Failure> {
        let Some(old) = old else { return Ok(()) };
        if let Some(due) = &old.due
            && new.is_none_or(|new| new.due.as_ref().map(|due| due.at) != Some(due.at))
        {
            self.partitions_by_due.remove((due.at.0, &*old.key))?;
        }
        for thing in &old.depends {
            if new.is_none_or(|new| !new.depends.contains(thing)) {
                self.things_and_keys.remove((&**thing, &*old.key))?;
            }
        }
        if let Some(at) = old.expires
            && new.is_none_or(|new| new.expires != Some(at))
        {
            self.expiries.remove((at.0, &*old.key))?;
        }
        Ok(())
    }

    /// Adds the entries of `new` that `old` did not have.
    fn index(&mut self, old: Option<&Item>, new: &Item) -> Result<(), Failure> {
        if let Some(due) = &new.due
            && old.is_none_or(|old| old.due != new.due)
        {
            self.partitions_by_due.insert((due.at.0, &*new.key), &*due.partition)?;
        }
        for thing in &new.depends {
            if old.is_none_or(|old| !old.depends.contains(thing)) {
                self.things_and_keys.insert((&**thing, &*new.key), ())?;
            }
        }
        if let Some(at) = new.expires
            && old.is_none_or(|old| old.expires != Some(at))
        {
            self.expiries.insert((at.0, &*new.key), ())?;
        }
        Ok(())
    }

    fn collect(&mut self, now: Now, limit: usize) -> Result<Vec<Item>, Failure> {
        let expired = self.expiries.range(..(now.0, ""))?.take(limit);
        let keys = expired.map(|entry| Ok(entry?.0.value().1.to_owned())).collect::<Result<Vec<_>, Failure>>()?;
        let mut items = Vec::with_capacity(keys.len());
        for key in keys {
            let item = self.load(&key)?.ok_or_else(|| missing(&key))?;
            self.unindex(Some(&item), None)?;
            self.items.remove(key.as_str())?;
            items.push(item);
        }
        Ok(items)
    }
}

fn missing(key: &str) -> Failure {
    Failure::Damaged(format!("index names {key}, which is gone"))
}

fn read_row(key: &str, row: &[u8]) -> Result<Item, Failure> {
    Item::from_row(key, row).ok_or_else(|| Failure::Damaged(format!("the row of {key} cannot be read")))
}

impl Store for Embedded {
    async fn load(&self, key: &str) -> Result<Option<Item>, StoreError> {
        let key = key.to_owned();
        self.read(move |db| {
            let items = db.begin_read()?.open_table(ITEMS)?;
            items.get(key.as_str())?.map(|row| read_row(&key, row.value())).transpose()
        })
        .await
    }

    async fn save(&self, writes: Vec<Write>) -> Result<Vec<Saved>, StoreError> {
        for write in &writes {
            write.item.check()?;
        }
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        self.write(move |db| {
            let txn = begin(db)?;
            let mut tables = Tables::open(&txn)?;
            let saved = writes.into_iter().map(|write| tables.save(write)).collect::<Result<Vec<_>, _>>()?;
            drop(tables);
            if saved.iter().all(|saved| *saved == Saved::Conflict) {
                txn.abort()?;
            } else {
                txn.commit()?;
            }
            Ok(saved)
        })
        .await
    }

    async fn due(&self, until: Now, limit: usize) -> Result<Vec<DueItem>, StoreError> {
        self.read(move |db| {
            let entries = db.begin_read()?.open_table(PARTITIONS_BY_DUE)?;
            let end = until.0.checked_add(1).map_or(Unbounded, |after| Excluded((after, "")));
            let due = entries.range::<(i64, &str)>((Unbounded, end))?.take(limit);
            due.map(|entry| {
                let (at_and_key, partition) = entry?;
                let (at, key) = at_and_key.value();
                Ok(DueItem { key: Arc::from(key), due: Due { partition: Arc::from(partition.value()), at: Now(at) } })
            })
            .collect()
        })
        .await
    }

    async fn dependents(&self, thing: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        let (thing, after) = (thing.to_owned(), after.map(str::to_owned));
        self.read(move |db| {
            let entries = db.begin_read()?.open_table(THINGS_AND_KEYS)?;
            let from = after.as_deref().map_or(Included((&*thing, "")), |key| Excluded((&*thing, key)));
            let mut keys = Vec::new();
            for entry in entries.range::<(&str, &str)>((from, Unbounded))?.take(limit) {
                let entry = entry?.0;
                let (of, key) = entry.value();
                if of != thing {
                    break;
                }
                keys.push(Arc::from(key));
            }
            Ok(keys)
        })
        .await
    }

    async fn expired(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.read(move |db| {
            let txn = db.begin_read()?;
            let (expiries, items) = (txn.open_table(EXPIRIES)?, txn.open_table(ITEMS)?);
            let mut expired = Vec::new();
            for entry in expiries.range(..(now.0, ""))?.take(limit) {
                let entry = entry?.0;
                let key = entry.value().1;
                let row = items.get(key)?.ok_or_else(|| missing(key))?;
                expired.push(read_row(key, row.value())?);
            }
            Ok(expired)
        })
        .await
    }

    async fn collect(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.write(move |db| {
            let txn = begin(db)?;
            let items = Tables::open(&txn)?.collect(now, limit)?;
            if items.is_empty() {
                txn.abort()?;
            } else {
                txn.commit()?;
            }
            Ok(items)
        })
        .await
    }

    async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.read(move |db| {
            let items = db.begin_read()?.open_table(ITEMS)?;
            let from = after.as_deref().filter(|key| *key >= &*prefix).map_or(Included(&*prefix), Excluded);
            let mut keys = Vec::new();
            for entry in items.range::<&str>((from, Unbounded))?.take(limit) {
                let key = entry?.0;
                if !key.value().starts_with(&prefix) {
                    break;
                }
                keys.push(Arc::from(key.value()));
            }
            Ok(keys)
        })
        .await
    }

    async fn checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name.to_owned();
        self.read(move |db| {
            let checkpoints = db.begin_read()?.open_table(CHECKPOINTS)?;
            Ok(checkpoints.get(name.as_str())?.map(|value| value.value().to_vec()))
        })
        .await
    }

    async fn set_checkpoint(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), value.to_vec());
        self.write(move |db| {
            let txn = begin(db)?;
            txn.open_table(CHECKPOINTS)?.insert(name.as_str(), value.as_slice())?;
            txn.commit()?;
            Ok(())
        })
        .await
    }
}
