//! History through the same core: what would have been terminated, and which accounts locked.
//!
//! Nothing is called. Facts of a session merge in any order, so threads read side by side and the answer does not
//! depend on how the input is split, ordered or repeated (I4).

mod conclude;
mod fold;
mod past;
mod summary;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sessionwarden_machine::{compliance::Judge, decode::Decoder, settings::Settings};

pub use fold::Period;
pub use summary::{Accounts, Crossed, Events, Sessions, Summary, cpu_seconds, peak_rss_bytes};

use crate::{
    feed::{FeedSink, FileError},
    input::{Chunk, InputFile, Parked, ParkedFile, Reader, Truncated, plan_chunks},
    snapshot::Snapshot,
};
use fold::{Counts, Fold};

/// What to replay, and how.
#[derive(Debug)]
pub struct Options {
    /// The policy.
    pub judge: Arc<Judge>,
    /// The settings of the core; the organisation is not asked, whatever they say.
    pub settings: Settings,
    /// What the organisation was like, as it was once written down; without it evidence stays unknown.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Which events.
    pub period: Period,
    /// How many threads.
    pub threads: usize,
    /// Where findings go.
    pub feed: Option<PathBuf>,
    /// Where records go that could not be read.
    pub parked: Option<PathBuf>,
}

/// Why a replay could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The feed cannot be written. Returned by itself where nothing was read yet.
    #[error(transparent)]
    Feed(#[from] FileError),
    /// The file of parked records cannot be written. Returned by itself where nothing was read yet.
    #[error(transparent)]
    Parked(#[from] crate::input::ParkedError),
    /// Results could not be written. Everything was read, and this is what it comes to.
    #[error("{}", .failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Results {
        /// What it comes to.
        summary: Box<Summary>,
        /// What could not be written, and why: at least one.
        failures: Vec<ReplayError>,
    },
    /// A thread died.
    #[error("a reading thread ended before its time")]
    Thread,
    /// The machine gives no timers.
    #[error("cannot start a runtime: {0}")]
    Runtime(std::io::Error),
}

/// How far a replay is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes read from the disk.
    pub bytes: AtomicU64,
    /// Values found.
    pub values: AtomicU64,
}

/// Replays `files`. `progress` is called about ten times a second from another thread.
pub fn replay(
    files: &[InputFile],
    options: &Options,
    on_progress: &(dyn Fn(&Progress) + Sync),
) -> Result<Summary, ReplayError> {
    let mut settings = options.settings.clone().without_organization();
    if options.snapshot.is_some() {
        // What a snapshot shows is taken to have been so all along: it does not lapse.
        settings.evidence_unknown_ms_max = i64::MAX;
    }
    let feed = options.feed.as_deref().map(FeedSink::create).transpose()?;
    let parked_file = options.parked.as_deref().map(ParkedFile::create).transpose()?;
    let progress = Progress::default();
    let decoder = Decoder::default();
    let work = Work::new(files);
    let finished = AtomicBool::new(false);
    let (folds, mut counts) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !finished.load(Ordering::Relaxed) {
                on_progress(&progress);
                std::thread::park_timeout(Duration::from_millis(100));
            }
        });
        let readers: Vec<_> = (0..options.threads.max(1))
            .map(|_| {
                scope.spawn(|| {
                    let keep = options.parked.is_some();
                    let mut fold = Fold::new(&decoder, &options.judge, &settings, options.period, keep);
                    let counts = work.run(&mut fold, &progress);
                    (fold.into_gathered(), counts)
                })
            })
            .collect();
        let gathered: Result<Vec<_>, _> = readers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        finished.store(true, Ordering::Relaxed);
        // Or else the answer waits for the next look.
        watcher.thread().unpark();
        gathered.map(|gathered| gathered.into_iter().unzip::<_, _, Vec<_>, Vec<_>>()).map_err(|_| ReplayError::Thread)
    })?;
    on_progress(&progress);
    let (totals, parked) = number(files, counts.drain(..).flatten().collect(), &work, &progress.bytes);
    let concluded = conclude::conclude(folds, options, &settings, feed.is_some())?;
    let mut summary = concluded.summary;
    summary.bytes = progress.bytes.load(Ordering::Relaxed);
    summary.count(&totals);
    // What one of the outputs refuses must not cost the others.
    let failures: Vec<_> = [
        write_parked(parked_file, &parked),
        feed.map_or(Ok(()), |feed| conclude::write_feed(feed, concluded.sessions, &concluded.incidents, &settings)),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect();
    summary.parked = parked;
    summary.cpu_seconds = cpu_seconds();
    summary.peak_rss_bytes = peak_rss_bytes();
    if failures.is_empty() { Ok(summary) } else { Err(ReplayError::Results { summary: Box::new(summary), failures }) }
}

fn write_parked(file: Option<ParkedFile>, parked: &[Parked]) -> Result<(), ReplayError> {
    if let Some(mut file) = file {
        for one in parked {
            file.write(one)?;
        }
        file.sync()?;
    }
    Ok(())
}

/// The counts of one chunk.
struct ChunkCounts {
    chunk: Chunk,
    counts: Counts,
    truncated: Option<Truncated>,
}

/// The chunks still to be read.
struct Work<'a> {
    files: &'a [InputFile],
    chunks: Vec<Chunk>,
    next: AtomicUsize,
    /// Files that turned out not to hold one value in each line: read again as a whole.
    whole: Mutex<Vec<usize>>,
    mixed: Vec<AtomicBool>,
}

impl<'a> Work<'a> {
    fn new(files: &'a [InputFile]) -> Self {
        Self {
            files,
            chunks: plan_chunks(files),
            next: AtomicUsize::new(0),
            whole: Mutex::default(),
            mixed: files.iter().map(|_| AtomicBool::new(false)).collect(),
        }
    }

    fn next(&self) -> Option<Chunk> {
        if let Some(chunk) = self.chunks.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            return Some(chunk.clone());
        }
        let file = self.whole.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop()?;
        Some(Chunk { file, range: None })
    }

    fn run(&self, fold: &mut Fold<'_>, progress: &Progress) -> Vec<ChunkCounts> {
        let mut reader = Reader::default();
        let mut all = Vec::new();
        while let Some(chunk) = self.next() {
            let file = &self.files[chunk.file];
            fold.begin(file.name());
            if chunk.range.is_some() && self.mixed[chunk.file].load(Ordering::Relaxed) {
                continue;
            }
            let read = reader.read(file, &chunk, &progress.bytes, fold);
            let counts = fold.begin(String::new());
            progress.values.fetch_add(counts.values, Ordering::Relaxed);
            let truncated = match read {
                Ok(true) => None,
                Ok(false) => {
                    if !self.mixed[chunk.file].swap(true, Ordering::Relaxed) {
                        self.whole.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(chunk.file);
                    }
                    continue;
                }
                Err(truncated) => Some(truncated),
            };
            all.push(ChunkCounts { chunk, counts, truncated });
        }
        all
    }
}

/// Adds the counts up, and numbers parked records within their files. Takes off `bytes` what was read twice.
fn number(files: &[InputFile], mut all: Vec<ChunkCounts>, work: &Work<'_>, bytes: &AtomicU64) -> (Counts, Vec<Parked>) {
    all.retain(|one| match one.chunk.range {
        Some((begin, end)) if work.mixed[one.chunk.file].load(Ordering::Relaxed) => {
            bytes.fetch_sub(end - begin, Ordering::Relaxed);
            false
        }
        Some(_) | None => true,
    });
    all.sort_by_key(|one| (one.chunk.file, one.chunk.range));
    let mut totals = Counts::default();
    let mut parked = Vec::new();
    let mut before = (usize::MAX, 0);
    for one in all {
        if before.0 != one.chunk.file {
            before = (one.chunk.file, 0);
        }
        let counts = one.counts;
        let untold = counts.poison - counts.parked.len() as u64;
        parked.extend(counts.parked.into_iter().map(|parked| Parked { record: parked.record + before.1, ..parked }));
        before.1 += counts.values;
        totals.relevant += counts.relevant;
        totals.ignored += counts.ignored;
        totals.poison += counts.poison;
        totals.outside += counts.outside;
        let file = files[one.chunk.file].name();
        if untold > 0 {
            let reason = format!("{untold} more records could not be read; too many to name each");
            parked.push(Parked::of_file(file.clone(), 0, reason));
        }
        if let Some(truncated) = one.truncated {
            let (byte, reason) = (truncated.byte, truncated.to_string());
            parked.push(Parked::of_file(file, byte, reason));
        }
    }
    (totals, parked)
}
