use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client, Config,
    config::{retry::RetryConfig, timeout::TimeoutConfig},
    types::ConsumedCapacity,
};
use futures_util::{StreamExt, stream};
use sessionwarden_machine::ids::Now;

use crate::{DueItem, Fence, Item, Saved, Store, StoreError, Write};

mod expiry;
mod failure;
mod layout;
mod leases;
mod read;
mod tables;
mod write;

pub use self::{expiry::ExpiredItems, leases::DynamoDbLeases};
/// How the stream is reached: region, credentials, endpoint.
pub use aws_sdk_dynamodbstreams::Config as StreamsConfig;

/// How DynamoDB is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamoDbSettings {
    /// The table of items.
    pub state_table: String,
    /// The table of entries: which items depend on a thing, and source positions.
    pub index_table: String,
    /// How often one request is sent at the most, at least 1. Waits between attempts grow and are random.
    pub attempts_max: u32,
    /// How long one attempt may take, in milliseconds.
    pub attempt_ms_max: u64,
    /// How long a request may take with all its attempts, in milliseconds.
    pub request_ms_max: u64,
    /// How many items of one save are written at the same time, at least 1.
    pub parallel_max: usize,
    /// Whether [`Store::collect`] scans the table and deletes what expired. Otherwise it finds nothing, and
    /// DynamoDB's Time to Live deletes without a charge, within days.
    pub collects: bool,
}

impl Default for DynamoDbSettings {
    /// `sessionwarden-state` and `sessionwarden-index`, 6 attempts of 2 s within 10 s, 16 writes at the same time,
    /// deletion by Time to Live.
    fn default() -> Self {
        Self {
            state_table: "sessionwarden-state".to_owned(),
            index_table: "sessionwarden-index".to_owned(),
            attempts_max: 6,
            attempt_ms_max: 2_000,
            request_ms_max: 10_000,
            parallel_max: 16,
            collects: false,
        }
    }
}

/// Capacity units that requests consumed, as the service reported them ("Read and write operations").
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    /// Read units, in tables and indexes.
    pub read: f64,
    /// Write units, in tables and indexes. The service does not report those of writes that lost.
    pub write: f64,
}

/// Keeps everything in two DynamoDB tables; a clone is the same store, and shares its count of units.
///
/// [`Store::load`], [`Store::dependents`] and [`Store::checkpoint`] read what was written at once. [`Store::due`] and
/// [`Store::keys`] read indexes that follow their items a little later, usually within a second ("Using Global
/// Secondary Indexes in DynamoDB"): they can miss a fresh item and show one that has moved on.
#[derive(Clone, Debug)]
pub struct DynamoDb {
    client: Client,
    settings: Arc<DynamoDbSettings>,
    fence: Option<Fence>,
    /// Write ids are this, random for each process, and a count.
    origin: u64,
    writes: Arc<AtomicU64>,
    units: Arc<Mutex<Units>>,
    lists: Arc<Mutex<Lists>>,
}

/// The lists of things of items that were read or written last, with the revision. A write requires the list it
/// expects, so that a wrong entry costs one more request and nothing else.
type Lists = BTreeMap<Arc<str>, (u64, Vec<Arc<str>>)>;

/// How many lists are remembered; then all are forgotten.
const LISTS_MAX: usize = 10_000;

impl DynamoDb {
    /// A store in these tables. Nothing is sent yet: see [`Self::ensure_tables`] and [`Self::check_tables`].
    ///
    /// `config` gives the region, the credentials and the endpoint; its retries and time limits are replaced by those
    /// of `settings`.
    pub fn new(config: &Config, settings: DynamoDbSettings) -> Self {
        Self {
            client: client_of(config, limits_of(&settings)),
            settings: Arc::new(settings),
            fence: None,
            origin: random(),
            writes: Arc::default(),
            units: Arc::default(),
            lists: Arc::default(),
        }
    }

    /// The same store for the owner of a lease: every write carries `fence` and is refused with
    /// [`StoreError::Fenced`] where a higher one of the same shard was the last to write the item (I3). `None` writes
    /// whatever the fence is, and leaves it as it is.
    #[must_use]
    pub fn with_fence(&self, fence: Option<Fence>) -> Self {
        Self { fence, ..self.clone() }
    }

    /// What this store and its clones consumed so far.
    pub fn units(&self) -> Units {
        *self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_read(&self, consumed: Option<&ConsumedCapacity>) {
        self.units.lock().unwrap_or_else(PoisonError::into_inner).read += units_of(consumed);
    }

    fn count_write<'a>(&self, consumed: impl IntoIterator<Item = &'a ConsumedCapacity>) {
        let sum: f64 = consumed.into_iter().map(|one| units_of(Some(one))).sum();
        self.units.lock().unwrap_or_else(PoisonError::into_inner).write += sum;
    }

    fn remember_list(&self, key: &Arc<str>, rev: u64, depends: Vec<Arc<str>>) {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.len() >= LISTS_MAX {
            lists.clear();
        }
        lists.insert(Arc::clone(key), (rev, depends));
    }

    fn take_list(&self, key: &str, rev: u64) -> Option<Vec<Arc<str>>> {
        let taken = self.lists.lock().unwrap_or_else(PoisonError::into_inner).remove(key)?;
        (taken.0 == rev).then_some(taken.1)
    }

    /// An id that no other write has: what tells a lost answer from a lost race.
    fn next_write(&self) -> String {
        format!("{:016x}-{:x}", self.origin, self.writes.fetch_add(1, Ordering::Relaxed))
    }
}

type Limits = (RetryConfig, TimeoutConfig);

fn limits_of(settings: &DynamoDbSettings) -> Limits {
    limits(settings.attempts_max, settings.attempt_ms_max, settings.request_ms_max)
}

fn limits(attempts_max: u32, attempt_ms_max: u64, request_ms_max: u64) -> Limits {
    let retries = RetryConfig::standard()
        .with_max_attempts(attempts_max.max(1))
        .with_initial_backoff(Duration::from_millis(50))
        .with_max_backoff(Duration::from_secs(2));
    let limits = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_millis(attempt_ms_max))
        .operation_timeout(Duration::from_millis(request_ms_max))
        .build();
    (retries, limits)
}

fn client_of(config: &Config, (retries, limits): Limits) -> Client {
    Client::from_conf(config.to_builder().retry_config(retries).timeout_config(limits).build())
}

fn units_of(consumed: Option<&ConsumedCapacity>) -> f64 {
    consumed.and_then(ConsumedCapacity::capacity_units).unwrap_or(0.0)
}

/// Random bits; each state of the standard hasher has its own keys.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl Store for DynamoDb {
    async fn load(&self, key: &str) -> Result<Option<Item>, StoreError> {
        let found = self.get_item(key).await?;
        if let Some(item) = &found {
            self.remember_list(&item.key, item.rev, item.depends.clone());
        }
        Ok(found)
    }

    /// Different items are written at the same time, writes of one item in order.
    async fn save(&self, writes: Vec<Write>) -> Result<Vec<Saved>, StoreError> {
        for write in &writes {
            write.item.check()?;
        }
        let count = writes.len();
        let mut writes_by_key: BTreeMap<Arc<str>, Vec<(usize, Write)>> = BTreeMap::new();
        for (place, write) in writes.into_iter().enumerate() {
            writes_by_key.entry(Arc::clone(&write.item.key)).or_default().push((place, write));
        }
        let of_one_key = async |writes: Vec<(usize, Write)>| {
            let mut saved = Vec::with_capacity(writes.len());
            for (place, write) in writes {
                saved.push((place, self.write(write).await?));
            }
            Ok::<_, StoreError>(saved)
        };
        // All that were begun are ended before an error is told: nothing is written behind the caller's back.
        let parallel = self.settings.parallel_max.max(1);
        let ended: Vec<_> =
            stream::iter(writes_by_key.into_values()).map(of_one_key).buffer_unordered(parallel).collect().await;
        let mut answers = vec![Saved::Conflict; count];
        for saved in ended {
            for (place, answer) in saved? {
                answers[place] = answer;
            }
        }
        Ok(answers)
    }

    /// Scans the index of due items, which has one small row for each of them. [`DynamoDb::due_in`] reads one partition.
    async fn due(&self, until: Now, limit: usize) -> Result<Vec<DueItem>, StoreError> {
        self.scan_due(until, limit).await
    }

    async fn dependents(&self, thing: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.query_dependents(thing, after, limit).await
    }

    /// Nothing where Time to Live deletes: [`ExpiredItems`] tells what it deleted.
    async fn expired(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        if !self.settings.collects || limit == 0 {
            return Ok(Vec::new());
        }
        let mut expired = self.scan_expired(now).await?;
        expired.sort_by(|a, b| (a.expires, &a.key).cmp(&(b.expires, &b.key)));
        expired.truncate(limit);
        Ok(expired)
    }

    async fn collect(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        let mut gone = Vec::new();
        for item in self.expired(now, limit).await? {
            if self.remove(&item).await? {
                gone.push(item);
            }
        }
        Ok(gone)
    }

    /// A prefix with a `#` is one query of the index of kinds; any other scans that index.
    async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.list_keys(prefix, after, limit).await
    }

    async fn checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.get_checkpoint(name).await
    }

    async fn set_checkpoint(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.put_checkpoint(name, value).await
    }
}
