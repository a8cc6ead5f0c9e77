//! What is done by the clock: by one worker for all (the sweep, the comparison with what AWS shows), and by each for
//! itself (its status, its counts, its digests, its sign of life).

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use sessionwarden_machine::{
    ids::{Now, Subject},
    incident::IncidentInput,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{Expiry, Rechecks, SharedStore};
use crate::{
    console::{HappeningKind, Pulse, Status},
    forgotten::forgotten,
    handle::{Calls, HandleError, Inbox, News},
    outbound::{Counts, Datum, MetricSink, Tell, WakeUps, publish},
    ports::Hands,
    run::now,
    stream::{Movements, WorkerStatus},
};

/// How many overdue items one sweep takes at the most.
const SWEEP_MAX: usize = 10_000;
const STATUS_TICK: Duration = Duration::from_millis(250);
const DIGEST_TICK: Duration = Duration::from_secs(5);
const EXPIRY_TICK: Duration = Duration::from_secs(30);
const ORGANIZE_TICK: Duration = Duration::from_millis(500);

/// How often things are done.
#[derive(Clone, Copy, Debug)]
pub struct DutyTimes {
    /// The time between two sweeps for what is overdue. Default: 5 s.
    pub sweep: Duration,
    /// The time between two comparisons with what AWS shows in every account and region. Default: 5 min.
    pub reconcile: Duration,
    /// The time between two sendings of counts. Default: 30 s.
    pub publish: Duration,
}

impl Default for DutyTimes {
    fn default() -> Self {
        Self { sweep: Duration::from_secs(5), reconcile: Duration::from_mins(5), publish: Duration::from_secs(30) }
    }
}

/// What is done by the clock.
pub struct Duties<S, H, Q, M, X> {
    /// Looks at what is found.
    pub rechecks: Arc<Rechecks<S, H, Q>>,
    /// How often.
    pub times: DutyTimes,
    /// Where counts go, and under which names; `None` where nobody wants them.
    pub counts: Option<(Counts, M)>,
    /// What the store deleted.
    pub expiry: X,
    /// Who gets the digests.
    pub people: Option<Arc<dyn Tell>>,
    /// Where the status goes.
    pub status: watch::Sender<Status>,
    /// Shows that records are taken in.
    pub source_pulse: Pulse,
    /// Shows that rechecks go on.
    pub recheck_pulse: Pulse,
}

impl<S: SharedStore, H: Hands + 'static, Q: WakeUps + 'static, M: MetricSink, X: Expiry> Duties<S, H, Q, M, X> {
    /// Runs until `stop`, then sends what is left.
    pub(super) async fn run(self, worker: watch::Receiver<WorkerStatus>, stop: CancellationToken) {
        let Self { rechecks, times, counts, expiry, people, status, source_pulse, recheck_pulse } = self;
        // Only what has something to do is polled.
        let all: [BoxFuture<'_, ()>; 6] = [
            Box::pin(show(&rechecks, &status, worker.clone(), &source_pulse, &stop)),
            Box::pin(sweep(&rechecks, times, &worker, &recheck_pulse, &stop)),
            Box::pin(reconcile(&rechecks, times, &worker, &stop)),
            Box::pin(organize(&rechecks, &worker, &stop)),
            Box::pin(forget(&rechecks, expiry, &worker, &stop)),
            Box::pin(tell(&rechecks, times, counts, people, &stop)),
        ];
        all.into_iter().collect::<FuturesUnordered<_>>().collect::<()>().await;
        let _ = status.send(rechecks.crew().board.lock().snapshot(now()));
        source_pulse.finish();
        recheck_pulse.finish();
    }
}

/// Waits for the next tick; false at the stop.
async fn tick(ticker: &mut tokio::time::Interval, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        _ = ticker.tick() => true,
    }
}

fn ticker(every: Duration) -> tokio::time::Interval {
    let mut ticker = interval(every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

/// Shows the status, and how the shards are doing.
async fn show<S: SharedStore, H: Hands + 'static, Q: WakeUps + 'static>(
    rechecks: &Arc<Rechecks<S, H, Q>>,
    status: &watch::Sender<Status>,
    mut worker: watch::Receiver<WorkerStatus>,
    pulse: &Pulse,
    stop: &CancellationToken,
) {
    let metrics = &rechecks.crew().metrics;
    let (mut ticker, mut before, mut gaps) = (ticker(STATUS_TICK), Movements::default(), 0);
    let mut units = [0.0; 2];
    while tick(&mut ticker, stop).await {
        if !status.is_closed() {
            let _ = status.send(rechecks.crew().board.lock().snapshot(now()));
        }
        if !worker.has_changed().unwrap_or(false) {
            continue;
        }
        let seen = worker.borrow_and_update().clone();
        pulse.beat();
        let consumed = rechecks.crew().store.units();
        metrics.store_units([consumed[0] - units[0], consumed[1] - units[1]]);
        units = consumed;
        metrics.heartbeat(now());
        metrics.shards(&seen);
        metrics.movements(&before, &seen.movements);
        before = seen.movements;
        for gap in seen.gaps.iter().skip(gaps) {
            let text = format!("records of {} may be lost: they are not kept any more", gap.shard);
            rechecks.crew().board.lock().notice(now(), HappeningKind::Incident, text);
        }
        gaps = seen.gaps.len();
    }
}

/// Finds what is overdue although a wake-up should have come (R-W4): one worker does it for all.
async fn sweep<S: SharedStore, H: Hands + 'static, Q: WakeUps + 'static>(
    rechecks: &Arc<Rechecks<S, H, Q>>,
    times: DutyTimes,
    worker: &watch::Receiver<WorkerStatus>,
    pulse: &Pulse,
    stop: &CancellationToken,
) {
    let crew = rechecks.crew();
    let mut ticker = ticker(times.sweep);
    while tick(&mut ticker, stop).await {
        pulse.beat();
        if !worker.borrow().first {
            continue;
        }
        let now = now();
        match crew.store.due(Now(now.0 - crew.settings.recheck_ms), SWEEP_MAX).await {
            Ok(overdue) => {
                let oldest = overdue.first().map_or(0, |item| now.0 - item.due.at.0);
                crew.metrics.recheck_overdue_ms(oldest);
                crew.board.lock().overdue(oldest);
                rechecks.look_at(overdue.iter().filter_map(|item| item.key.parse::<Subject>().ok()));
            }
            Err(error) => tracing::error!(%error, "what is overdue cannot be found; it is tried again"),
        }
    }
}

/// Compares with what AWS shows in every account and region (R-W4, I9): one worker does it for all.
async fn reconcile<S: SharedStore, H: Hands + 'static, Q: WakeUps + 'static>(
    rechecks: &Arc<Rechecks<S, H, Q>>,
    times: DutyTimes,
    worker: &watch::Receiver<WorkerStatus>,
    stop: &CancellationToken,
) {
    let crew = rechecks.crew();
    let mut handler = crew.handler(None, Calls::Later);
    let mut worker = worker.clone();
    loop {
        // Whoever becomes the first begins at once.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            first = worker.wait_for(|worker| worker.first) => if first.is_err() { return },
        }
        let found: Result<usize, HandleError> = Box::pin(handler.reconcile(now())).await;
        match found {
            Ok(adopted) => {
                crew.regions.set(&handler.regions, handler.accounts_in_organization);
                crew.metrics.sessions_adopted(adopted as u64);
                if adopted > 0 {
                    let text = format!("{adopted} sessions found alive that no event announced");
                    crew.board.lock().notice(now(), HappeningKind::Notice, text);
                }
                rechecks.follow(&mut handler, false, now()).await;
            }
            Err(error) => {
                tracing::error!(%error, "what AWS shows cannot be compared; it is tried again");
                handler = crew.handler(None, Calls::Later);
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(times.reconcile) => {}
        }
    }
}

/// Locks and unlocks accounts, for all: one worker changes the organisation.
async fn organize<S: SharedStore, H: Hands + 'static, Q: WakeUps + 'static>(
    rechecks: &Arc<Rechecks<S, H, Q>>,
    worker: &watch::Receiver<WorkerStatus>,
    stop: &CancellationToken,
) {
    let (mut ticker, mut first) = (ticker(ORGANIZE_TICK), true);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = rechecks.organization.notified() => {}
            _ = ticker.tick() => {}
        }
        if !worker.borrow().first {
            first = true;
            continue;
        }
        match rechecks.organize(first).await {
            Ok(()) => first = false,
            Err(error) => tracing::error!(%error, "locks cannot be looked after; it is tried again"),
        }
    }
}

/// Opens incidents for sessions that Time to Live deleted although they were never closed: one worker does it for all.
async fn forget<S: SharedStore, H: Hands + 'static, Q: WakeUps + 'static, X: Expiry>(
    rechecks: &Arc<Rechecks<S, H, Q>>,
    mut expiry: X,
    worker: &watch::Receiver<WorkerStatus>,
    stop: &CancellationToken,
) {
    let crew = rechecks.crew();
    let mut ticker = ticker(EXPIRY_TICK);
    while tick(&mut ticker, stop).await {
        if !worker.borrow().first {
            continue;
        }
        let mut pass = async || {
            let mut inbox = Inbox::new();
            for item in expiry.next().await? {
                if let Some((cause, incident)) = forgotten(&item)? {
                    inbox
                        .entry(Subject::Incident(cause))
                        .or_default()
                        .push(News::Incident(IncidentInput::Seen(Box::new(incident))));
                }
            }
            let mut handler = crew.handler(None, Calls::Later);
            handler.handle(inbox, now()).await?;
            rechecks.follow(&mut handler, false, now()).await;
            Ok::<_, HandleError>(expiry.done().await?)
        };
        if let Err(error) = pass().await {
            tracing::error!(%error, "what Time to Live deleted cannot be read; it is tried again");
        }
    }
}

/// Sends counts and digests, at the stop what is left of them.
async fn tell<S: SharedStore, H: Hands + 'static, Q: WakeUps + 'static, M: MetricSink>(
    rechecks: &Arc<Rechecks<S, H, Q>>,
    times: DutyTimes,
    counts: Option<(Counts, M)>,
    people: Option<Arc<dyn Tell>>,
    stop: &CancellationToken,
) {
    let digests = async {
        let Some(people) = people else { return };
        let mut ticker = ticker(DIGEST_TICK);
        while tick(&mut ticker, stop).await {
            people.flush(now()).await;
        }
    };
    let sums = async {
        let Some((mut counts, sink)) = counts else { return };
        let mut ticker = ticker(times.publish);
        loop {
            let more = tick(&mut ticker, stop).await;
            for (key, total) in rechecks.crew().outlets.tally.totals() {
                counts.note(&key, total);
            }
            if let Err(error) = publish(&mut counts, &sink, now()).await {
                tracing::warn!(%error, "counts cannot be sent; they are sent with the next ones");
            }
            if !more {
                return;
            }
            let alive = Datum { name: "Heartbeat".into(), dimensions: Vec::new(), value: 1, at: now() };
            if let Err(error) = sink.put("Sessionwarden", &[alive]).await {
                tracing::warn!(%error, "the sign of life cannot be sent");
            }
        }
    };
    tokio::join!(digests, sums);
}
