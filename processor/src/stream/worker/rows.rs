//! Writes of lease rows, and the end of a shard.

use futures_util::{StreamExt, stream};
use sessionwarden_machine::lease::{Answer, Applied, Finish, HandOffChange, Lease, ShardId, Write, finish};

use super::{Rounds, complain, lock};
use crate::stream::{Clock, EventStream, LeaseTable, RecordSink};

/// How many rows are written at the same time.
pub(super) const PARALLEL_MAX: usize = 16;
/// The most steps towards the end of a shard in one round: ask for the children, create them, write the end.
const STEPS_MAX: usize = 4;

impl<E: EventStream, L: LeaseTable, R: RecordSink, C: Clock> Rounds<E, L, R, C> {
    /// Sends writes of different rows, and takes in what became of each.
    pub(super) async fn write(&mut self, writes: Vec<Write>) {
        let Self { leases, clock, observed, running, held_until, settings, shown, again, .. } = self;
        let (leases, clock) = (&*leases, &*clock);
        let mut answers = stream::iter(writes)
            .map(|write| async move {
                let sent = clock.mono();
                let answer = leases.write(&write).await;
                (write, sent, answer)
            })
            .buffer_unordered(PARALLEL_MAX);
        while let Some((write, sent, answer)) = answers.next().await {
            let answer = answer.unwrap_or_else(|error| {
                complain(&mut shown.leases_error, "a lease cannot be written", &error);
                Answer::Unanswered
            });
            let applied = write.judge(&answer);
            observed.applied(&write, &applied, sent, clock.mono());
            let takes = write.becomes.fence != write.expected.fence;
            let mine = write.becomes.owner.as_ref() == Some(observed.me());
            let requests = matches!(write.hand_off, HandOffChange::Request(_));
            let reader = running.get(&write.shard).map(|running| &running.shared);
            match applied {
                Applied::Done(_) if requests => shown.movements.asked += 1,
                Applied::Done(_) if mine => {
                    let until = super::Mono(sent.0.saturating_add(settings.leases.own_ms()));
                    if takes {
                        shown.movements.taken += 1;
                        held_until.insert(write.shard.clone(), until);
                    } else if let Some(reader) = reader {
                        lock(reader).held_until = until;
                    }
                }
                // Of a take it says only that the row is to be read again.
                Applied::DoneEarlier { .. } if mine && takes => *again = true,
                Applied::Done(_) | Applied::DoneEarlier { .. } | Applied::Lost | Applied::Unknown => {}
            }
            if let (Some(reader), Some(checkpoint)) = (reader, &write.checkpoint)
                && matches!(applied, Applied::Done(_) | Applied::DoneEarlier { complete: true, .. })
            {
                lock(reader).checkpointer.written(checkpoint);
            }
        }
    }

    /// Ends the shards that are read to their end.
    pub(super) async fn finish(&mut self) {
        let ended = |shard: &ShardId| self.observed.leases().get(shard).is_some_and(Lease::ended);
        let over: Vec<ShardId> = self.running.keys().filter(|shard| ended(shard)).cloned().collect();
        for shard in over {
            self.leave(&shard);
        }
        let finished = self.running.iter().filter(|(_, running)| lock(&running.shared).checkpointer.finished());
        let finished: Vec<ShardId> = finished.map(|(shard, _)| shard.clone()).collect();
        for shard in finished {
            self.finish_shard(&shard).await;
        }
    }

    async fn finish_shard(&mut self, shard: &ShardId) {
        for _ in 0..STEPS_MAX {
            let Some(running) = self.running.get(shard) else { return };
            let step = {
                let shared = lock(&running.shared);
                let settings = &self.settings.leases;
                finish(&self.observed, shard, &shared.checkpointer, &shared.children, settings, self.clock.mono())
            };
            match step {
                Finish::NotYet => return,
                Finish::AskForChildren => {
                    let listed = match self.stream.shards().await {
                        Ok(listed) => listed,
                        Err(error) => {
                            complain(&mut self.shown.stream_error, "the shards cannot be listed", &error);
                            return;
                        }
                    };
                    let children: Vec<_> = listed.into_iter().filter(|child| child.parents.contains(shard)).collect();
                    let mut shared = lock(&running.shared);
                    shared.progress.made(self.clock.mono());
                    if children.is_empty() {
                        return;
                    }
                    shared.children = children;
                }
                Finish::Create(rows) => {
                    if !self.create(rows).await {
                        return;
                    }
                }
                Finish::End(write) => {
                    self.write(vec![write]).await;
                    if self.observed.leases().get(shard).is_some_and(Lease::ended) {
                        self.leave(shard);
                        self.shown.movements.ended += 1;
                        self.again = true;
                    }
                    return;
                }
            }
        }
    }

    /// Creates rows; tells whether all are there and known.
    pub(super) async fn create(&mut self, rows: Vec<Lease>) -> bool {
        let leases = &self.leases;
        let mut answers = stream::iter(rows)
            .map(|row| async move {
                let created = leases.create(&row).await;
                (row, created)
            })
            .buffer_unordered(PARALLEL_MAX);
        let mut known = true;
        while let Some((row, created)) = answers.next().await {
            match created {
                Ok(true) => self.observed.see_row(row, self.clock.mono()),
                Ok(false) => (known, self.again) = (false, true),
                Err(error) => {
                    complain(&mut self.shown.leases_error, "a lease cannot be created", &error);
                    known = false;
                }
            }
        }
        known
    }
}
