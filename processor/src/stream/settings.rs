//! Times and bounds of a worker, and its clock.

use std::sync::Arc;

use sessionwarden_machine::{
    ids::EventTime,
    lease::{BadLeaseSettings, LeaseSettings, Mono, Start},
};

/// The times and bounds of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// What all workers of the stream share.
    pub leases: LeaseSettings,
    /// Where a stream without leases is begun.
    pub start: Start,
    /// The time between two looks at the lease table, in milliseconds: 1 to 1,000.
    pub round_ms: u64,
    /// The time between two readings of a shard, in milliseconds, at least 1. A shard may be read five times a second by
    /// all its readers together ("Quotas and limits": `GetRecords`).
    pub poll_ms: u64,
    /// The longest time between two readings of a shard with nothing new, in milliseconds, at least `poll_ms`.
    pub poll_idle_ms_max: u64,
    /// The time between two checkpoints of a shard, in milliseconds.
    pub checkpoint_ms: u64,
    /// The most records handed on at once, at least 1. Handling them has to take less than the fail-over time, or the
    /// shard is taken to stand still.
    pub batch_max: usize,
    /// The longest wait before something that failed is tried again, in milliseconds, at least 1. Waits begin at 50 ms.
    pub retry_ms_max: u64,
    /// The time between two checks of the hash keys, in milliseconds.
    pub coverage_ms: u64,
    /// How long a stop may take to complete what is under way, in milliseconds. What is not released by then expires.
    pub stop_ms_max: u64,
}

impl Default for WorkerSettings {
    /// Begins at the oldest record; looks every second, reads every 200 ms to 1 s, checkpoints every second, hands on
    /// 256 records at once, tries again after at most 1 s, checks every 2 min, stops within 20 s.
    fn default() -> Self {
        Self {
            leases: LeaseSettings::default(),
            start: Start::TrimHorizon,
            // Each worker reads all rows with each look.
            round_ms: 1_000,
            poll_ms: 200,
            poll_idle_ms_max: 1_000,
            checkpoint_ms: 1_000,
            batch_max: 256,
            retry_ms_max: 1_000,
            coverage_ms: 120_000,
            stop_ms_max: 20_000,
        }
    }
}

/// A setting out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWorkerSettings {
    /// One of the leases' settings.
    #[error(transparent)]
    Leases(#[from] BadLeaseSettings),
    /// The time between two looks.
    #[error("the time between two looks at the leases is {0} ms; it has to be from 1 to 1,000 ms")]
    Round(u64),
    /// The times between two readings.
    #[error(
        "the times between two readings are {0} and {1} ms; the first has to be at least 1 ms, and not the longer one"
    )]
    Poll(u64, u64),
    /// A bound of zero.
    #[error("{0} has to be at least 1")]
    Zero(&'static str),
}

impl WorkerSettings {
    /// Checks the bounds.
    ///
    /// # Errors
    /// The first setting that is out of them.
    pub fn check(&self) -> Result<(), BadWorkerSettings> {
        self.leases.check()?;
        if !(1..=1_000).contains(&self.round_ms) {
            return Err(BadWorkerSettings::Round(self.round_ms));
        }
        if self.poll_ms == 0 || self.poll_idle_ms_max < self.poll_ms {
            return Err(BadWorkerSettings::Poll(self.poll_ms, self.poll_idle_ms_max));
        }
        if self.batch_max == 0 {
            return Err(BadWorkerSettings::Zero("the number of records handed on at once"));
        }
        if self.retry_ms_max == 0 { Err(BadWorkerSettings::Zero("the longest wait, in ms,")) } else { Ok(()) }
    }
}

/// The worker's clocks.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds that never go back.
    fn mono(&self) -> Mono;

    /// The time of day.
    fn now(&self) -> EventTime;
}

/// The machine's clocks.
#[derive(Clone, Debug)]
pub struct SystemClock {
    #[cfg(not(target_os = "linux"))]
    begun: std::time::Instant,
}

impl SystemClock {
    /// Reads the clocks of this machine, or of the host that the task is on.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            #[cfg(not(target_os = "linux"))]
            begun: std::time::Instant::now(),
        })
    }
}

impl Clock for SystemClock {
    /// On Linux it counts the time that the machine was asleep as well: a lease runs out meanwhile.
    #[cfg(target_os = "linux")]
    fn mono(&self) -> Mono {
        if let Some(hosted) = crate::host::mono() {
            return hosted;
        }
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Mono(now.tv_sec.unsigned_abs() * 1_000 + now.tv_nsec.unsigned_abs() / 1_000_000)
    }

    #[cfg(not(target_os = "linux"))]
    fn mono(&self) -> Mono {
        crate::host::mono().unwrap_or_else(|| Mono(self.begun.elapsed().as_millis() as u64))
    }

    fn now(&self) -> EventTime {
        crate::host::now().as_event_time()
    }
}
