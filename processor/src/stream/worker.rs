//! The loop that keeps the leases and starts and stops the readers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use sessionwarden_machine::lease::{
    Checkpointer, Gap, Lost, Mono, Observed, Plan, Reader, ReaderProgress, ShardId, Situation, WorkerId,
    plan_checkpoint, plan_leases,
};
use tokio::{
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    BadWorkerSettings, Clock, EventStream, LeaseTable, RecordSink, ShardStatus, WorkerSettings, WorkerStatus,
    reader::{ShardReader, Shared, SharedLock, lock},
};
use crate::host;

mod rows;
mod survey;

/// A worker: it shares the shards of a stream with all others that use the same lease table.
#[derive(Debug)]
pub struct Worker {
    me: WorkerId,
    settings: Arc<WorkerSettings>,
    status: watch::Sender<WorkerStatus>,
}

/// How a worker stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Shards whose records under way could not be completed in time. Their leases expire, and what was not
    /// checkpointed is read again.
    pub left_behind: BTreeSet<ShardId>,
}

/// There is no such stream, or not any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream does not exist: {0}")]
pub struct StreamGone(pub String);

impl Worker {
    /// A worker, and how it will be doing. `me` names this run of this process and nothing else.
    ///
    /// # Errors
    /// A setting out of its bounds.
    pub fn new(
        me: WorkerId,
        settings: WorkerSettings,
    ) -> Result<(Self, watch::Receiver<WorkerStatus>), BadWorkerSettings> {
        settings.check()?;
        let (status, seen) = watch::channel(WorkerStatus::default());
        Ok((Self { me, settings: Arc::new(settings), status }, seen))
    }

    /// Reads its share of the shards until `stop`, then completes what is under way and hands over. What fails is tried
    /// again for ever: [`WorkerStatus`] tells. Dropping the future ends all reading at once, as a crash would.
    ///
    /// # Errors
    /// [`StreamGone`] where the stream was deleted or never was.
    pub async fn run<E, L, R, C>(
        self,
        stream: Arc<E>,
        leases: L,
        sink: Arc<R>,
        clock: Arc<C>,
        stop: CancellationToken,
    ) -> Result<Stopped, StreamGone>
    where
        E: EventStream,
        L: LeaseTable,
        R: RecordSink,
        C: Clock,
    {
        let mut rounds = Rounds {
            observed: Observed::new(self.me),
            settings: self.settings,
            status: self.status,
            stream,
            leases,
            sink,
            clock,
            running: BTreeMap::new(),
            leaving: BTreeMap::new(),
            held_until: BTreeMap::new(),
            tasks: JoinSet::new(),
            wake: Arc::new(Notify::new()),
            shown: WorkerStatus::default(),
            surveyed: None,
            retention_ms: None,
            vanished: 0,
            gone: 0,
            again: false,
        };
        rounds.run(stop).await
    }
}

/// A reader that runs.
struct Running {
    shared: SharedLock,
    quit: CancellationToken,
    task: AbortHandle,
    /// When the last checkpoint was sent.
    checkpointed: Mono,
}

/// The worker at work. One task owns it.
struct Rounds<E, L, R, C> {
    observed: Observed,
    settings: Arc<WorkerSettings>,
    status: watch::Sender<WorkerStatus>,
    stream: Arc<E>,
    leases: L,
    sink: Arc<R>,
    clock: Arc<C>,
    running: BTreeMap<ShardId, Running>,
    /// Readers that were stopped and have not ended yet: a shard has one at a time.
    leaving: BTreeMap<ShardId, AbortHandle>,
    /// Until when a shard is held that was taken and has no reader yet.
    held_until: BTreeMap<ShardId, Mono>,
    tasks: JoinSet<()>,
    wake: Arc<Notify>,
    shown: WorkerStatus,
    /// When the shards were last listed and compared.
    surveyed: Option<Mono>,
    retention_ms: Option<u64>,
    vanished: usize,
    /// How often in a row the stream was not there.
    gone: u32,
    /// The next round follows at once.
    again: bool,
}

impl<E: EventStream, L: LeaseTable, R: RecordSink, C: Clock> Rounds<E, L, R, C> {
    async fn run(&mut self, stop: CancellationToken) -> Result<Stopped, StreamGone> {
        let mut stopping: Option<Mono> = None;
        loop {
            if stopping.is_none() && stop.is_cancelled() {
                stopping = Some(self.clock.mono());
            }
            let seen = self.look().await;
            if seen && stopping.is_none() {
                self.survey().await?;
            }
            self.finish().await;
            self.checkpoint().await;
            self.follow(stopping.is_some()).await;
            if let Some(since) = stopping {
                if self.let_go() {
                    return Ok(Stopped::default());
                }
                if self.clock.mono().since_ms(since) >= self.settings.stop_ms_max {
                    return Ok(Stopped { left_behind: self.running.keys().cloned().collect() });
                }
            } else {
                self.start();
            }
            self.show();
            if std::mem::take(&mut self.again) && seen {
                tokio::task::yield_now().await;
                continue;
            }
            let ask_stop = async {
                match stopping {
                    None => stop.cancelled().await,
                    Some(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = ask_stop => {}
                () = self.wake.notified() => {}
                () = sleep(Duration::from_millis(self.settings.round_ms)) => {}
            }
        }
    }

    /// Whether nothing is this worker's any more.
    fn let_go(&self) -> bool {
        let mine = |owner: &Option<WorkerId>| owner.as_ref() == Some(self.observed.me());
        let named = self.observed.leases().values().any(|lease| mine(&lease.owner) && !lease.ended());
        self.running.is_empty() && !named
    }

    /// Reads the lease table; tells whether it could.
    async fn look(&mut self) -> bool {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a reader failed");
            }
        }
        self.leaving.retain(|_, task| !task.is_finished());
        match self.leases.list().await {
            Ok(rows) => {
                self.observed.see(rows, self.clock.mono());
                self.shown.leases_error = None;
                true
            }
            Err(error) => {
                complain(&mut self.shown.leases_error, "the leases cannot be read", &error);
                false
            }
        }
    }

    /// Checkpoints what is durable.
    async fn checkpoint(&mut self) {
        let now = self.clock.mono();
        let mut writes = Vec::new();
        for (shard, running) in &mut self.running {
            if now.since_ms(running.checkpointed) < self.settings.checkpoint_ms {
                continue;
            }
            let shared = lock(&running.shared);
            let settings = &self.settings.leases;
            writes.extend(plan_checkpoint(&self.observed, shard, &shared.checkpointer, settings, now));
            running.checkpointed = now;
        }
        self.write(writes).await;
    }

    /// Plans a round and does what the plan says.
    async fn follow(&mut self, stopping: bool) {
        let mut writes = Vec::new();
        for plan in self.plan(stopping) {
            match plan {
                Plan::Stop { shard, why } => self.stop(&shard, why),
                Plan::Drain { shard } => {
                    if let Some(running) = self.running.get(&shard) {
                        lock(&running.shared).checkpointer.drain();
                        running.quit.cancel();
                    }
                }
                Plan::Release { write, .. } => {
                    // From when it is sent, the shard is no longer this worker's.
                    self.leave(&write.shard);
                    self.shown.movements.released += 1;
                    writes.push(write);
                }
                Plan::Take { write, .. } | Plan::Steal { write, .. } | Plan::Renew { write } => writes.push(write),
            }
        }
        self.write(writes).await;
    }

    fn plan(&self, stopping: bool) -> Vec<Plan> {
        let shared: Vec<_> = self.running.iter().map(|(shard, running)| (shard, lock(&running.shared))).collect();
        let readers: BTreeMap<ShardId, Reader<'_>> = shared
            .iter()
            .map(|(shard, shared)| {
                let reader = Reader { progress: &shared.progress, checkpointer: &shared.checkpointer };
                ((*shard).clone(), reader)
            })
            .collect();
        let now = self.clock.mono();
        let workers = self.observed.workers(&self.settings.leases, now);
        let situation = Situation { observed: &self.observed, readers: &readers, workers: &workers, stopping };
        plan_leases(&situation, &self.settings.leases, now)
    }

    /// Stops reading a shard that is lost.
    fn stop(&mut self, shard: &ShardId, why: Lost) {
        tracing::warn!(worker = %self.observed.me(), %shard, ?why, "the lease is lost");
        self.leave(shard);
        self.observed.stopped(shard, why);
        self.shown.movements.lost += 1;
    }

    /// Ends a reader: it does nothing more for its shard.
    fn leave(&mut self, shard: &ShardId) {
        let Some(running) = self.running.remove(shard) else { return };
        let gaps = {
            let mut shared = lock(&running.shared);
            shared.checkpointer.lose();
            shared.lost = true;
            std::mem::take(&mut shared.gaps)
        };
        self.note_gaps(gaps);
        running.quit.cancel();
        if !running.task.is_finished() {
            self.leaving.insert(shard.clone(), running.task);
        }
    }

    /// Starts a reader for each shard that is held and has none.
    fn start(&mut self) {
        let now = self.clock.mono();
        let held = |shard: &ShardId| self.observed.holds(shard, &self.settings.leases, now);
        let idle = self.observed.leases().values().filter(|lease| {
            !lease.ended() && !self.running.contains_key(&lease.shard) && !self.leaving.contains_key(&lease.shard)
        });
        let fresh: Vec<_> = idle.filter_map(|lease| Some((lease.clone(), held(&lease.shard)?))).collect();
        for (lease, fence) in fresh {
            let shared = SharedLock::new(
                Shared {
                    progress: ReaderProgress::started(now),
                    checkpointer: Checkpointer::new(&lease.checkpoint, self.settings.batch_max),
                    held_until: self.held_until.remove(&lease.shard).unwrap_or(now),
                    lost: false,
                    gone: false,
                    children: Vec::new(),
                    gaps: Vec::new(),
                    status: ShardStatus { fence, ..ShardStatus::default() },
                }
                .into(),
            );
            let quit = CancellationToken::new();
            let reader = ShardReader {
                stream: Arc::clone(&self.stream),
                sink: Arc::clone(&self.sink),
                clock: Arc::clone(&self.clock),
                settings: Arc::clone(&self.settings),
                shard: lease.shard.clone(),
                fence,
                checkpoint: lease.checkpoint,
                retention_ms: self.retention_ms.unwrap_or(u64::MAX),
                shared: Arc::clone(&shared),
                quit: quit.clone(),
                wake: Arc::clone(&self.wake),
            };
            let task = self.tasks.spawn(host::task(reader.run()));
            self.running.insert(lease.shard, Running { shared, quit, task, checkpointed: now });
        }
    }

    fn note_gaps(&mut self, gaps: impl IntoIterator<Item = Gap>) {
        const GAPS_MAX: usize = 100;
        let room = GAPS_MAX.saturating_sub(self.shown.gaps.len());
        self.shown.gaps.extend(gaps.into_iter().take(room));
    }

    /// Shows how it is going.
    fn show(&mut self) {
        let mut gaps = Vec::new();
        self.shown.shards.clear();
        for (shard, running) in &self.running {
            let mut shared = lock(&running.shared);
            gaps.append(&mut shared.gaps);
            self.shown.shards.insert(shard.clone(), shared.status.clone());
        }
        self.note_gaps(gaps);
        let first = self.observed.leases().values().find(|lease| !lease.ended());
        self.shown.first = first.is_some_and(|lease| self.running.contains_key(&lease.shard));
        self.status.send_replace(self.shown.clone());
    }
}

/// Says what is wrong, once for as long as it is.
fn complain(shown: &mut Option<String>, what: &str, why: &dyn std::fmt::Display) {
    if shown.is_none() {
        tracing::error!(%why, "{what}");
    }
    *shown = Some(format!("{what}: {why}"));
}
