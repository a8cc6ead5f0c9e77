//! From completed records to a checkpoint.

use std::collections::VecDeque;

use super::{Checkpoint, Position};

/// A record that was handed out and has to be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Why a record is not handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many records are under way as may be: stop reading until some are completed.
    #[error("too many records of the shard are under way")]
    Full,
    /// It is not behind the record before it.
    #[error("the record is not behind the one handed out before it")]
    OutOfOrder,
    /// The reader drains, the shard has ended, or the lease is lost.
    #[error("the shard is not read any more")]
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    Draining,
    Ended,
    Lost,
}

/// The records of one shard under one lease: handed out in order, completed in any order; the checkpoint is the
/// longest completed prefix (I2).
///
/// A record that fails stays under way until a later attempt completes or parks it: there is no way to pass over one.
#[derive(Debug)]
pub struct Checkpointer {
    outstanding_max: usize,
    state: State,
    first: u64,
    slots: VecDeque<(Position, bool)>,
    last: Option<Position>,
    prefix: Option<Position>,
    written: Option<Position>,
}

impl Checkpointer {
    /// Begins behind `checkpoint`, with at most `outstanding_max` records under way, at least one.
    pub fn new(checkpoint: &Checkpoint, outstanding_max: usize) -> Self {
        let written = match checkpoint {
            Checkpoint::Sequence(position) => Some(position.clone()),
            Checkpoint::TrimHorizon | Checkpoint::Latest | Checkpoint::AtTimestamp(_) | Checkpoint::ShardEnd => None,
        };
        Self {
            outstanding_max: outstanding_max.max(1),
            state: State::Reading,
            first: 0,
            slots: VecDeque::new(),
            last: None,
            prefix: written.clone(),
            written,
        }
    }

    /// How many records may be read now; 0 says stop reading.
    pub fn room(&self) -> usize {
        if self.state == State::Reading { self.outstanding_max.saturating_sub(self.slots.len()) } else { 0 }
    }

    /// Records handed out that are not covered by a checkpoint yet because one of them, or one before, is not completed.
    pub fn outstanding(&self) -> usize {
        self.slots.len()
    }

    /// The last record handed out: an expired iterator goes on behind it.
    pub fn last(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// Hands a record out.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn hand_out(&mut self, position: Position) -> Result<Ticket, Refused> {
        if self.state != State::Reading {
            return Err(Refused::Closed);
        }
        if self.slots.len() >= self.outstanding_max {
            return Err(Refused::Full);
        }
        if self.last.as_ref().is_some_and(|last| *last >= position) {
            return Err(Refused::OutOfOrder);
        }
        self.last = Some(position.clone());
        self.slots.push_back((position, false));
        Ok(Ticket(self.first + self.slots.len() as u64 - 1))
    }

    /// The record's effects are durable, or it is parked. A ticket that is completed already changes nothing.
    pub fn complete(&mut self, ticket: Ticket) {
        let slot = ticket.0.checked_sub(self.first).and_then(|at| self.slots.get_mut(usize::try_from(at).ok()?));
        if let Some((_, done)) = slot {
            *done = true;
        }
        while self.slots.front().is_some_and(|(_, done)| *done) {
            if let Some((position, _)) = self.slots.pop_front() {
                self.prefix = self.prefix.take().max(Some(position));
                self.first += 1;
            }
        }
    }

    /// No further record is handed out; those under way are completed.
    pub fn drain(&mut self) {
        if self.state == State::Reading {
            self.state = State::Draining;
        }
    }

    /// The stream has no further record in this shard.
    pub fn end(&mut self) {
        if self.state != State::Lost {
            self.state = State::Ended;
        }
    }

    /// The lease is lost: nothing is checkpointed any more.
    pub fn lose(&mut self) {
        self.state = State::Lost;
    }

    /// Whether nothing is read and nothing is under way any more.
    pub fn drained(&self) -> bool {
        matches!(self.state, State::Draining | State::Ended) && self.slots.is_empty()
    }

    /// Whether the shard has ended and all of its records are completed. [`super::finish`] says what comes next.
    pub fn finished(&self) -> bool {
        self.state == State::Ended && self.slots.is_empty()
    }

    /// The checkpoint to write; `None` where there is nothing new, or the lease is lost.
    pub fn to_write(&self) -> Option<Checkpoint> {
        let new = self.state != State::Lost && self.prefix > self.written;
        new.then(|| self.prefix.clone().map(Checkpoint::Sequence)).flatten()
    }

    /// The store holds this checkpoint. Only a write that is known to be done counts.
    pub fn written(&mut self, checkpoint: &Checkpoint) {
        if let Checkpoint::Sequence(position) = checkpoint {
            self.written = self.written.take().max(Some(position.clone()));
        }
    }
}
