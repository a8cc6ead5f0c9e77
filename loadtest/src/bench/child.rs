//! Runs the product as its users do, and reads what it says of itself.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::input::Input;

/// What `replay --format json` says.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Answer {
    events: Events,
    sessions: Sessions,
    /// Processor time of the whole process, start-up included, in seconds.
    pub(super) cpu_seconds: f64,
    /// Peak memory, in bytes.
    pub(super) peak_rss_bytes: u64,
    /// From start to exit.
    #[serde(skip)]
    pub(super) wall: Duration,
}

#[derive(Clone, Debug, Deserialize)]
struct Events {
    read: u64,
    relevant: u64,
    duplicate: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Sessions {
    seen: u64,
    open: u64,
}

/// The product's binary: `chosen`, or the one beside this program.
///
/// # Errors
/// There is none.
pub(super) fn binary(chosen: Option<&Path>) -> Result<PathBuf> {
    let path = match chosen {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("sessionwarden"),
    };
    let built = "build it with `cargo build --release -p sessionwarden`, or name it with --binary";
    ensure!(path.is_file(), "no program at {}: {built}", path.display());
    Ok(path)
}

/// Replays `input` and compares the answer with the truth: what is wrong need not be measured.
///
/// # Errors
/// The program cannot be run, fails, or is wrong.
pub(super) fn replay(binary: &Path, input: &Input, threads: u16) -> Result<Answer> {
    let started = Instant::now();
    let output = Command::new(binary)
        .args(["replay", "--format", "json", "--threads", &threads.to_string()])
        .arg(&input.path)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    let wall = started.elapsed();
    ensure!(output.status.success(), "replay of {} ended with {}", input.path.display(), output.status);
    let answer: Answer = serde_json::from_slice(&output.stdout).context("replay printed no JSON")?;
    let (events, sessions, truth) = (&answer.events, &answer.sessions, &input.truth);
    let found = [events.read, events.relevant + events.duplicate, sessions.seen, sessions.open];
    let wanted = [truth.events, truth.relevant, truth.sessions.seen, truth.sessions.open];
    ensure!(found == wanted, "replay counted {found:?} (events, relevant, sessions, open), true is {wanted:?}");
    Ok(Answer { wall, ..answer })
}

/// Runs `replay --help`, and tells how long it took on the clock.
///
/// # Errors
/// The program cannot be run, or fails.
pub(super) fn help(binary: &Path) -> Result<Duration> {
    let started = Instant::now();
    let output = Command::new(binary).args(["replay", "--help"]).stdin(Stdio::null()).output()?;
    let wall = started.elapsed();
    ensure!(output.status.success() && !output.stdout.is_empty(), "replay --help ended with {}", output.status);
    Ok(wall)
}

/// Processor time of all children that have ended, in seconds, to a hundredth; `None` where the system does not say.
pub(super) fn children_cpu_seconds() -> Option<f64> {
    /// Linux shows times in hundredths of a second on every architecture.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    // Fields 16 and 17 of proc(5), counted from 1; the first here is field 3.
    Some((ticks(13)? + ticks(14)?) / TICKS_PER_SECOND)
}
