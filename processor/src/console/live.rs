use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;

/// Which loops run, and when each last made progress. Clones share the same knowledge.
#[derive(Clone, Debug, Default)]
pub struct Health {
    loops: Arc<Mutex<BTreeMap<Arc<str>, Beat>>>,
    ids: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug)]
struct Beat {
    last: Instant,
    stalled_after: Duration,
    ended: bool,
    id: u64,
}

/// Held by one loop, which says through it that it makes progress. Dropped without [`Pulse::finish`], the loop counts
/// as broken.
#[derive(Debug)]
pub struct Pulse {
    health: Health,
    name: Arc<str>,
    id: u64,
}

/// A loop that makes no progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stalled {
    /// The loop's name.
    pub name: Arc<str>,
    /// Time since its last progress, in ms.
    pub silent_ms: u64,
    /// Whether it ended although it should not have.
    pub ended: bool,
}

impl Health {
    /// No loops yet: not ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a loop that has to give a sign at least once within `stalled_after`. A loop of the same name is replaced.
    pub fn watch(&self, name: &str, stalled_after: Duration) -> Pulse {
        let name: Arc<str> = Arc::from(name);
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(Arc::clone(&name), Beat { last: Instant::now(), stalled_after, ended: false, id });
        Pulse { health: self.clone(), name, id }
    }

    /// The loops that make no progress; `None` before there is any loop.
    pub fn stalled(&self) -> Option<Vec<Stalled>> {
        let loops = self.lock();
        if loops.is_empty() {
            return None;
        }
        let stalled = loops.iter().filter_map(|(name, beat)| {
            let silent = beat.last.elapsed();
            (beat.ended || silent > beat.stalled_after).then(|| Stalled {
                name: Arc::clone(name),
                silent_ms: silent.as_millis() as u64,
                ended: beat.ended,
            })
        });
        Some(stalled.collect())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Beat>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// The loop made progress, or found nothing to do.
    pub fn beat(&self) {
        self.change(|beat| beat.last = Instant::now());
    }

    /// The loop has done all it had to do: it no longer has to give signs, and the service stays ready.
    pub fn finish(self) {
        self.change(|beat| beat.stalled_after = Duration::MAX);
    }

    /// A loop that was started again under this name has its own id, and is left alone.
    fn change(&self, change: impl FnOnce(&mut Beat)) {
        if let Some(beat) = self.health.lock().get_mut(&self.name).filter(|beat| beat.id == self.id) {
            change(beat);
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.change(|beat| beat.ended = beat.stalled_after != Duration::MAX);
    }
}
