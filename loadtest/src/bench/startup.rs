//! How long the program takes to begin.

use std::time::Duration;

use anyhow::Result;

use super::{
    Bench, child,
    input::Spec,
    report::{Line, Section},
};

const RUNS: u32 = 20;
const TARGET_MS: f64 = 50.0;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let milliseconds = |ms: f64| format!("{ms:.1} ms");
    let before = child::children_cpu_seconds();
    let walls = (0..RUNS).map(|_| child::help(&bench.binary)).collect::<Result<Vec<Duration>>>()?;
    let after = child::children_cpu_seconds();
    let shortest = walls.into_iter().min().unwrap_or_default().as_secs_f64() * 1e3;
    let mut lines = vec![Line::at_most("replay --help, on the clock", shortest, TARGET_MS, milliseconds)];
    if let (Some(before), Some(after)) = (before, after) {
        let each = (after - before) * 1e3 / f64::from(RUNS);
        lines.push(Line::shown("replay --help, processor time", milliseconds(each)));
    }
    let input = bench.input(&Spec { events: 100, relevant: 1.0, sessions: None })?;
    let runs = (0..RUNS).map(|_| Ok(child::replay(&bench.binary, &input, 1)?.cpu_seconds));
    let least = runs.collect::<Result<Vec<f64>>>()?.into_iter().fold(f64::MAX, f64::min);
    lines.push(Line::shown("replay of 100 events, processor time", milliseconds(least * 1e3)));
    let method = format!(
        "The shortest of {RUNS} runs, from the start of the process to its exit; processor time of `--help` is the \
         mean, of the replay the least."
    );
    Ok(Section { title: "Start-up", method, lines })
}
