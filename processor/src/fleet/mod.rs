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
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};
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
    ///
    /// # Panics
    /// Where one of its loops does.
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
        let reading = worker.run(stream, leases, sink, SystemClock::new(), stop);
        let stopped = beside(&mut loops, reading).await;
        over.cancel();
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a loop failed");
            }
        }
        stopped
    }
}

/// Waits for `work` beside its loops. A worker without one of its loops is none: it fails as a whole where a loop does, and
/// another one takes over.
async fn beside<T>(loops: &mut JoinSet<()>, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Some(ended) = loops.join_next() => match ended.map_err(JoinError::try_into_panic) {
                Ok(()) => {}
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                Err(Err(error)) => tracing::error!(%error, "a loop has ended"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, panic::AssertUnwindSafe};

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_worker_fails_with_each_of_its_loops() {
        let mut loops = JoinSet::new();
        loops.spawn(async {});
        assert_eq!(beside(&mut loops, async { 7 }).await, 7);
        loops.spawn(async { std::panic::resume_unwind(Box::new("a loop fails")) });
        let failed = AssertUnwindSafe(beside(&mut loops, pending::<()>())).catch_unwind().await;
        assert_eq!(failed.unwrap_err().downcast_ref(), Some(&"a loop fails"));
    }
}
