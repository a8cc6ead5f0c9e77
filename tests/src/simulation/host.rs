//! A worker's machine: clocks that can be off, tasks that can be held up, and an end at any moment.

use std::{
    sync::{Arc, Mutex},
    task::Waker,
    time::Duration,
};

use sessionwarden::host::Host;
use sessionwarden_machine::{
    ids::Now,
    invariants::Broken,
    lease::{Mono, WorkerId},
};

use super::{
    chance::Fault,
    sim::{Sim, lock},
};

/// How far a clock can be off, in milliseconds.
const SKEW_MS_MAX: i64 = 2_000;
/// How much faster or slower a clock can run, in millionths.
const DRIFT_PPM_MAX: i64 = 20_000;

/// One life of one worker's machine.
pub struct SimHost {
    pub(super) sim: Arc<Sim>,
    /// Which worker.
    pub worker: usize,
    /// Which of its lives, from 1.
    pub life: u64,
    skew_ms: i64,
    drift_ppm: i64,
    state: Mutex<HostState>,
}

#[derive(Default)]
struct HostState {
    dead: bool,
    /// After so many polls it dies.
    polls_left: Option<u64>,
    stands: bool,
    waiting: Vec<Waker>,
}

impl SimHost {
    /// A machine that has just been started.
    pub fn new(sim: &Arc<Sim>, worker: usize, life: u64) -> Arc<Self> {
        let off = sim.happens(Fault::ClockSkew).unwrap_or_default();
        let within = |bits: u64, max: i64| if off == 0 { 0 } else { bits as i64 % (2 * max + 1) - max };
        let (skew_ms, drift_ppm) = (within(off >> 33, SKEW_MS_MAX), within((off >> 2) & 0x7fff_ffff, DRIFT_PPM_MAX));
        Arc::new(Self { sim: Arc::clone(sim), worker, life, skew_ms, drift_ppm, state: Mutex::default() })
    }

    /// Its name, which no other life shares.
    pub fn id(&self) -> WorkerId {
        WorkerId::from(format!("worker-{}:{}", self.worker, self.life).as_str())
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> bool {
        lock(&self.state).dead
    }

    /// It dies: none of its tasks goes on.
    pub fn die(&self) {
        let mut state = lock(&self.state);
        if !state.dead {
            state.dead = true;
            drop(state);
            self.sim.note(Some(self.worker), format_args!("dies"));
            lock(&self.sim.died).push(self.worker);
        }
    }

    /// It dies after so many polls.
    pub fn die_after(&self, polls: u64) {
        lock(&self.state).polls_left = Some(polls);
    }

    /// It stands still, or goes on.
    pub fn stand_still(&self, stands: bool) {
        let waiting = {
            let mut state = lock(&self.state);
            state.stands = stands;
            if stands { Vec::new() } else { std::mem::take(&mut state.waiting) }
        };
        for waker in waiting {
            waker.wake();
        }
    }

    /// Adds a step of this worker to the trace.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        self.sim.note(Some(self.worker), what);
    }

    /// The way to a model: takes its time.
    pub async fn way(&self) {
        if let Some(latency) = self.sim.latency() {
            tokio::time::sleep(latency).await;
        }
    }

    /// Whether it dies of `fault` here; then nothing after this is done.
    pub async fn may_die(&self, fault: Fault) {
        if self.sim.happens(fault).is_some() {
            self.die();
            std::future::pending::<()>().await;
        }
    }
}

impl Host for SimHost {
    fn now(&self) -> Now {
        self.sim.now().plus_ms(self.skew_ms)
    }

    fn mono(&self) -> Mono {
        let elapsed = self.sim.elapsed_ms();
        let begun = 1_000_000 * (self.worker as u64 + 1);
        Mono(begun + (elapsed + elapsed * self.drift_ppm / 1_000_000).unsigned_abs())
    }

    fn goes_on(&self, waker: &Waker) -> bool {
        let mut state = lock(&self.state);
        if state.dead {
            return false;
        }
        if state.stands {
            state.waiting.push(waker.clone());
            return false;
        }
        if let Some(left) = &mut state.polls_left {
            if *left == 0 {
                drop(state);
                self.die();
                return false;
            }
            *left -= 1;
        }
        drop(state);
        let Some(drawn) = self.sim.happens(Fault::Stutter) else { return true };
        let waker = waker.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1 + drawn % 3_000)).await;
            waker.wake();
        });
        false
    }

    fn broken(&self, broken: &Broken) {
        // While something holds everything up, things are late: so are looks, and what is told.
        let late = matches!((broken.id, broken.what.as_str()), ("I8", what) if what.contains("overdue"))
            || matches!((broken.id, broken.what.as_str()), ("I1", what) if what.contains("no incident says so"));
        // What it was ended for went with its item.
        let forgotten = matches!(broken.id, "I10" | "I11")
            && lock(&self.sim.troubles).forgotten.iter().any(|key| key.to_string() == broken.subject);
        if !forgotten && (!late || super::watch::is_calm(&self.sim)) {
            self.sim.found(broken.clone());
        }
    }
}
