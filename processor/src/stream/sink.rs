//! Where records go.

use std::sync::Arc;

use sessionwarden_machine::{
    decode::{Decoder, Screen},
    lease::ShardId,
};
use sessionwarden_store::Store;
use tokio::sync::Mutex;

use super::Record;
use crate::{
    handle::Handler,
    input::{Parked, ParkedFile, RecordAt},
    ports::Hands,
    run::{Candidate, Ingest, Look, Position, now},
};

/// What is larger is parked, in bytes. EventBridge's events are a quarter of that at the most.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// How an aggregated record of the Kinesis Producer Library begins.
const AGGREGATED: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// Why a record is parked unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Several records in one, as the Kinesis Producer Library packs them. EventBridge does not.
    #[error("an aggregated record of the Kinesis Producer Library")]
    Aggregated,
    /// More than 1 MiB.
    #[error("longer than {RECORD_BYTES_MAX} bytes")]
    TooLong,
}

impl Unfit {
    pub(super) fn of(record: &Record) -> Option<Self> {
        if record.data.starts_with(&AGGREGATED) {
            Some(Self::Aggregated)
        } else {
            (record.data.len() > RECORD_BYTES_MAX).then_some(Self::TooLong)
        }
    }
}

/// Records could not be made durable; the same ones are given again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// Takes records. What a call gave may be given again, by this worker or another one.
pub trait RecordSink: Send + Sync + 'static {
    /// Takes records of one shard, in its order; all that follows from them is durable on return. `fence` is that of
    /// the shard's lease.
    fn take(
        &self,
        shard: &ShardId,
        fence: u64,
        records: &[Record],
    ) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Keeps a record that is not to be read; it is durable on return.
    fn park(&self, shard: &ShardId, record: &Record, why: Unfit) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// One handler for all shards: their batches take turns, so that a slow one delays the others. For parallel subjects
/// the handler has to be divided, for example by account.
///
/// All shards of a worker share the handler's store, so that `fence` makes it carry the fence of the shard whose turn
/// it is.
pub struct IngestSink<S, H, F> {
    name: String,
    fence: F,
    decoder: Decoder,
    inner: Mutex<Inner<S, H>>,
}

struct Inner<S, H> {
    handler: Handler<S, H>,
    ingest: Ingest,
    parked: ParkedFile,
    position: Position,
}

impl<S: Store, H: Hands, F: Fn(&mut S, u64)> IngestSink<S, H, F> {
    /// `name` is the stream's; records are parked under it, their shard and the batch's first sequence number. What is
    /// unfit goes to `parked`. `fence` sets the fence of the store's writes.
    pub fn new(
        name: impl Into<String>,
        handler: Handler<S, H>,
        ingest: Ingest,
        parked: ParkedFile,
        fence: F,
    ) -> Arc<Self> {
        let inner = Mutex::new(Inner { handler, ingest, parked, position: Position::default() });
        Arc::new(Self { name: name.into(), fence, decoder: Decoder::default(), inner })
    }

    /// What was taken in so far.
    pub async fn position(&self) -> Position {
        self.inner.lock().await.position
    }

    /// Runs something on the handler between two batches: rechecks, sweeps, reconciliation.
    pub async fn with_handler<T>(&self, work: impl AsyncFnOnce(&mut Handler<S, H>) -> T) -> T {
        work(&mut self.inner.lock().await.handler).await
    }

    fn place(&self, shard: &ShardId, record: &Record) -> String {
        format!("{}/{shard}/{}", self.name, record.sequence)
    }
}

impl<S, H, F> RecordSink for IngestSink<S, H, F>
where
    S: Store + 'static,
    H: Hands + 'static,
    F: Fn(&mut S, u64) + Send + Sync + 'static,
{
    async fn take(&self, shard: &ShardId, fence: u64, records: &[Record]) -> Result<(), SinkError> {
        let Some(first) = records.first() else { return Ok(()) };
        let (mut candidates, mut ignored) = (Vec::new(), 0);
        for (number, record) in (1_u64..).zip(records) {
            let irrelevant = self.decoder.screen(&record.data) == Screen::Irrelevant
                && simdutf8::basic::from_utf8(&record.data).is_ok();
            if irrelevant {
                ignored += 1;
            } else {
                let at = RecordAt { record: number, byte: 0 };
                candidates.push(Candidate { bytes: record.data.clone(), at, look: Look::Whole, known: false });
            }
        }
        let mut inner = self.inner.lock().await;
        let Inner { handler, ingest, position, .. } = &mut *inner;
        (self.fence)(&mut handler.store, fence);
        let mut taken = *position;
        let file = self.place(shard, first);
        let done = ingest.take(handler, &file, &candidates, &mut taken, now()).await;
        done.map_err(|error| SinkError(error.to_string()))?;
        taken.ignored += ignored;
        taken.values += records.len() as u64;
        *position = taken;
        Ok(())
    }

    async fn park(&self, shard: &ShardId, record: &Record, why: Unfit) -> Result<(), SinkError> {
        let mut inner = self.inner.lock().await;
        let parked = Parked {
            file: self.place(shard, record),
            record: 1,
            byte: 0,
            reason: why.to_string(),
            content: Some(record.data.iter().take(RECORD_BYTES_MAX).copied().collect()),
        };
        let done = inner.parked.write(&parked).and_then(|()| inner.parked.sync());
        done.map_err(|error| SinkError(error.to_string()))?;
        tracing::warn!(%parked, "parked");
        inner.position.poison += 1;
        inner.position.values += 1;
        Ok(())
    }
}
