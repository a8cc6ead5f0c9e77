//! Where to read on.

use super::{Checkpoint, SequenceNumber, ShardId};
use crate::ids::EventTime;

/// Where an iterator starts (`GetShardIterator`: `ShardIteratorType`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// `TRIM_HORIZON`.
    TrimHorizon,
    /// `LATEST`.
    Latest,
    /// `AT_TIMESTAMP`.
    AtTimestamp(EventTime),
    /// `AT_SEQUENCE_NUMBER`.
    At(SequenceNumber),
    /// `AFTER_SEQUENCE_NUMBER`.
    After(SequenceNumber),
}

/// Why an iterator is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The iterator was not used for five minutes (`ExpiredIteratorException`).
    Expired,
    /// The stream no longer has the records after the place that was asked for: it refused the sequence number, or
    /// [`TrimWatch`] saw it.
    Trimmed,
}

/// Records that may be lost: what followed `after` until the oldest record that is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The shard.
    pub shard: ShardId,
    /// The last thing known to be read.
    pub after: Checkpoint,
}

/// Where to read on, and what was missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Where.
    pub from: ReadFrom,
    /// What may be lost, for an incident.
    pub gap: Option<Gap>,
}

/// Where a worker that has just taken a shard begins; `None` where the shard has ended.
///
/// A checkpoint inside an aggregated record reads that record again, since only part of it is handled.
pub fn resume_from(checkpoint: &Checkpoint) -> Option<ReadFrom> {
    Some(match checkpoint {
        Checkpoint::TrimHorizon => ReadFrom::TrimHorizon,
        Checkpoint::Latest => ReadFrom::Latest,
        Checkpoint::AtTimestamp(time) => ReadFrom::AtTimestamp(*time),
        Checkpoint::Sequence(position) if position.sub_sequence > 0 => ReadFrom::At(position.sequence.clone()),
        Checkpoint::Sequence(position) => ReadFrom::After(position.sequence.clone()),
        Checkpoint::ShardEnd => return None,
    })
}

/// Where a reader reads on after an interruption; `None` where the shard has ended.
///
/// `last` is the last record handed out by this reader, if any. `opened` is when it opened the shard: a reader that
/// began at `LATEST` and saw no record yet goes on from there and not from the latest record of now.
pub fn resume(
    shard: &ShardId,
    why: Interruption,
    checkpoint: &Checkpoint,
    last: Option<&SequenceNumber>,
    opened: EventTime,
) -> Option<Resume> {
    let from = resume_from(checkpoint)?;
    Some(match why {
        Interruption::Trimmed => {
            let gap = Gap { shard: shard.clone(), after: checkpoint.clone() };
            Resume { from: ReadFrom::TrimHorizon, gap: Some(gap) }
        }
        Interruption::Expired => {
            let place = match (last, from) {
                (Some(last), _) => ReadFrom::After(last.clone()),
                (None, ReadFrom::Latest) => ReadFrom::AtTimestamp(opened),
                (None, from) => from,
            };
            Resume { from: place, gap: None }
        }
    })
}

/// Notices an iterator that stands before the oldest record: it gives empty answers for ever and never comes nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrimWatch {
    watching: bool,
    standing: u32,
    behind_ms: u64,
}

impl TrimWatch {
    /// How many answers in a row have to show it.
    pub const EMPTY_ANSWERS_MAX: u32 = 5;

    /// For an iterator that began at `from`. Only one that began at a record can stand before the oldest.
    pub fn new(from: &ReadFrom) -> Self {
        Self { watching: matches!(from, ReadFrom::At(_) | ReadFrom::After(_)), standing: 0, behind_ms: 0 }
    }

    /// Whether, after this answer, the place is taken for trimmed. `behind_ms` is the answer's `MillisBehindLatest`,
    /// `retention_ms` the stream's retention.
    pub fn answered(&mut self, records: usize, behind_ms: u64, retention_ms: u64) -> bool {
        let standing = records == 0 && behind_ms >= retention_ms && behind_ms >= self.behind_ms;
        self.standing = if self.watching && standing { self.standing.saturating_add(1) } else { 0 };
        self.watching &= records == 0;
        self.behind_ms = behind_ms;
        self.standing >= Self::EMPTY_ANSWERS_MAX
    }
}
