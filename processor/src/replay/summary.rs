//! What a replay, or a run, comes to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fold::Counts;
use crate::input::Parked;

/// How many parked records the summary lists; the rest is in the file of parked records.
const PARKED_SHOWN: usize = 100;

/// What it all comes to. With `--format json` this is printed as one object.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Bytes read from the disk, before decompression.
    pub bytes: u64,
    /// Events by what became of them.
    pub events: Events,
    /// Distinct sessions.
    pub sessions: Sessions,
    /// Accounts.
    pub accounts: Accounts,
    /// Distinct causes that somebody has to look at.
    pub incidents: u64,
    /// Those, by control or rule.
    pub incidents_by_cause: BTreeMap<String, u64>,
    /// Session calls that AWS refused.
    pub refused_calls: u64,
    /// Controls that need evidence which only an organisation could give: they were not evaluated.
    pub not_evaluated: BTreeMap<String, Vec<String>>,
    /// The hash of the policy text.
    pub policy: String,
    /// Processor time of the whole process, in seconds.
    pub cpu_seconds: f64,
    /// The largest memory the process had, in bytes; 0 where the system does not say.
    pub peak_rss_bytes: u64,
    /// What could not be read, the first 100.
    #[serde(serialize_with = "first_parked")]
    pub parked: Vec<Parked>,
}

fn first_parked<S: serde::Serializer>(parked: &[Parked], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(parked.iter().take(PARKED_SHOWN))
}

/// Events by what became of them; `read` is the sum of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Events {
    /// All.
    pub read: u64,
    /// Distinct events that matter.
    pub relevant: u64,
    /// Events that do not, those outside `--from` and `--to` included.
    pub ignored: u64,
    /// Repetitions of relevant events.
    pub duplicate: u64,
    /// What could not be read.
    pub poison: u64,
}

/// Distinct sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sessions {
    /// Named by a successful start, resumption or termination.
    pub seen: u64,
    /// Seen to start or resume, and not seen to end.
    pub open: u64,
    /// With at least one control violated and not waived that asks for more than a report.
    pub violating: u64,
    /// With at least one control excused by a waiver.
    pub waived: u64,
    /// Violating sessions, by control.
    pub by_control: BTreeMap<String, u64>,
}

/// Accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Accounts {
    /// How many crossed the threshold.
    pub over_threshold: u64,
    /// Which, with the time and the number of sessions in the window.
    pub crossed: BTreeMap<String, Crossed>,
}

/// An account over the threshold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Crossed {
    /// When the window was first full.
    pub at: String,
    /// Sessions in it.
    pub sessions: usize,
    /// Distinct principals among them.
    pub principals: usize,
    /// What would have been decided in enforce mode.
    pub decision: String,
}

impl Summary {
    pub(super) fn count(&mut self, counts: &Counts) {
        let distinct = self.events.relevant;
        self.events.duplicate = counts.relevant - distinct;
        self.events.ignored = counts.ignored + counts.outside;
        self.events.poison = counts.poison;
        self.events.read = distinct + self.events.duplicate + self.events.ignored + self.events.poison;
    }

    /// 3 where something was parked, else 0.
    pub fn exit_code(&self) -> u8 {
        if self.parked.is_empty() && self.events.poison == 0 { 0 } else { 3 }
    }
}

/// Processor time of this process so far, in seconds.
pub fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The largest resident memory of this process so far, in bytes; 0 where the system does not say.
pub fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
