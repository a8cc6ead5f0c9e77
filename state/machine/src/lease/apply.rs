//! Conditional writes of lease rows, and what their answers mean.

use std::collections::BTreeSet;

use super::{Checkpoint, Lease, ShardId, WorkerId};

/// What a write is conditional on, and what it leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The owner.
    pub owner: Option<WorkerId>,
    /// The counter.
    pub counter: u64,
    /// The fence.
    pub fence: u64,
}

/// What a write does to the request for a hand-off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandOffChange {
    /// Leaves it as it is stored, even if it is newer than what the writer saw.
    Keep,
    /// Removes it.
    Clear,
    /// Sets it.
    Request(WorkerId),
}

/// One conditional write of a row that exists. It changes the named attributes only, never the row as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The row.
    pub shard: ShardId,
    /// What the stored row has to be like. A request for a hand-off does not compare the counter, and wants a row that
    /// names no other taker.
    pub expected: Version,
    /// Owner, counter and fence afterwards.
    pub becomes: Version,
    /// Owner switches afterwards.
    pub owner_switches: u64,
    /// The checkpoint afterwards; `None` leaves it.
    pub checkpoint: Option<Checkpoint>,
    /// The children afterwards; `None` leaves them.
    pub children: Option<BTreeSet<ShardId>>,
    /// The request for a hand-off afterwards.
    pub hand_off: HandOffChange,
}

/// What the store said to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The condition held; the row is written.
    Done,
    /// The condition did not hold; the row as it is stored (`ALL_OLD`), or `None` where there is no row.
    Refused(Option<Lease>),
    /// No answer, or one that does not tell: a time-out, a broken connection, an error of the service.
    Unanswered,
}

/// What is known after a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is written; the counter now.
    Done(u64),
    /// An earlier attempt, whose answer was lost, is written; this one is not. Of a take it says only that the row
    /// names the worker: [`super::Plan::Take`] follows once it has been read again.
    DoneEarlier {
        /// The counter now.
        counter: u64,
        /// Whether the earlier attempt wrote all that this one wanted to; if not, the rest has to be planned again.
        complete: bool,
    },
    /// Somebody else changed or deleted the row.
    Lost,
    /// Nothing is known: it may be written now, later or never. Nobody may act as if it were.
    Unknown,
}

impl Write {
    /// What the answer means to the worker that wrote.
    pub fn judge(&self, answer: &Answer) -> Applied {
        match answer {
            Answer::Done => Applied::Done(self.becomes.counter),
            Answer::Unanswered => Applied::Unknown,
            Answer::Refused(None) => Applied::Lost,
            Answer::Refused(Some(_)) if matches!(self.hand_off, HandOffChange::Request(_)) => Applied::Lost,
            Answer::Refused(Some(row)) if row.version() != self.becomes => Applied::Lost,
            Answer::Refused(Some(row)) => {
                Applied::DoneEarlier { counter: row.counter, complete: self.apply_to(row) == *row }
            }
        }
    }

    /// Whether the condition holds for a stored row.
    pub fn holds_for(&self, row: &Lease) -> bool {
        match &self.hand_off {
            HandOffChange::Request(to) => {
                row.owner == self.expected.owner
                    && row.fence == self.expected.fence
                    && row.hand_off_to.as_ref().is_none_or(|other| other == to)
            }
            HandOffChange::Keep | HandOffChange::Clear => row.version() == self.expected,
        }
    }

    /// The row after the write, whatever its condition says.
    #[must_use]
    pub fn apply_to(&self, row: &Lease) -> Lease {
        let mut after = row.clone();
        match &self.hand_off {
            HandOffChange::Request(to) => {
                after.hand_off_to = Some(to.clone());
                return after;
            }
            HandOffChange::Clear => after.hand_off_to = None,
            HandOffChange::Keep => {}
        }
        let Version { owner, counter, fence } = self.becomes.clone();
        (after.owner, after.counter, after.fence) = (owner, counter, fence);
        after.owner_switches = self.owner_switches;
        if let Some(checkpoint) = &self.checkpoint {
            after.checkpoint = checkpoint.clone();
        }
        if let Some(children) = &self.children {
            after.children.clone_from(children);
        }
        after
    }

    fn new(lease: &Lease, owner: Option<WorkerId>, fence: u64, hand_off: HandOffChange) -> Self {
        Self {
            shard: lease.shard.clone(),
            expected: lease.version(),
            becomes: Version { owner, counter: lease.counter.saturating_add(1), fence },
            owner_switches: lease.owner_switches,
            checkpoint: None,
            children: None,
            hand_off,
        }
    }

    /// The owner says that it is there.
    pub(super) fn renew(lease: &Lease) -> Self {
        Self::new(lease, lease.owner.clone(), lease.fence, HandOffChange::Keep)
    }

    /// The owner says how far it is, which renews the lease as well.
    pub(super) fn checkpoint(lease: &Lease, checkpoint: Checkpoint) -> Self {
        Self { checkpoint: Some(checkpoint), owner_switches: 0, ..Self::renew(lease) }
    }

    /// The owner says that the shard has ended.
    pub(super) fn end(lease: &Lease, children: BTreeSet<ShardId>) -> Self {
        let hand_off = HandOffChange::Clear;
        Self { children: Some(children), hand_off, ..Self::checkpoint(lease, Checkpoint::ShardEnd) }
    }

    /// `me` becomes the owner, with a fence above `fence_floor` and above the row's.
    pub(super) fn take(lease: &Lease, me: &WorkerId, fence_floor: u64) -> Self {
        let switched = lease.owner.as_ref().is_some_and(|owner| owner != me);
        let fence = lease.fence.max(fence_floor).saturating_add(1);
        Self {
            owner_switches: lease.owner_switches.saturating_add(u64::from(switched)),
            ..Self::new(lease, Some(me.clone()), fence, HandOffChange::Clear)
        }
    }

    /// The owner, having drained, gives the shard to `to` or to nobody.
    pub(super) fn release(lease: &Lease, to: Option<WorkerId>, checkpoint: Option<Checkpoint>) -> Self {
        let switches = if checkpoint.is_some() { 0 } else { lease.owner_switches };
        let owner_switches = switches.saturating_add(u64::from(to.is_some()));
        let fence = lease.fence.saturating_add(1);
        Self { owner_switches, checkpoint, ..Self::new(lease, to, fence, HandOffChange::Clear) }
    }

    /// `me` asks the owner for the shard.
    pub(super) fn request(lease: &Lease, me: &WorkerId) -> Self {
        let hand_off = HandOffChange::Request(me.clone());
        Self { becomes: lease.version(), ..Self::new(lease, None, 0, hand_off) }
    }
}
