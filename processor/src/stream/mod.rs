//! The consumer of the stream: shards are leased, read, and handed on in order.
//!
//! [`Worker::run`] plans with `sessionwarden_machine::lease` and does what the plans say. Each held shard has a task of
//! its own, which reads, hands on and reads again, so that what is under way is bounded by one answer of the stream.

#[cfg(feature = "aws")]
mod fan_out;
#[cfg(feature = "aws")]
mod kinesis;
mod reader;
mod settings;
mod sink;
#[cfg(feature = "aws")]
mod source;
mod status;
mod table;
mod worker;

use std::sync::Arc;

use sessionwarden_machine::{
    ids::EventTime,
    lease::{ListedShard, ReadFrom, SequenceNumber, ShardId},
};

pub(crate) use self::sink::RECORD_BYTES_MAX;
#[cfg(feature = "aws")]
pub use self::{
    fan_out::{FanOutError, FanOutSettings, FanOutStream, Subscription},
    kinesis::{KinesisSettings, KinesisStream, ShardIterator},
    source::{Kinesis, KinesisPlace, ReadBy},
};
pub use self::{
    settings::{BadWorkerSettings, Clock, SystemClock, WorkerSettings},
    sink::{RecordSink, SinkError, Unfit},
    status::{Movements, ShardStatus, WorkerStatus},
    table::LeaseTable,
    worker::{Stopped, StreamGone, Worker},
};

/// One record.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number in the shard.
    pub sequence: SequenceNumber,
    /// What chose the shard.
    pub partition_key: Arc<str>,
    /// When the stream received it, about.
    pub arrived: Option<EventTime>,
    /// Its content.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "record {} of {} bytes", self.sequence, self.data.len())
    }
}

/// What one reading gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The records, in the shard's order.
    pub records: Vec<Record>,
    /// Whether the shard has ended: nothing follows these records.
    pub ended: bool,
    /// How far the place is behind the newest record, in milliseconds.
    pub behind_ms: u64,
    /// At the end of the shard: what it became, where the stream tells.
    pub children: Vec<ListedShard>,
}

/// Why the stream gave nothing. The text is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Too many calls, or too much read; later it works.
    #[error("throttled: {0}")]
    Throttled(String),
    /// The place is not good any more; another one goes on where it stood.
    #[error("the place has expired: {0}")]
    Expired(String),
    /// The stream does not take the sequence number: what follows it is not there any more.
    #[error("the place is not in the shard any more: {0}")]
    Trimmed(String),
    /// There is no such stream, or no such shard.
    #[error("not found: {0}")]
    Gone(String),
    /// The call, or the key that the stream is encrypted with, is not allowed.
    #[error("denied: {0}")]
    Denied(String),
    /// No answer, or one that does not tell.
    #[error("no usable answer: {0}")]
    Unknown(String),
}

/// A stream of records in shards.
pub trait EventStream: Send + Sync + 'static {
    /// A place in a shard. What it holds open ends when it is dropped.
    type Place: Send;

    /// All shards that still have records, closed ones included: the complete list, or an error.
    fn shards(&self) -> impl Future<Output = Result<Vec<ListedShard>, StreamError>> + Send;

    /// How long records are kept, in milliseconds.
    fn retention_ms(&self) -> impl Future<Output = Result<u64, StreamError>> + Send;

    /// A place in a shard.
    fn open(&self, shard: &ShardId, from: &ReadFrom) -> impl Future<Output = Result<Self::Place, StreamError>> + Send;

    /// What stands at the place, which moves on behind it. An error leaves the place where it was. A reading that is
    /// dropped may have moved it.
    fn read(&self, place: &mut Self::Place) -> impl Future<Output = Result<Reading, StreamError>> + Send;

    /// Whether a reading waits for records by itself, so that the next one may follow at once. Where it does not, the
    /// reader pauses in between.
    fn waits(&self) -> bool {
        false
    }
}
