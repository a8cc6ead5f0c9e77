//! Where records go.

use sessionwarden_machine::lease::ShardId;

use super::Record;

/// What is larger is parked, in bytes. EventBridge's events are a quarter of that at the most.
pub(crate) const RECORD_BYTES_MAX: usize = 1 << 20;
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
