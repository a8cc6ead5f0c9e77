use std::sync::Arc;

use sessionwarden_machine::ids::Now;

#[cfg(feature = "aws")]
use crate::DynamoDb;
use crate::{DueItem, Embedded, Item, Memory, Saved, Store, StoreError, Write};

/// The backend that the configuration names. There is no fall-back from one to another.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Keeps everything in memory and forgets it at the end.
    Memory(Memory),
    /// Keeps everything in a folder.
    Embedded(Embedded),
    /// Keeps everything in two DynamoDB tables.
    #[cfg(feature = "aws")]
    DynamoDb(DynamoDb),
}

impl Store for Backend {
    async fn load(&self, key: &str) -> Result<Option<Item>, StoreError> {
        match self {
            Self::Memory(store) => store.load(key).await,
            Self::Embedded(store) => store.load(key).await,
            #[cfg(feature = "aws")]
            Self::DynamoDb(store) => store.load(key).await,
        }
    }

    async fn save(&self, writes: Vec<Write>) -> Result<Vec<Saved>, StoreError> {
        match self {
            Self::Memory(store) => store.save(writes).await,
            Self::Embedded(store) => store.save(writes).await,
            #[cfg(feature = "aws")]
            Self::DynamoDb(store) => store.save(writes).await,
        }
    }

    async fn due(&self, until: Now, limit: usize) -> Result<Vec<DueItem>, StoreError> {
        match self {
            Self::Memory(store) => store.due(until, limit).await,
            Self::Embedded(store) => store.due(until, limit).await,
            #[cfg(feature = "aws")]
            Self::DynamoDb(store) => store.due(until, limit).await,
        }
    }

    async fn dependents(&self, thing: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        match self {
            Self::Memory(store) => store.dependents(thing, after, limit).await,
            Self::Embedded(store) => store.dependents(thing, after, limit).await,
            #[cfg(feature = "aws")]
            Self::DynamoDb(store) => store.dependents(thing, after, limit).await,
        }
    }

    async fn expired(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        match self {
            Self::Memory(store) => store.expired(now, limit).await,
            Self::Embedded(store) => store.expired(now, limit).await,
            #[cfg(feature = "aws")]
            Self::DynamoDb(store) => store.expired(now, limit).await,
        }
    }

    async fn collect(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        match self {
            Self::Memory(store) => store.collect(now, limit).await,
            Self::Embedded(store) => store.collect(now, limit).await,
            #[cfg(feature = "aws")]
            Self::DynamoDb(store) => store.collect(now, limit).await,
        }
    }

    async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        match self {
            Self::Memory(store) => store.keys(prefix, after, limit).await,
            Self::Embedded(store) => store.keys(prefix, after, limit).await,
            #[cfg(feature = "aws")]
            Self::DynamoDb(store) => store.keys(prefix, after, limit).await,
        }
    }

    async fn checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Memory(store) => store.checkpoint(name).await,
            Self::Embedded(store) => store.checkpoint(name).await,
            #[cfg(feature = "aws")]
            Self::DynamoDb(store) => store.checkpoint(name).await,
        }
    }

    async fn set_checkpoint(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Memory(store) => store.set_checkpoint(name, value).await,
            Self::Embedded(store) => store.set_checkpoint(name, value).await,
            #[cfg(feature = "aws")]
            Self::DynamoDb(store) => store.set_checkpoint(name, value).await,
        }
    }
}
