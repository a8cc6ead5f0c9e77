//! Faults around the ports.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use sessionwarden::stream::{EventStream, LeaseTable, Reading, StreamError};
use sessionwarden_machine::lease::{Answer, Lease, ListedShard, ReadFrom, ShardId, Write};
use sessionwarden_store::StoreError;

/// What a stream does wrong.
#[derive(Debug, Default)]
pub(crate) struct StreamFaults {
    /// Errors of the next readings.
    pub(crate) reads: Mutex<VecDeque<StreamError>>,
    /// Errors of the next openings behind a record.
    pub(crate) opens_after: Mutex<VecDeque<StreamError>>,
    /// Where shards were opened.
    pub(crate) opened: Mutex<Vec<(ShardId, ReadFrom)>>,
    /// A shard that is not listed.
    pub(crate) unlisted: Mutex<Option<ShardId>>,
}

/// A stream with faults.
pub(crate) struct FaultyStream<E>(pub(crate) E, pub(crate) Arc<StreamFaults>);

impl<E: EventStream> EventStream for FaultyStream<E> {
    type Place = E::Place;

    async fn shards(&self) -> Result<Vec<ListedShard>, StreamError> {
        let mut shards = self.0.shards().await?;
        let unlisted = self.1.unlisted.lock().unwrap().clone();
        shards.retain(|shard| Some(&shard.shard) != unlisted.as_ref());
        Ok(shards)
    }

    async fn retention_ms(&self) -> Result<u64, StreamError> {
        self.0.retention_ms().await
    }

    async fn open(&self, shard: &ShardId, from: &ReadFrom) -> Result<E::Place, StreamError> {
        self.1.opened.lock().unwrap().push((shard.clone(), from.clone()));
        if matches!(from, ReadFrom::After(_)) {
            let error = self.1.opens_after.lock().unwrap().pop_front();
            error.map_or(Ok(()), Err)?;
        }
        self.0.open(shard, from).await
    }

    async fn read(&self, place: &mut E::Place) -> Result<Reading, StreamError> {
        let error = self.1.reads.lock().unwrap().pop_front();
        error.map_or(Ok(()), Err)?;
        self.0.read(place).await
    }

    fn waits(&self) -> bool {
        self.0.waits()
    }
}

/// What a lease table does wrong.
#[derive(Debug, Default)]
pub(crate) struct TableFaults {
    /// Nothing is answered any more.
    pub(crate) hangs: AtomicBool,
    /// So many calls are refused for their number.
    pub(crate) throttled: AtomicU32,
    /// The answers of so many writes are lost, although they are done.
    pub(crate) answers_lost: AtomicU32,
}

/// A lease table with faults.
pub(crate) struct FaultyTable<L>(pub(crate) L, pub(crate) Arc<TableFaults>);

impl<L: LeaseTable> FaultyTable<L> {
    async fn answer(&self) -> Result<(), StoreError> {
        if self.1.hangs.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        if take_one(&self.1.throttled) { Err(unavailable("throttled")) } else { Ok(()) }
    }
}

fn take_one(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable { why: why.to_owned() }
}

impl<L: LeaseTable> LeaseTable for FaultyTable<L> {
    async fn list(&self) -> Result<Vec<Lease>, StoreError> {
        self.answer().await?;
        self.0.list().await
    }

    async fn create(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.answer().await?;
        self.0.create(lease).await
    }

    async fn write(&self, write: &Write) -> Result<Answer, StoreError> {
        self.answer().await?;
        let answer = self.0.write(write).await;
        if take_one(&self.1.answers_lost) { Err(unavailable("no answer")) } else { answer }
    }

    async fn delete(&self, shard: &ShardId, fence: u64) -> Result<bool, StoreError> {
        self.answer().await?;
        self.0.delete(shard, fence).await
    }
}
