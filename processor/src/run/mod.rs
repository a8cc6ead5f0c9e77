//! The live service on one machine: sources in, rechecks on time, a status to watch, a clean stop.

mod board;
mod ingest;
mod source;
mod summarize;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sessionwarden_machine::{ids::Now, recheck::TICK_MS};
use sessionwarden_store::{Store, StoreError};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub use board::{Board, SharedBoard};
pub use ingest::{Ingest, IngestError, Origin};
pub use source::{Batch, Candidate, Head, Look, Position, SourceReader, checkpoint_name};
pub use summarize::summarize;

use crate::{
    console::{HappeningKind, Pulse, Status},
    control::{Asked, ControlSocket, answer},
    handle::{HandleError, Handler},
    input::RecordAt,
    local::DemonstrationSource,
    metrics::Metrics,
    ports::Hands,
    replay::Summary,
};

const DEMONSTRATION_TICK: Duration = Duration::from_millis(100);
const STATUS_TICK: Duration = Duration::from_millis(250);
const SWEEP_TICK: Duration = Duration::from_secs(5);
const RECONCILE_TICK: Duration = Duration::from_secs(15);
const DIGEST_TICK: Duration = Duration::from_secs(5);

/// Why the service stopped before its time.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A batch could not be taken in.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// What could not be read could not be parked.
    #[error(transparent)]
    Parked(#[from] crate::input::ParkedError),
    /// A recheck could not be finished.
    #[error(transparent)]
    Handle(#[from] HandleError),
    /// How far the source was read cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored position cannot be read.
    #[error("the position stored for {file} cannot be read: {source}")]
    Position {
        /// The file.
        file: Arc<str>,
        /// Why.
        source: serde_json::Error,
    },
}

/// Where records come from.
pub enum Source {
    /// The demonstration.
    Demonstration(Box<DemonstrationSource>),
    /// Files, through a reading thread.
    Files(mpsc::Receiver<Batch>),
}

/// Stops and signs of life.
pub struct Signals {
    /// Where people ask and order.
    pub control: Option<ControlSocket>,
    /// Asks the service to stop.
    pub stop: CancellationToken,
    /// When to stop by itself.
    pub until: Option<Instant>,
    /// How long a stop may take to do what is due already.
    pub drain_max: Duration,
    /// Where the status goes.
    pub status: watch::Sender<Status>,
    /// Shows that records are taken in.
    pub source_pulse: Pulse,
    /// Shows that rechecks go on.
    pub recheck_pulse: Pulse,
}

/// The time now.
pub fn now() -> Now {
    crate::host::now()
}

/// How far each source was read before.
pub async fn positions<S: Store>(
    store: &S,
    files: impl Iterator<Item = String>,
) -> Result<BTreeMap<Arc<str>, Position>, RunError> {
    let mut positions = BTreeMap::new();
    for file in files {
        let file: Arc<str> = file.into();
        if let Some(stored) = store.checkpoint(&checkpoint_name(&file)).await? {
            let parse = |source| RunError::Position { file: Arc::clone(&file), source };
            positions.insert(Arc::clone(&file), serde_json::from_slice(&stored).map_err(parse)?);
        }
    }
    Ok(positions)
}

/// Runs until the source is at its end and all is settled, the time is over, or it is asked to stop.
pub async fn run<S: Store, H: Hands>(
    handler: &mut Handler<S, H>,
    ingest: &mut Ingest,
    mut source: Source,
    positions: &mut BTreeMap<Arc<str>, Position>,
    mut signals: Signals,
) -> Result<Summary, RunError> {
    let found = handler.recover(now()).await?;
    if found > 0 {
        handler.board.lock().notice(now(), HappeningKind::Notice, format!("{found} subjects to go on with"));
    }
    handler.reconcile(now()).await?;
    let mut demonstration_tick = ticker(DEMONSTRATION_TICK);
    let (mut status_tick, mut sweep_tick) = (ticker(STATUS_TICK), ticker(SWEEP_TICK));
    let (mut reconcile_tick, mut digest_tick) = (ticker(RECONCILE_TICK), ticker(DIGEST_TICK));
    let over = async |until: Option<Instant>| match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    };
    loop {
        let next = handler.schedule.next_at();
        tokio::select! {
            biased;
            () = signals.stop.cancelled() => break,
            () = over(signals.until) => break,
            _ = status_tick.tick() => {
                let _ = signals.status.send(handler.board.lock().snapshot(now()));
                signals.source_pulse.beat();
            }
            () = sleep_until(next) => {
                handler.recheck(now()).await?;
                signals.recheck_pulse.beat();
            }
            _ = sweep_tick.tick() => {
                handler.sweep(now()).await?;
                signals.recheck_pulse.beat();
            }
            _ = reconcile_tick.tick() => {
                let adopted = handler.reconcile(now()).await?;
                if adopted > 0 {
                    let text = format!("{adopted} sessions found alive that no event announced");
                    handler.board.lock().notice(now(), HappeningKind::Notice, text);
                }
            }
            asked = next_question(&mut signals.control) => {
                let reply = answer(handler, asked.request, asked.who, now()).await?;
                // Whoever does not wait any more needs no answer.
                let _ = asked.reply.send(reply);
            }
            _ = digest_tick.tick() => handler.outlets.flush(now()).await,
            more = next_batch(&mut source, &mut demonstration_tick) => match more {
                Some(batch) => take(handler, ingest, positions, batch).await?,
                None => break,
            },
        }
    }
    settle(handler, &signals).await?;
    tell_the_rest(handler, &signals).await?;
    let summary = summarize(handler, positions).await?;
    let _ = signals.status.send(handler.board.lock().snapshot(now()));
    signals.source_pulse.finish();
    signals.recheck_pulse.finish();
    Ok(Summary { parked: ingest.parked_list.clone(), ..summary })
}

fn ticker(every: Duration) -> tokio::time::Interval {
    let mut ticker = interval(every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

async fn sleep_until(at: Option<Now>) {
    match at.map(|at| at.0 - now().0) {
        // A timer, however short, would lose against a source that never rests.
        Some(..=0) => {}
        Some(ms) => tokio::time::sleep(Duration::from_millis(ms as u64)).await,
        None => std::future::pending().await,
    }
}

async fn next_question(control: &mut Option<ControlSocket>) -> Asked {
    match control {
        Some(control) => control.next().await,
        None => std::future::pending().await,
    }
}

/// The next records; `None` when the source is at its end.
async fn next_batch(source: &mut Source, tick: &mut tokio::time::Interval) -> Option<Batch> {
    match source {
        Source::Files(batches) => batches.recv().await,
        Source::Demonstration(demonstration) => {
            tick.tick().await;
            let events = demonstration.step(now());
            let candidates = events.into_iter().enumerate().map(|(at, bytes)| Candidate {
                bytes,
                at: RecordAt { record: at as u64 + 1, byte: 0 },
                look: Look::Whole,
                known: false,
            });
            Some(Batch { file: "demonstration".into(), candidates: candidates.collect(), ..Batch::default() })
        }
    }
}

/// Takes one batch in; its position is kept only after everything that follows from it is durable (I2).
async fn take<S: Store, H: Hands>(
    handler: &mut Handler<S, H>,
    ingest: &mut Ingest,
    positions: &mut BTreeMap<Arc<str>, Position>,
    batch: Batch,
) -> Result<(), RunError> {
    let position = positions.entry(Arc::clone(&batch.file)).or_default();
    if batch.anew {
        *position = match batch.head {
            Some(_) => Position { values: 0, bytes_before: position.bytes, failed_at: None, ..*position },
            // What is read only once begins with every start.
            None => Position::default(),
        };
    }
    let before = *position;
    position.head = batch.head.unwrap_or(position.head);
    position.ignored += batch.ignored;
    let span = match batch.candidates.len() {
        0 => tracing::Span::none(),
        records => tracing::info_span!("batch", file = %batch.file, records),
    };
    ingest.take(handler, &*batch.file, &batch.candidates, position, now()).instrument(span).await?;
    if let Some(reason) = batch.failure {
        let again = position.failed_at == Some(batch.bytes);
        ingest.park_file(&batch.file, batch.bytes, reason, again).await?;
        position.failed_at = Some(batch.bytes);
        handler.board.lock().notice(now(), HappeningKind::Parked, format!("{} cannot be read on", batch.file));
    }
    if batch.values == 0 {
        position.values += batch.candidates.len() as u64;
        position.bytes += batch.candidates.iter().map(|candidate| candidate.bytes.len() as u64).sum::<u64>();
    } else {
        position.values = position.values.max(batch.values);
        position.bytes = position.bytes.max(position.bytes_before + batch.bytes);
    }
    count(&handler.board, &handler.metrics, &before, position);
    if batch.head.is_some() && *position != before {
        let kept = serde_json::to_vec(position).unwrap_or_default();
        handler.store.set_checkpoint(&checkpoint_name(&batch.file), &kept).await?;
    }
    Ok(())
}

/// Counts what became of records.
pub(crate) fn count(board: &SharedBoard, metrics: &Metrics, before: &Position, after: &Position) {
    let read = |at: &Position| at.relevant + at.ignored + at.duplicate + at.poison;
    let mut board = board.lock();
    let counts = board.counts();
    counts.records_relevant += after.relevant - before.relevant;
    counts.records_ignored += after.ignored - before.ignored;
    counts.records_duplicate += after.duplicate - before.duplicate;
    counts.records_poison += after.poison - before.poison;
    counts.records_read += read(after) - read(before);
    metrics.records_read(read(after) - read(before));
    metrics.records_ignored(after.ignored - before.ignored);
}

/// Does what is due already, so that nothing known is left undone. What is due later waits in the store.
async fn settle<S: Store, H: Hands>(handler: &mut Handler<S, H>, signals: &Signals) -> Result<(), RunError> {
    let begun = Instant::now();
    while begun.elapsed() < signals.drain_max {
        let now = now().plus_ms(TICK_MS);
        if handler.schedule.next_at().is_none_or(|next| next > now) {
            break;
        }
        handler.recheck(now).await?;
        signals.recheck_pulse.beat();
    }
    Ok(())
}

/// Sends what waits for a digest, as nobody would hear of it before the next start, and notes what is done by that.
async fn tell_the_rest<S: Store, H: Hands>(handler: &mut Handler<S, H>, signals: &Signals) -> Result<(), RunError> {
    let begun = Instant::now();
    while begun.elapsed() < signals.drain_max {
        let subjects = handler.outlets.close(now()).await;
        if subjects.is_empty() {
            break;
        }
        handler.wake(subjects, Vec::new(), now()).await?;
    }
    Ok(())
}
