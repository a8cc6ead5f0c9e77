//! Who reads which shard: leases, planned without I/O.
//!
//! Every worker reads all lease rows, plans from what it saw and by its own monotonic clock, and applies each plan as
//! one conditional write. Nothing compares the wall clocks of two machines. The rows carry the attribute names of the
//! Kinesis Client Library (see [`attribute`]), and two more: the fence and the request for a hand-off.

mod apply;
mod checkpoint;
mod checkpointer;
mod coverage;
mod observed;
mod plan;
mod progress;
mod resume;
mod shards;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

pub use self::{
    apply::{Answer, Applied, HandOffChange, Version, Write},
    checkpoint::{BadCheckpoint, BadSequenceNumber, Checkpoint, Position, SequenceNumber},
    checkpointer::{Checkpointer, Refused, Ticket},
    coverage::{Hole, HoleKind, coverage},
    observed::{Lost, Observed},
    plan::{Plan, Reader, Situation, TakeReason, plan_checkpoint, plan_leases},
    progress::ReaderProgress,
    resume::{Gap, Interruption, ReadFrom, Resume, TrimWatch, resume, resume_from},
    shards::{Finish, ListedShard, Readable, ShardStep, Start, finish, readable, sync_shards},
};

/// The names of a lease row's attributes. All but the last three are the Kinesis Client Library's own, so that its
/// tools read the table ("Use Kinesis Client Library": lease table).
pub mod attribute {
    /// The partition key: the shard's id. Text.
    pub const LEASE_KEY: &str = "leaseKey";
    /// The worker that reads the shard; absent where nobody does. Text.
    pub const LEASE_OWNER: &str = "leaseOwner";
    /// Grows by one with each write of the owner. Number.
    pub const LEASE_COUNTER: &str = "leaseCounter";
    /// How often the owner changed since the last checkpoint. Number.
    pub const OWNER_SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
    /// A sequence number or one of `TRIM_HORIZON`, `LATEST`, `AT_TIMESTAMP`, `SHARD_END`. Text.
    pub const CHECKPOINT: &str = "checkpoint";
    /// The record inside an aggregated record; 0 otherwise. Number.
    pub const CHECKPOINT_SUB_SEQUENCE: &str = "checkpointSubSequenceNumber";
    /// The shards this one was made from; absent where there are none. Set of text.
    pub const PARENTS: &str = "parentShardId";
    /// The shards it became; absent until it has ended. Set of text.
    pub const CHILDREN: &str = "childShardIds";
    /// The first hash key, decimal. Text.
    pub const HASH_START: &str = "startingHashKey";
    /// The last hash key, decimal. Text.
    pub const HASH_END: &str = "endingHashKey";
    /// The point in time of an `AT_TIMESTAMP` checkpoint, milliseconds since 1970. Number. Not one of the library's.
    pub const CHECKPOINT_TIMESTAMP: &str = "checkpointTimestamp";
    /// The fence. Number. Not one of the library's.
    pub const FENCE: &str = "fence";
    /// The worker that asked for the shard; absent where none did. Text. Not one of the library's.
    pub const HAND_OFF_TO: &str = "handOffTo";
}

/// A shard's id, for example `shardId-000000000007`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub Arc<str>);

/// A worker's id. It names one run of one process: two processes, or one before and after a restart, never share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub Arc<str>);

impl From<&str> for ShardId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<&str> for WorkerId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A reading of the observer's own monotonic clock, in milliseconds since any fixed point. Readings of two workers are
/// never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// Milliseconds since `earlier`; 0 where that is later.
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The hash keys of a shard, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashRange {
    /// The first key.
    pub start: u128,
    /// The last key, not below `start`.
    pub end: u128,
}

/// One row of the lease table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub shard: ShardId,
    /// Who reads it; `None` where nobody does.
    pub owner: Option<WorkerId>,
    /// Grows by one with each write of an owner, never otherwise.
    pub counter: u64,
    /// How often the owner changed since the last checkpoint.
    pub owner_switches: u64,
    /// How far the shard's records are durably handled.
    pub checkpoint: Checkpoint,
    /// The shards that have to end before this one is read: none, one (split) or two (merge).
    pub parents: BTreeSet<ShardId>,
    /// The shards it became; empty until it has ended.
    pub children: BTreeSet<ShardId>,
    /// Its hash keys.
    pub range: HashRange,
    /// Grows with each change of the owner and is above the parents' fences once the shard is read. Each state write
    /// carries it; a lower one is refused (I3).
    pub fence: u64,
    /// The worker that asked for the shard; the owner drains and then hands it over.
    pub hand_off_to: Option<WorkerId>,
}

impl Lease {
    /// The part of a row that a write is conditional on.
    pub fn version(&self) -> Version {
        Version { owner: self.owner.clone(), counter: self.counter, fence: self.fence }
    }

    /// Whether all of the shard's records are handled.
    pub fn ended(&self) -> bool {
        self.checkpoint == Checkpoint::ShardEnd
    }

    /// Whether a record of the shard, or its end, has been checkpointed. Nothing is before its parents have ended.
    pub fn begun(&self) -> bool {
        matches!(self.checkpoint, Checkpoint::Sequence(_) | Checkpoint::ShardEnd)
    }
}

/// Lease rows by shard.
pub type Leases = BTreeMap<ShardId, Lease>;

/// The times and bounds that all workers of a stream share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// How long a lease may stay unchanged before others take it, in milliseconds: 1,000 to 3,600,000.
    pub fail_over_ms: u64,
    /// How long an owner may take to hand a shard over before the taker forces it, in milliseconds: up to 3,600,000.
    pub hand_off_ms_max: u64,
    /// The most shards one worker takes, at least 1.
    pub leases_max: usize,
}

impl Default for LeaseSettings {
    /// 10 s, 30 s, and no bound on the shards of one worker.
    fn default() -> Self {
        Self { fail_over_ms: 10_000, hand_off_ms_max: 30_000, leases_max: usize::MAX }
    }
}

/// A setting out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLeaseSettings {
    /// The fail-over time.
    #[error("the fail-over time is {0} ms; it has to be from 1,000 to 3,600,000 ms")]
    FailOver(u64),
    /// The limit of a hand-off.
    #[error("the limit of a hand-off is {0} ms; it has to be at most 3,600,000 ms")]
    HandOff(u64),
    /// No worker may take a shard.
    #[error("a worker may take no shard at all; the bound has to be at least 1")]
    Leases,
}

impl LeaseSettings {
    /// Checks the bounds.
    ///
    /// # Errors
    /// The first setting that is out of them.
    pub fn check(&self) -> Result<(), BadLeaseSettings> {
        if !(1_000..=3_600_000).contains(&self.fail_over_ms) {
            return Err(BadLeaseSettings::FailOver(self.fail_over_ms));
        }
        if self.hand_off_ms_max > 3_600_000 {
            return Err(BadLeaseSettings::HandOff(self.hand_off_ms_max));
        }
        if self.leases_max == 0 { Err(BadLeaseSettings::Leases) } else { Ok(()) }
    }

    /// How long after its last renewal a lease is renewed again, in milliseconds: a third of the fail-over time.
    pub fn renew_after_ms(&self) -> u64 {
        self.fail_over_ms / 3
    }

    /// How long after its last renewal an owner takes its own lease for lost, in milliseconds: four fifths of the
    /// fail-over time, so that it stops first even where its clock runs slower than another's by less than a fifth.
    pub fn own_ms(&self) -> u64 {
        self.fail_over_ms - self.fail_over_ms / 5
    }
}
