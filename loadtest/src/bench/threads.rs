//! What a second thread brings.

use anyhow::Result;

use super::{
    Bench, child,
    input::Spec,
    report::{Line, Outcome, Section, rate, ratio},
};

/// Above this load average a machine is not idle.
const IDLE_LOAD_MAX: f64 = 0.5;
const TARGET: f64 = 1.7;
/// A run has to be long enough for start-up not to count.
const EVENTS_MIN: u64 = 1_000_000;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let events = bench.events.max(EVENTS_MIN);
    let busy = bench.machine.load.is_some_and(|load| load > IDLE_LOAD_MAX);
    let mut lines = Vec::new();
    for (name, relevant) in [("1 %", 0.01), ("all relevant", 1.0)] {
        let input = bench.input(&Spec { events, relevant, sessions: None })?;
        let mut shortest = [f64::MAX; 2];
        for _ in 0..bench.rounds {
            for (shortest, threads) in shortest.iter_mut().zip([1, 2]) {
                *shortest = shortest.min(child::replay(&bench.binary, &input, threads)?.wall.as_secs_f64());
            }
        }
        let [one, two] = shortest.map(|seconds| events as f64 / seconds);
        lines.push(Line::shown(format!("{name}: one thread, on the clock"), rate(one)));
        lines.push(Line::shown(format!("{name}: two threads, on the clock"), rate(two)));
        let mut line = Line::at_least(format!("{name}: two / one"), two / one, TARGET, ratio);
        if line.outcome == Outcome::Fail && busy {
            line.outcome = Outcome::Warn;
        }
        lines.push(line);
    }
    let method = format!(
        "{events} events, from the start of the process to its exit, on the clock. The target holds for an idle \
         machine: above a load average of {IDLE_LOAD_MAX} at the start of the measurement it only warns."
    );
    Ok(Section { title: "Threads", method, lines })
}
