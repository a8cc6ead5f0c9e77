//! Where Sessionwarden keeps its state: one item for each session, account and incident.
//!
//! [`Store`] is the port. [`Memory`], [`Embedded`] and `DynamoDb` (with the feature `aws`) answer it, [`contract`] is the suite that every backend
//! passes, and [`Faulty`] injects failures into any of them.

use std::{path::PathBuf, sync::Arc};

use sessionwarden_machine::{
    ids::Now,
    mutation::{Mutation, made},
};

mod backend;
#[doc(hidden)]
pub mod contract;
#[cfg(feature = "aws")]
mod dynamodb;
mod embedded;
mod faulty;
pub mod item;
mod memory;

pub use backend::Backend;
#[cfg(feature = "aws")]
pub use dynamodb::{DynamoDb, DynamoDbLeases, DynamoDbSettings, ExpiredItems, StreamsConfig, Units};
pub use embedded::Embedded;
pub use faulty::{Fault, Faulty, Op};
pub use item::{Due, DueItem, Item, ItemError, SCHEMA, Saved, Write};
pub use memory::Memory;

/// Keeps items, their indexes and named checkpoints.
///
/// What [`Self::load`] and [`Self::dependents`] read follows each write at once. [`Self::due`] and [`Self::keys`] may
/// follow a little later: who reads them loads the item before anything is done to it. What a method returned as written is durable, in so far as the backend
/// outlives the process at all.
pub trait Store: Send + Sync {
    /// The item under `key`, if there is one; an expired item too, until it is collected.
    fn load(&self, key: &str) -> impl Future<Output = Result<Option<Item>, StoreError>> + Send;

    /// Writes each item whose stored revision is the expected one, in order, and answers for each in the same order.
    ///
    /// Each write stands for itself: one may be saved and the next lose. A second write of a key sees the first.
    ///
    /// # Errors
    /// [`StoreError::Item`] when one of them can never be stored: then none was. After any other error each write
    /// may or may not have been applied.
    fn save(&self, writes: Vec<Write>) -> impl Future<Output = Result<Vec<Saved>, StoreError>> + Send;

    /// Items due at `until` or before, at most `limit`, ordered by time, then key.
    fn due(&self, until: Now, limit: usize) -> impl Future<Output = Result<Vec<DueItem>, StoreError>> + Send;

    /// Keys of items that depend on `thing`, in order, after the key `after`, at most `limit`.
    fn dependents(
        &self,
        thing: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Arc<str>>, StoreError>> + Send;

    /// At most `limit` items that expired before `now`, the earliest first: what [`Self::collect`] deletes.
    fn expired(&self, now: Now, limit: usize) -> impl Future<Output = Result<Vec<Item>, StoreError>> + Send;

    /// Deletes at most `limit` items that expired before `now`, the earliest first, and returns them.
    fn collect(&self, now: Now, limit: usize) -> impl Future<Output = Result<Vec<Item>, StoreError>> + Send;

    /// Keys that begin with `prefix`, in order, after the key `after`, at most `limit`.
    fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Arc<str>>, StoreError>> + Send;

    /// The value last set under `name`: how far a source was read.
    fn checkpoint(&self, name: &str) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send;

    /// Sets the value under `name`; durable on return.
    fn set_checkpoint(&self, name: &str, value: &[u8]) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What the owner of a shard's lease writes under. Items are written from several shards: who changes the log bucket or the
/// organisation disturbs sessions of other accounts. So only fences of one shard are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The shard.
    pub shard: Arc<str>,
    /// Grows with each change of its owner.
    pub number: u64,
}

impl Fence {
    /// Whether the same shard had a later owner when `other` was written.
    pub fn is_behind(&self, other: &Self) -> bool {
        (self.shard == other.shard || made(Mutation::FenceOfAnyShard)) && self.number < other.number
    }
}

/// Why a store did not answer. A lost race is not among it: see [`Saved::Conflict`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An item that no backend can store.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// Another process has the store open.
    #[error("{}: the store is in use by another process", path.display())]
    Locked {
        /// The store's file.
        path: PathBuf,
    },
    /// The file has a layout that this binary does not read.
    #[error("{}: the store has format {found}, this version reads format {known}", path.display())]
    Format {
        /// The store's file.
        path: PathBuf,
        /// The format of the file.
        found: u64,
        /// The format this binary reads.
        known: u64,
    },
    /// The file is damaged, or is no store at all.
    #[error("{}: the store is damaged: {what}", path.display())]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The store's file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The service refuses, and will again: somebody has to put right what it names.
    #[error("table {table}: {why}")]
    Refused {
        /// The table.
        table: String,
        /// What is wrong.
        why: String,
    },
    /// The worker's lease is no longer its own: the shard's next owner has written the item (I3). Nothing was written.
    #[error("item {key}: the fence {fence} of this worker is behind {found}: another worker has its shard")]
    Fenced {
        /// The item.
        key: Arc<str>,
        /// The fence of the refused write.
        fence: u64,
        /// The fence in the item.
        found: u64,
    },
    /// The backend did not answer; to try again can help.
    #[error("the store did not answer: {why}")]
    Unavailable {
        /// Why.
        why: String,
    },
}
