//! The task that reads one shard under one lease.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sessionwarden_machine::{
    ids::EventTime,
    lease::{
        Checkpoint, Checkpointer, Gap, Interruption, ListedShard, Mono, Position, ReadFrom, ReaderProgress, Refused,
        ShardId, Ticket, TrimWatch, resume, resume_from,
    },
    mutation::{Mutation, made},
};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Clock, EventStream, Reading, Record, RecordSink, ShardStatus, StreamError, Unfit, WorkerSettings};

/// The first wait before something that failed is tried again, in milliseconds. It doubles up to the settings' limit.
const RETRY_MS: u64 = 50;
/// How often a reader whose lease ran out looks whether it was renewed, in milliseconds.
const HELD_MS: u64 = 20;

/// What the reader of a shard and the worker share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) progress: ReaderProgress,
    pub(super) checkpointer: Checkpointer,
    /// Until when records may be handed on, by the worker's own clock. It is never later than what the leases say, so
    /// that a worker that stands still fences itself.
    pub(super) held_until: Mono,
    /// Nothing more may be done for the shard.
    pub(super) lost: bool,
    /// The stream says that it does not have the shard.
    pub(super) gone: bool,
    /// What the shard became; told at its end.
    pub(super) children: Vec<ListedShard>,
    pub(super) gaps: Vec<Gap>,
    pub(super) status: ShardStatus,
}

/// [`Shared`], behind a lock that is never held across an await.
pub(super) type SharedLock = Arc<Mutex<Shared>>;

pub(super) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one shard.
pub(super) struct ShardReader<E, R, C> {
    pub(super) stream: Arc<E>,
    pub(super) sink: Arc<R>,
    pub(super) clock: Arc<C>,
    pub(super) settings: Arc<WorkerSettings>,
    pub(super) shard: ShardId,
    pub(super) fence: u64,
    pub(super) checkpoint: Checkpoint,
    pub(super) retention_ms: u64,
    pub(super) shared: SharedLock,
    /// Ends the reading. What was handed out is completed all the same, unless the shard is lost.
    pub(super) quit: CancellationToken,
    /// Tells the worker that something has ended.
    pub(super) wake: Arc<Notify>,
}

/// Where the reader stands.
struct Course<P> {
    from: ReadFrom,
    place: Option<P>,
    watch: TrimWatch,
    wait_ms: u64,
}

impl<P> Course<P> {
    fn at(from: ReadFrom) -> Self {
        Self { watch: TrimWatch::new(&from), from, place: None, wait_ms: 0 }
    }
}

impl<E: EventStream, R: RecordSink, C: Clock> ShardReader<E, R, C> {
    /// Reads until the shard has ended, or `quit`.
    pub(super) async fn run(self) {
        self.read_all().await;
        self.wake.notify_one();
    }

    async fn read_all(&self) {
        let Some(from) = resume_from(&self.checkpoint) else { return };
        let opened = self.clock.now();
        let mut course = Course::at(from);
        loop {
            let begun = self.clock.mono();
            let reading = tokio::select! {
                biased;
                () = self.quit.cancelled() => return,
                reading = self.read(&mut course) => reading,
            };
            let wait_ms = match reading {
                Ok(reading) => {
                    let (found, ended) = (reading.records.len(), reading.ended);
                    if !self.take_in(reading, &mut course, opened).await || ended {
                        return;
                    }
                    course.wait_ms = self.pause_ms(found, course.wait_ms);
                    course.wait_ms.saturating_sub(self.clock.mono().since_ms(begun))
                }
                Err(error) => self.failed(&error, &mut course, opened),
            };
            tokio::select! {
                biased;
                () = self.quit.cancelled() => return,
                () = sleep(Duration::from_millis(wait_ms)) => {}
            }
        }
    }

    /// The time from the beginning of a reading with so many records to the next one, in milliseconds.
    fn pause_ms(&self, found: usize, before_ms: u64) -> u64 {
        let poll_ms = self.settings.poll_ms;
        match found {
            _ if self.stream.waits() => 0,
            0 => before_ms.saturating_mul(2).clamp(poll_ms, self.settings.poll_idle_ms_max),
            _ => poll_ms,
        }
    }

    async fn read(&self, course: &mut Course<E::Place>) -> Result<Reading, StreamError> {
        let place = match &mut course.place {
            Some(place) => place,
            None => course.place.insert(self.stream.open(&self.shard, &course.from).await?),
        };
        self.stream.read(place).await
    }

    /// Hands the records on and notes the answer. False where there is nothing more to do.
    async fn take_in(&self, reading: Reading, course: &mut Course<E::Place>, opened: EventTime) -> bool {
        {
            let mut shared = lock(&self.shared);
            shared.progress.made(self.clock.mono());
            shared.status.behind_ms = Some(reading.behind_ms);
            (shared.status.error, shared.gone) = (None, false);
        }
        if !self.hand_on(&reading.records).await {
            return false;
        }
        if reading.ended {
            let mut shared = lock(&self.shared);
            shared.checkpointer.end();
            shared.children = reading.children;
            return true;
        }
        if course.watch.answered(reading.records.len(), reading.behind_ms, self.retention_ms) {
            self.go_on(Interruption::Trimmed, course, opened);
        }
        true
    }

    /// What to do about an error; how long to wait, in milliseconds.
    fn failed(&self, error: &StreamError, course: &mut Course<E::Place>, opened: EventTime) -> u64 {
        {
            let mut shared = lock(&self.shared);
            if shared.status.error.is_none() {
                tracing::warn!(shard = %self.shard, %error, "the shard cannot be read");
            }
            shared.status.error = Some(error.to_string());
            shared.gone = matches!(error, StreamError::Gone(_));
            if shared.gone {
                self.wake.notify_one();
            }
        }
        let why = match error {
            StreamError::Expired(_) => Interruption::Expired,
            StreamError::Trimmed(_) => Interruption::Trimmed,
            StreamError::Throttled(_) | StreamError::Gone(_) | StreamError::Denied(_) | StreamError::Unknown(_) => {
                course.wait_ms = next_wait_ms(course.wait_ms.max(self.settings.poll_ms), &self.settings);
                return course.wait_ms;
            }
        };
        self.go_on(why, course, opened);
        self.settings.poll_ms
    }

    /// Finds the place to read on from.
    fn go_on(&self, why: Interruption, course: &mut Course<E::Place>, opened: EventTime) {
        let mut shared = lock(&self.shared);
        let last = shared.checkpointer.last().cloned();
        let known = last.clone().map_or_else(|| self.checkpoint.clone(), Checkpoint::Sequence);
        let Some(resumed) = resume(&self.shard, why, &known, last.as_ref().map(|last| &last.sequence), opened) else {
            return;
        };
        if let Some(gap) = resumed.gap {
            tracing::error!(shard = %gap.shard, after = gap.after.text(), "records may be lost: they are not kept any more");
            shared.gaps.push(gap);
        }
        tracing::info!(shard = %self.shard, ?why, "the shard is opened again");
        let wait_ms = course.wait_ms;
        *course = Course { wait_ms, ..Course::at(resumed.from) };
    }

    /// Hands records on until all are durable. False where the shard is lost or drained before.
    async fn hand_on(&self, records: &[Record]) -> bool {
        for chunk in records.chunks(self.settings.batch_max) {
            let (tickets, whole) = self.hand_out(chunk);
            let handed = &chunk[..tickets.len()];
            let mut at = 0;
            for run in handed.chunk_by(|a, b| Unfit::of(a).is_none() && Unfit::of(b).is_none()) {
                if !self.deliver(run, &tickets[at..at + run.len()]).await {
                    return false;
                }
                at += run.len();
            }
            if !whole {
                return false;
            }
        }
        true
    }

    /// Tickets of the first records, and whether all have one. A record that was handed out before has none of its own;
    /// it is handled once more all the same.
    fn hand_out(&self, records: &[Record]) -> (Vec<Option<Ticket>>, bool) {
        let mut shared = lock(&self.shared);
        let mut tickets = Vec::with_capacity(records.len());
        for record in records {
            match shared.checkpointer.hand_out(Position { sequence: record.sequence.clone(), sub_sequence: 0 }) {
                Ok(ticket) => tickets.push(Some(ticket)),
                Err(Refused::OutOfOrder) => tickets.push(None),
                Err(Refused::Closed | Refused::Full) => break,
            }
        }
        shared.status.outstanding = shared.checkpointer.outstanding();
        let whole = tickets.len() == records.len();
        (tickets, whole)
    }

    /// Gives records to the sink until it has them. False where the shard is lost before.
    async fn deliver(&self, records: &[Record], tickets: &[Option<Ticket>]) -> bool {
        let unfit = records.first().and_then(Unfit::of);
        let mut wait_ms = 0;
        if made(Mutation::CheckpointBeforeSave) {
            self.complete(tickets);
        }
        loop {
            if !self.held().await {
                return false;
            }
            let given = match (unfit, records) {
                (Some(why), [record]) => self.sink.park(&self.shard, record, why).await,
                _ => self.sink.take(&self.shard, self.fence, records).await,
            };
            match given {
                Ok(()) => break,
                Err(error) => {
                    let mut shared = lock(&self.shared);
                    if shared.status.error.is_none() {
                        tracing::error!(shard = %self.shard, %error, "records are not taken; they are given again");
                    }
                    shared.status.error = Some(error.to_string());
                }
            }
            wait_ms = next_wait_ms(wait_ms, &self.settings);
            sleep(Duration::from_millis(wait_ms)).await;
        }
        self.complete(tickets);
        let mut shared = lock(&self.shared);
        shared.progress.made(self.clock.mono());
        shared.status.records += records.len() as u64;
        shared.status.parked += u64::from(unfit.is_some());
        shared.status.outstanding = shared.checkpointer.outstanding();
        shared.status.error = None;
        !shared.lost
    }

    fn complete(&self, tickets: &[Option<Ticket>]) {
        let mut shared = lock(&self.shared);
        for ticket in tickets.iter().flatten() {
            shared.checkpointer.complete(*ticket);
        }
    }

    /// Waits until the lease is known to be this worker's. False once it is lost.
    async fn held(&self) -> bool {
        loop {
            {
                let shared = lock(&self.shared);
                if shared.lost {
                    return false;
                }
                if self.clock.mono() < shared.held_until {
                    return true;
                }
            }
            sleep(Duration::from_millis(HELD_MS)).await;
        }
    }
}

fn next_wait_ms(before_ms: u64, settings: &WorkerSettings) -> u64 {
    before_ms.saturating_mul(2).max(RETRY_MS).min(settings.retry_ms_max)
}
