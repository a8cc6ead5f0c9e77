//! How far a shard has been read.

use std::{cmp::Ordering, fmt, sync::Arc};

use crate::ids::EventTime;

/// The number of a record in its shard: up to 129 decimal digits (`GetShardIterator`: `StartingSequenceNumber`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SequenceNumber(Arc<str>);

const DIGITS_MAX: usize = 129;

/// A text that is no sequence number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no sequence number: 1 to 129 digits without a leading zero")]
pub struct BadSequenceNumber(String);

impl SequenceNumber {
    /// Reads a sequence number.
    ///
    /// # Errors
    /// Anything but 1 to 129 digits without a leading zero.
    pub fn parse(text: &str) -> Result<Self, BadSequenceNumber> {
        let digits = (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits && (text == "0" || !text.starts_with('0')) {
            Ok(Self(text.into()))
        } else {
            Err(BadSequenceNumber(text.chars().take(140).collect()))
        }
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for SequenceNumber {
    /// By number, not by text: the longer one is the greater.
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A record's place in its shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The record.
    pub sequence: SequenceNumber,
    /// The record inside an aggregated record; 0 otherwise.
    pub sub_sequence: u64,
}

/// How far a shard has been read: everything up to here is durably handled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Checkpoint {
    /// Nothing; begin at the oldest record there is.
    TrimHorizon,
    /// Nothing; begin at what arrives after the shard is opened.
    Latest,
    /// Nothing; begin at the first record from this time on.
    AtTimestamp(EventTime),
    /// Up to and including this record.
    Sequence(Position),
    /// All of it; the children may be read.
    ShardEnd,
}

/// A row whose checkpoint cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// Neither a known word nor a sequence number.
    #[error("the checkpoint is neither a known word nor a sequence number: {0}")]
    Text(#[from] BadSequenceNumber),
    /// `AT_TIMESTAMP` with no time: the row was written by a program that keeps it elsewhere.
    #[error("the checkpoint is AT_TIMESTAMP, and the row names no time")]
    NoTime,
}

impl Checkpoint {
    /// Reads the three attributes of a checkpoint.
    ///
    /// # Errors
    /// An unknown word, or `AT_TIMESTAMP` without a time. Nothing is then known about the shard, and it must not be
    /// read from anywhere.
    pub fn read(text: &str, sub_sequence: u64, time: Option<EventTime>) -> Result<Self, BadCheckpoint> {
        Ok(match text {
            "TRIM_HORIZON" => Self::TrimHorizon,
            "LATEST" => Self::Latest,
            "AT_TIMESTAMP" => Self::AtTimestamp(time.ok_or(BadCheckpoint::NoTime)?),
            "SHARD_END" => Self::ShardEnd,
            number => Self::Sequence(Position { sequence: SequenceNumber::parse(number)?, sub_sequence }),
        })
    }

    /// The text of the checkpoint attribute.
    pub fn text(&self) -> &str {
        match self {
            Self::TrimHorizon => "TRIM_HORIZON",
            Self::Latest => "LATEST",
            Self::AtTimestamp(_) => "AT_TIMESTAMP",
            Self::Sequence(position) => position.sequence.as_str(),
            Self::ShardEnd => "SHARD_END",
        }
    }

    /// The number of the sub-sequence attribute.
    pub fn sub_sequence(&self) -> u64 {
        match self {
            Self::Sequence(position) => position.sub_sequence,
            Self::TrimHorizon | Self::Latest | Self::AtTimestamp(_) | Self::ShardEnd => 0,
        }
    }

    /// The time attribute; absent for all but [`Self::AtTimestamp`].
    pub fn time(&self) -> Option<EventTime> {
        match self {
            Self::AtTimestamp(time) => Some(*time),
            Self::TrimHorizon | Self::Latest | Self::Sequence(_) | Self::ShardEnd => None,
        }
    }
}
