//! What a worker shows of itself.

use std::collections::BTreeMap;

use sessionwarden_machine::lease::{Gap, Hole, ShardId};

/// How a shard is doing that this worker reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardStatus {
    /// The fence of its lease.
    pub fence: u64,
    /// How far it is behind the newest record, in milliseconds (the iterator age); `None` before the first answer.
    pub behind_ms: Option<u64>,
    /// Records that are handled durably since the shard was taken, parked ones included.
    pub records: u64,
    /// Those of them that were parked unread.
    pub parked: u64,
    /// Records under way.
    pub outstanding: usize,
    /// What failed last; `None` once the same works again.
    pub error: Option<String>,
}

/// How often shards changed hands, from this worker's view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Movements {
    /// Shards taken.
    pub taken: u64,
    /// Shards asked of others.
    pub asked: u64,
    /// Shards handed over or let go after draining.
    pub released: u64,
    /// Shards lost.
    pub lost: u64,
    /// Shards read to their end.
    pub ended: u64,
}

/// How a worker is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerStatus {
    /// The shards it reads.
    pub shards: BTreeMap<ShardId, ShardStatus>,
    /// It reads the first shard that has not ended: of all workers one at a time, about, so that it is the one that does
    /// what one does for all.
    pub first: bool,
    /// How often shards changed hands.
    pub movements: Movements,
    /// How often the hash keys were checked to be covered.
    pub coverage_checks: u64,
    /// What the last check found that is not covered exactly once, although the shards had been listed anew.
    pub holes: Vec<Hole>,
    /// Records that may be lost, the first hundred.
    pub gaps: Vec<Gap>,
    /// Why the lease table cannot be used; `None` while it can.
    pub leases_error: Option<String>,
    /// Why the shards cannot be listed; `None` while they can.
    pub stream_error: Option<String>,
}
