//! How memory grows with live sessions, and that it does not with events.

use anyhow::{Result, ensure};

use super::{
    Bench, child,
    input::Spec,
    report::{Line, Section},
};

const LIVE_SESSIONS: u64 = 1_000_000;
const BYTES_FOR_EACH_MAX: f64 = 1024.0;
/// How much more ten times the events may take.
const GROWTH_MAX: f64 = 1.1;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let peak = |events, relevant, sessions| -> Result<f64> {
        let input = bench.input(&Spec { events, relevant, sessions })?;
        if sessions == Some(LIVE_SESSIONS) {
            ensure!(input.truth.sessions.open == LIVE_SESSIONS, "not every session lives");
        }
        Ok(child::replay(&bench.binary, &input, 1)?.peak_rss_bytes as f64)
    };
    let mebibytes = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
    let empty = peak(100, 0.0, None)?;
    let live = peak(LIVE_SESSIONS, 1.0, Some(LIVE_SESSIONS))?;
    let (few, many) = (peak(100_000, 0.0, None)?, peak(1_000_000, 0.0, None)?);
    let for_each = (live - empty) / LIVE_SESSIONS as f64;
    Ok(Section {
        title: "Memory",
        method: "Peak resident memory of `replay --threads 1`. A live session costs what 1,000,000 of them add to the \
                 peak of a run over 100 events."
            .into(),
        lines: vec![
            Line::shown("100 irrelevant events", mebibytes(empty)),
            Line::shown("1,000,000 live sessions", mebibytes(live)),
            Line::at_most("for each live session", for_each, BYTES_FOR_EACH_MAX, |bytes| format!("{bytes:.0} B")),
            Line::shown("100,000 irrelevant events", mebibytes(few)),
            Line::shown("1,000,000 irrelevant events", mebibytes(many)),
            Line::at_most("1,000,000 / 100,000", many / few, GROWTH_MAX, |ratio| format!("{ratio:.2}")),
        ],
    })
}
