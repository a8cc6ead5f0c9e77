//! The service on many machines: shards are shared by leases, state and timers lie outside the process.
//!
//! A record's way: [`FleetSink`] takes it from its shard, decides, saves and reports. Whatever calls an account is left to
//! [`Rechecks`], which work for each account and region by itself, so that no shard waits for an account. What is due
//! later is sent into the queue of wake-ups, and whichever worker receives one hands it to its own [`Rechecks`].

mod crew;
mod duties;
mod lanes;
mod sink;

use std::{sync::Arc, time::Duration};

use sessionwarden_machine::ids::Now;
use sessionwarden_store::{DueItem, Fence, Item, Store, StoreError};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::{
    crew::{Crew, Regions},
    duties::{Duties, DutyTimes},
    lanes::Rechecks,
    sink::FleetSink,
};
use crate::{
    host,
    outbound::{MetricSink, WakeLimits, WakeUps, serve},
    ports::Hands,
    run::now,
    stream::{EventStream, LeaseTable, Stopped, StreamGone, SystemClock, Worker, WorkerStatus},
};

/// A store that many workers share.
pub trait SharedStore: Store + Clone + 'static {
    /// The same store for the owner of a lease, whose writes carry its fence (I3); `None` for whoever owns none.
    #[must_use]
    fn with_fence(&self, fence: Option<Fence>) -> Self;

    /// Capacity units consumed so far by this process: read, and write.
    fn units(&self) -> [f64; 2];

    /// Items of one partition that are due at `until` or before, the earliest first, at most `limit`.
    fn due_in(
        &self,
        partition: &str,
        until: Now,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<DueItem>, StoreError>> + Send;
}

/// Tells what the store deleted because its time was over.
pub trait Expiry: Send + 'static {
    /// Deleted items, the same again until [`Self::done`].
    fn next(&mut self) -> impl Future<Output = Result<Vec<Item>, StoreError>> + Send;

    /// What was told is dealt with: it is not told again.
    fn done(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

#[cfg(feature = "aws")]
impl Expiry for sessionwarden_store::ExpiredItems {
    async fn next(&mut self) -> Result<Vec<Item>, StoreError> {
        Ok(self.next().await?.to_vec())
    }

    async fn done(&mut self) -> Result<(), StoreError> {
        self.done().await
    }
}

#[cfg(feature = "aws")]
impl SharedStore for sessionwarden_store::DynamoDb {
    fn with_fence(&self, fence: Option<Fence>) -> Self {
        self.with_fence(fence)
    }

    fn units(&self) -> [f64; 2] {
        let units = self.units();
        [units.read, units.write]
    }

    async fn due_in(&self, partition: &str, until: Now, limit: usize) -> Result<Vec<DueItem>, StoreError> {
        self.due_in(partition, until, limit).await
    }
}

/// What a worker of the fleet runs.
pub struct Fleet<S, H, Q, E, L, M, X> {
    /// Takes records in.
    pub sink: Arc<FleetSink<S, H, Q>>,
    /// Looks at what is due.
    pub rechecks: Arc<Rechecks<S, H, Q>>,
    /// What one worker does for all, and what each does for itself.
    pub duties: Duties<S, H, Q, M, X>,
    /// The stream.
    pub stream: Arc<E>,
    /// The leases of its shards.
    pub leases: L,
    /// The worker, and how it is doing.
    pub worker: (Worker, watch::Receiver<WorkerStatus>),
    /// Bounds of the loop that receives wake-ups.
    pub wake_limits: WakeLimits,
    /// How long a stop may take to finish the looks that were begun.
    pub drain_max: Duration,
}

impl<S, H, Q, E, L, M, X> Fleet<S, H, Q, E, L, M, X>
where
    S: SharedStore,
    H: Hands + 'static,
    Q: WakeUps + 'static,
    E: EventStream,
    L: LeaseTable,
    M: MetricSink + 'static,
    X: Expiry + 'static,
{
    /// Runs until `stop`. Then the shards are drained and handed over first; looks that are under way are finished, and
    /// what is still due waits in the store for another worker. Dropping the future ends all at once, as a crash would.
    ///
    /// # Errors
    /// [`StreamGone`] where the stream does not exist (any more).
    pub async fn run(self, stop: CancellationToken) -> Result<Stopped, StreamGone> {
        let Self { sink, rechecks, duties, stream, leases, worker: (worker, status), wake_limits, drain_max } = self;
        let over = CancellationToken::new();
        let mut loops = JoinSet::new();
        {
            let (rechecks, over) = (Arc::clone(&rechecks), over.clone());
            loops.spawn(host::task(async move { rechecks.run(over, drain_max).await }));
        }
        {
            let (rechecks, over) = (Arc::clone(&rechecks), over.clone());
            loops.spawn(host::task(async move {
                let handle = |wake| rechecks.woken(wake);
                serve(rechecks.queue(), wake_limits, now, handle, &over).await;
            }));
        }
        loops.spawn(host::task(duties.run(status, over.clone())));
        let stopped = worker.run(stream, leases, sink, SystemClock::new(), stop).await;
        over.cancel();
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a loop failed");
            }
        }
        stopped
    }
}
