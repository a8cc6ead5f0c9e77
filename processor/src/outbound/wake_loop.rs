//! Receives wake-ups, sends on those that are not due, and has the others handled.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use opentelemetry::{propagation::TextMapPropagator, trace::TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use sessionwarden_machine::{
    ids::Now,
    mutation::{Mutation, made},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{Delivered, Lane, Receipt, Received, Trace, Wake, WakeUps};
use crate::ports::CallError;

/// How many messages a queue gives at once (`ReceiveMessage`).
const AT_ONCE: usize = 10;

/// How long a message can be hidden ("Amazon SQS visibility timeout").
const HIDDEN_MAX: Duration = Duration::from_hours(12);

/// Bounds of [`serve`].
#[derive(Clone, Copy, Debug)]
pub struct WakeLimits {
    /// How long a wake-up is hidden from others, counted from its receipt or its last extension: how soon one that a
    /// crash interrupted comes again. What is being handled is extended each time a third of it has passed. From 3 s to
    /// 12 h.
    pub hidden: Duration,
    /// How many accounts and regions are handled at once, at least 1.
    pub lanes_at_once_max: usize,
    /// How long to wait after a call of the queue has failed.
    pub pause: Duration,
}

impl Default for WakeLimits {
    /// 30 s, 64 accounts and regions, and 1 s.
    fn default() -> Self {
        Self { hidden: Duration::from_secs(30), lanes_at_once_max: 64, pause: Duration::from_secs(1) }
    }
}

/// What can happen in the loop.
enum Step {
    Came(Result<Received, CallError>),
    Handled { taken: usize },
}

/// Receives wake-ups until `stop`, then finishes those under way.
///
/// One that is not due by `clock` is sent on, with what is left of its time, and then deleted. For those that are due
/// `handle` is called once for each account and region; when it returns `Ok`, its effects must be durable, as the messages
/// are then deleted (I2). After an `Err`, or a crash, they come again when their visibility ends. The handler runs in a span
/// whose parent is the span that sent the wake-up; whoever sends the next one from within it prolongs that trace.
pub async fn serve<Q, F, E>(
    queue: &Q,
    limits: WakeLimits,
    clock: impl Fn() -> Now + Sync,
    handle: impl Fn(Wake) -> F + Sync,
    stop: &CancellationToken,
) where
    Q: WakeUps,
    F: Future<Output = Result<(), E>> + Send,
    E: Display + Send,
{
    let room_max = limits.lanes_at_once_max.max(1);
    let (mut under_way, mut receiving) = (0, false);
    let mut steps: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
    loop {
        let stopped = stop.is_cancelled();
        let room = room_max.saturating_sub(under_way).min(AT_ONCE);
        if !stopped && !receiving && room > 0 {
            receiving = true;
            let now = clock();
            steps.push(
                async move {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => Step::Came(Ok(Received::default())),
                        came = queue.receive(room, hidden(limits), now) => Step::Came(came),
                    }
                }
                .boxed(),
            );
        }
        let Some(step) = steps.next().await else {
            return;
        };
        match step {
            Step::Handled { taken } => under_way -= taken,
            Step::Came(Err(error)) => {
                tracing::warn!(%error, "no wake-ups can be received");
                tokio::select! { biased; () = stop.cancelled() => {}, () = tokio::time::sleep(limits.pause) => {} }
                receiving = false;
            }
            Step::Came(Ok(received)) => {
                receiving = false;
                let taken = received.deliveries.len();
                if taken > 0 {
                    under_way += taken;
                    let round = round(queue, limits, received.deliveries, &clock, &handle);
                    steps.push(round.map(move |()| Step::Handled { taken }).boxed());
                }
            }
        }
    }
}

fn hidden(limits: WakeLimits) -> Duration {
    limits.hidden.clamp(Duration::from_secs(3), HIDDEN_MAX)
}

/// Handles what came at once.
async fn round<Q, F, E>(
    queue: &Q,
    limits: WakeLimits,
    deliveries: Vec<Delivered>,
    clock: &(impl Fn() -> Now + Sync),
    handle: &(impl Fn(Wake) -> F + Sync),
) where
    Q: WakeUps,
    F: Future<Output = Result<(), E>> + Send,
    E: Display + Send,
{
    let now = clock();
    let (due, early): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(|one| one.wake.due_at <= now);
    tokio::join!(handle_due(queue, limits, due, handle), send_on(queue, early, now));
}

/// Handles those that are due, and keeps them hidden meanwhile.
async fn handle_due<Q, F, E>(queue: &Q, limits: WakeLimits, due: Vec<Delivered>, handle: &(impl Fn(Wake) -> F + Sync))
where
    Q: WakeUps,
    F: Future<Output = Result<(), E>> + Send,
    E: Display + Send,
{
    let mut undone = BTreeSet::new();
    let mut by_lane: BTreeMap<Lane, Vec<Delivered>> = BTreeMap::new();
    for one in due {
        undone.insert(one.receipt.clone());
        by_lane.entry(one.wake.lane()).or_default().push(one);
    }
    if made(Mutation::WakeDeletedFirst) {
        delete(queue, &undone.iter().cloned().collect::<Vec<_>>()).await;
    }
    let lanes: FuturesUnordered<_> = by_lane.into_values().map(|lane| one_lane(lane, handle)).collect();
    let mut lanes = lanes.ready_chunks(AT_ONCE);
    let hidden = hidden(limits);
    let third = hidden / 3;
    let mut extend = tokio::time::interval_at(tokio::time::Instant::now() + third, third);
    loop {
        tokio::select! {
            biased;
            _ = extend.tick() => {
                let receipts: Vec<Receipt> = undone.iter().cloned().collect();
                if let Err(error) = queue.extend(&receipts, hidden).await {
                    tracing::warn!(%error, "wake-ups under way may be delivered again");
                }
            }
            finished = lanes.next() => {
                let Some(finished) = finished else { return };
                let mut done = Vec::new();
                for (receipts, well) in finished {
                    undone.retain(|receipt| !receipts.contains(receipt));
                    if well {
                        done.extend(receipts);
                    }
                }
                delete(queue, &done).await;
            }
        }
    }
}

/// Sends those on that are not due, in the traces they came in. One that cannot be sent stays in the queue, and comes
/// again.
async fn send_on<Q: WakeUps>(queue: &Q, early: Vec<Delivered>, now: Now) {
    if early.is_empty() {
        return;
    }
    let mut receipts_by_wake: BTreeMap<Wake, Vec<Receipt>> = BTreeMap::new();
    let mut wakes = Vec::new();
    for one in early {
        let receipts = receipts_by_wake.entry(one.wake.clone()).or_default();
        if receipts.is_empty() {
            wakes.push((one.wake, one.trace));
        }
        receipts.push(one.receipt);
    }
    for (wake, error) in queue.send(&wakes, now).await {
        tracing::warn!(account = %wake.account, region = %wake.region, %error, "a wake-up cannot be sent on");
        receipts_by_wake.remove(&wake);
    }
    let done: Vec<Receipt> = receipts_by_wake.into_values().flatten().collect();
    delete(queue, &done).await;
}

async fn delete<Q: WakeUps>(queue: &Q, receipts: &[Receipt]) {
    if receipts.is_empty() {
        return;
    }
    if let Err(error) = queue.delete(receipts).await {
        tracing::warn!(%error, "wake-ups cannot be deleted; they will be delivered again");
    }
}

/// Has one account and region handled, for all its wake-ups together.
async fn one_lane<F, E>(deliveries: Vec<Delivered>, handle: &impl Fn(Wake) -> F) -> (Vec<Receipt>, bool)
where
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    let latest = deliveries.iter().max_by_key(|one| one.wake.due_at).cloned();
    let receipts = deliveries.into_iter().map(|one| one.receipt).collect();
    let Some(Delivered { wake, times, trace, .. }) = latest else {
        return (receipts, true);
    };
    let span = tracing::info_span!("wake", account = %wake.account, region = %wake.region, times);
    follow(&span, &trace);
    let result = handle(wake).instrument(span.clone()).await;
    if let Err(error) = &result {
        span.in_scope(|| tracing::warn!(%error, "a wake-up is not done; it will be delivered again"));
    }
    (receipts, result.is_ok())
}

/// Makes `span` a part of the trace in which it was asked for.
pub(crate) fn follow(span: &tracing::Span, trace: &Trace) {
    let named = [("traceparent", &trace.parent), ("tracestate", &trace.state)];
    let fields = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.as_ref()?.to_string())));
    let context = TraceContextPropagator::new().extract(&fields.collect::<std::collections::HashMap<_, _>>());
    if context.span().span_context().is_valid() {
        // Fails where no traces are sent, or the span is filtered out: then there is nothing to tell.
        let _ = span.set_parent(context);
    }
}

impl Trace {
    /// The trace of the current span.
    pub fn current() -> Self {
        let mut fields = std::collections::HashMap::new();
        TraceContextPropagator::new().inject_context(&tracing::Span::current().context(), &mut fields);
        let mut take = |name: &str| fields.remove(name).filter(|text| !text.is_empty()).map(std::sync::Arc::from);
        Self { parent: take("traceparent"), state: take("tracestate") }
    }
}
